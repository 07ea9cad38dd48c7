"""How far the receive clock is from the venue's, measured on the messages themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW = 101
"""Timed messages of which the median is taken."""


class Skew:
    """Receive clock minus venue clock, ns: the median over the last 101 timed messages before each moment.

    The delay of the messages is part of it. It depends on the messages alone, so a repeat of the same source
    gives the same numbers, wherever the calls cut it.
    """

    def __init__(self, last: list[int] | None = None) -> None:
        self._last = np.array(last or [], np.int64)

    @property
    def known(self) -> bool:
        """A timed message was seen."""
        return bool(len(self._last))

    def state(self) -> list[int]:
        """What a new Skew is made of to go on from here."""
        return [int(value) for value in self._last.tolist()]

    def measure(
        self, timed: NDArray[np.int64], differences: NDArray[np.int64], untimed: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Take in timed messages, at places `timed` (rising) of a call; the skew at the places `untimed`.

        An untimed message before the first timed one is given the difference of that first one; where
        there is none at all, 0.
        """
        seen = np.concatenate((self._last, differences))
        before = len(self._last) + np.searchsorted(timed, untimed)
        self._last = seen[-WINDOW:].copy()
        if not len(seen) or not len(untimed):
            return np.zeros(len(untimed), np.int64)
        counts, rows = np.unique(np.maximum(before, 1), return_inverse=True)
        medians = np.empty(len(counts), np.int64)
        full = counts >= WINDOW
        if full.any():
            windows = seen[counts[full][:, None] - np.arange(WINDOW, 0, -1)]
            middle = WINDOW // 2
            medians[full] = np.partition(windows, middle, axis=1)[:, middle]
        for place in np.flatnonzero(~full):
            ordered = np.sort(seen[: counts[place]])
            medians[place] = ordered[(len(ordered) - 1) // 2]
        medians_by_row: NDArray[np.int64] = medians[rows]
        return medians_by_row
