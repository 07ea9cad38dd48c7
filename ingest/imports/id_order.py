"""Finds whether the ids of a source rise with its times, before any of its rows is stored.

A bar opens with the trade of the lowest id in it and closes with that of the highest. Where ids fall while time rises,
as on a tape with ids by exchange, these are not the first and the last. A symbol has one numbering: once rows are
stored by their ids, the others cannot be numbered by time. So the whole source is looked at first.
"""

from __future__ import annotations

import numpy as np

from ingest.files.reader import RowKeys

WINDOW_STEPS = 50_000
"""How many steps of time are judged together: bars of a part of a source are wrong though all others are right."""
_MOST_FALLING = 0.01


class IdOrderScan:
    """Counts the steps from a row to the next one in time of its symbol, and those where the id falls.

    The rows of a block are put in order of time first, whatever theirs is: the newest may come first, or one exchange
    after the other.
    """

    def __init__(self) -> None:
        self._worst = 0.0
        self._earlier = (0, 0)
        self._rises, self._falls = 0, 0

    def add(self, rows: RowKeys) -> None:
        """The next rows of the source, a block of them."""
        codes = rows.symbols.codes
        order = np.lexsort((rows.ts, codes))
        rises = (np.diff(codes[order]) == 0) & (np.diff(rows.ts[order]) > 0)
        falls = rises & (np.diff(rows.ids[order]) < 0)
        self._rises += int(rises.sum())
        self._falls += int(falls.sum())
        if self._rises >= WINDOW_STEPS:
            self._judge(self._rises, self._falls)
            self._earlier = (self._rises, self._falls)
            self._rises = self._falls = 0

    def _judge(self, rises: int, falls: int) -> None:
        share = falls / max(1, rises)
        if falls > 1 and share > _MOST_FALLING:
            self._worst = max(self._worst, share)

    def finish(self) -> float:
        """The highest share of falling ids in `WINDOW_STEPS` steps, 0 where it is 1 % at the most. Call it once."""
        # What is left may be too little to be judged alone.
        self._judge(self._rises + self._earlier[0], self._falls + self._earlier[1])
        return self._worst
