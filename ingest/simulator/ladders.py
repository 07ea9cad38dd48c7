"""One side of simulated order books: its levels, and what changes between two states of a book.

Below the best price the levels are on a lattice of prices that does not move with the market, so that a level keeps
its price and, for some changes of the book, its size while others come and go around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.instruments import Codes, Instruments, Ticks
from ingest.simulator.noise import Doubles
from ingest.simulator.pseudo_random import make_key, random_words
from ingest.simulator.update_times import Numbers
from tapehouse.batch import Lists

LEVELS = 20
"""Levels of each side of a book."""
_DEEP = 23
_KEPT_CHANGES = 16
"""Changes of a book for which a level below the best keeps its size."""
_DEEP_SIZE = 4.0
"""Size of such a level, in sizes of a typical trade."""


@dataclass(frozen=True)
class SideStates:
    """One side of a book after each of some changes: arrays [rows], the best price in price steps."""

    codes: Codes
    changes: Numbers
    best: Ticks
    best_sizes: Doubles

    def take(self, rows: NDArray[np.int64]) -> SideStates:
        """The states at some rows."""
        return SideStates(*(column[rows] for column in vars(self).values()))


class Ladder:
    """The bids (`sign` -1) or the asks (1) of all instruments."""

    def __init__(self, instruments: Instruments, seed: int, sign: int) -> None:
        self._instruments = instruments
        self._sign = sign
        self._keys = random_words(instruments.codes, make_key(seed, _DEEP, sign))

    def whole(self, states: SideStates) -> tuple[Lists, Lists]:
        """(prices, sizes) of all levels of each state, from the best."""
        deep = self._deep(states)
        ticks = np.column_stack((states.best, deep * self._gaps(states)))
        return self._lists(states, np.ones(ticks.shape, np.bool_), ticks)

    def changed(self, before: SideStates, after: SideStates) -> tuple[Lists, Lists]:
        """(prices, sizes) of the levels that differ between two states, row by row, from the best; size 0: removed."""
        gaps = self._gaps(after)
        old, new = self._deep(before), self._deep(after)
        best, best_before = after.best[:, None], before.best[:, None]
        moved = best != best_before
        resized = (before.best_sizes != after.best_sizes)[:, None]
        redrawn = _epochs(before.changes[:, None], new) != _epochs(after.changes[:, None], new)
        became_deep = (best_before % gaps == 0) & _within(best_before // gaps, new)
        became_best = old * gaps == best
        shown = (
            moved | resized,
            redrawn | ~_within(new, old),
            moved & ~became_deep,
            ~_within(old, new) & ~became_best,
        )
        ticks = np.concatenate((best, new * gaps, best_before, old * gaps), axis=1)
        return self._lists(after, np.concatenate(shown, axis=1), ticks)

    def _gaps(self, states: SideStates) -> Ticks:
        gaps: Ticks = self._instruments.level_gaps[states.codes][:, None]
        return gaps

    def _deep(self, states: SideStates) -> NDArray[np.int64]:
        """The levels below the best, as multiples of the gap, [rows, LEVELS - 1]."""
        gaps, best = self._gaps(states), states.best[:, None]
        first = best // gaps + 1 if self._sign > 0 else (best - 1) // gaps
        found: NDArray[np.int64] = first + self._sign * np.arange(LEVELS - 1)
        return found

    def _lists(self, states: SideStates, shown: NDArray[np.bool_], ticks: Ticks) -> tuple[Lists, Lists]:
        """The levels that are shown: the best in the first column, those below it in the next, then removed ones."""
        rows, columns = np.nonzero(shown)
        chosen = ticks[rows, columns]
        order = np.lexsort((chosen * self._sign, rows))
        rows, columns, chosen = rows[order], columns[order], chosen[order]
        codes = states.codes[rows]
        sizes = np.zeros(len(rows))
        is_best, is_deep = columns == 0, (columns > 0) & (columns < LEVELS)
        sizes[is_best] = states.best_sizes[rows[is_best]]
        deep = chosen[is_deep] // self._instruments.level_gaps[codes[is_deep]]
        drawn = (_epochs(states.changes[rows[is_deep]], deep) << 24) ^ deep
        random = random_words(drawn, self._keys[codes[is_deep]])
        sizes[is_deep] = self._instruments.sizes(codes[is_deep], random, _DEEP_SIZE)
        ends = np.cumsum(np.count_nonzero(shown, axis=1), dtype=np.int64)
        return Lists(self._instruments.prices_of(codes, chosen), ends), Lists(sizes, ends)


def _epochs(changes: Numbers, deep: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often the size of each level was drawn; neighbours take turns."""
    found: NDArray[np.int64] = (changes + deep) // _KEPT_CHANGES
    return found


def _within(levels: NDArray[np.int64], ladder: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which levels are among those of the ladder, which is without holes, row by row."""
    first, last = np.minimum(ladder[:, :1], ladder[:, -1:]), np.maximum(ladder[:, :1], ladder[:, -1:])
    found: NDArray[np.bool_] = (levels >= first) & (levels <= last)
    return found
