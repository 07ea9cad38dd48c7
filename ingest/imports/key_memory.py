"""Remembers the keys of the last rows of a source, in bounded memory."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

KEPT_ROWS = 5_000_000
"""The rows whose keys are remembered, at least; 8 bytes each, and up to a tenth more."""
_PARTS = 10

Hashes = NDArray[np.uint64]


class KeyMemory:
    """Hashes of the keys of earlier rows; two of 5,000,000 keys are alike with a probability of one in a million.

    Most sources never ask for a key: the hashes are sorted when the first is asked for.
    """

    def __init__(self) -> None:
        self._sorted: list[Hashes] = []
        self._added: list[Hashes] = []
        self._rows = 0

    def add(self, keys: pl.DataFrame) -> None:
        """Remember the keys of the next rows; the oldest are forgotten."""
        self._added.append(_hashes(keys))
        self._rows += keys.height
        while self._rows - len((oldest := self._sorted or self._added)[0]) >= KEPT_ROWS:
            self._rows -= len(oldest.pop(0))

    def holds(self, keys: pl.DataFrame) -> NDArray[np.bool_]:
        """Whether an earlier row has each of these keys, bool [rows]."""
        self._sort()
        wanted = _hashes(keys)
        order = np.argsort(wanted)
        wanted = wanted[order]
        found = np.zeros(len(wanted), np.bool_)
        for part in filter(len, self._sorted):
            places = np.minimum(np.searchsorted(part, wanted), len(part) - 1)
            found[order] |= part[places] == wanted
        return found

    def _sort(self) -> None:
        """Sort what was added into parts of at most a tenth, few enough to be looked through."""
        most = KEPT_ROWS // _PARTS
        while self._added:
            stop = max(1, int(np.searchsorted(np.cumsum([len(part) for part in self._added]), most, "right")))
            self._sorted.append(np.sort(np.concatenate(self._added[:stop])))
            del self._added[:stop]
            self._merge_last(most)

    def _merge_last(self, most: int) -> None:
        """Merge the last part into the one before while that is not much larger and both fit into `most` rows."""
        while len(self._sorted) > 1:
            before, last = self._sorted[-2:]
            if len(before) > 2 * len(last) or len(before) + len(last) > most:
                return
            self._sorted[-2:] = [np.sort(np.concatenate((before, last)))]


def _hashes(keys: pl.DataFrame) -> Hashes:
    return keys.hash_rows().to_numpy()
