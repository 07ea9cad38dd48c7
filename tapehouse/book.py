"""The book of one symbol: a snapshot with the updates behind it applied.

A snapshot holds all levels up to the venue's limit; an update holds the new sizes of some levels, 0 for a level
that is gone. An update covers the ids behind `before` up to and including its `seq`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Levels = Sequence[float] | NDArray[np.float64]
Side = dict[float, float]


class Book:
    """Sizes by price for both sides, true as of update `seq` at `ts_event` (ns UTC, the venue's clock)."""

    def __init__(
        self,
        seq: int,
        ts_event: int,
        bid_prices: Levels,
        bid_sizes: Levels,
        ask_prices: Levels,
        ask_sizes: Levels,
    ) -> None:
        self.seq = seq
        self.ts_event = ts_event
        self.bids: Side = {}
        self.asks: Side = {}
        self._best_bid = math.nan
        self._best_ask = math.nan
        self._set(bid_prices, bid_sizes, ask_prices, ask_sizes)

    def apply(
        self,
        before: int,
        seq: int,
        ts_event: int,
        bid_prices: Levels,
        bid_sizes: Levels,
        ask_prices: Levels,
        ask_sizes: Levels,
    ) -> bool:
        """Take in the update of the ids behind `before` up to `seq`; one that is known already changes nothing.

        False when ids between the book and the update are missing: the book stays as it was.
        """
        if before > self.seq:
            return False
        if seq > self.seq:
            self._set(bid_prices, bid_sizes, ask_prices, ask_sizes)
            self.seq = seq
            self.ts_event = max(self.ts_event, ts_event)
        return True

    def best(self) -> tuple[float, float, float, float]:
        """(bid, its size, ask, its size); NaN for a side without levels."""
        if self._best_bid not in self.bids:
            self._best_bid = max(self.bids, default=math.nan)
        if self._best_ask not in self.asks:
            self._best_ask = min(self.asks, default=math.nan)
        bid, ask = self._best_bid, self._best_ask
        return bid, self.bids.get(bid, math.nan), ask, self.asks.get(ask, math.nan)

    def levels(self) -> tuple[list[float], list[float], list[float], list[float]]:
        """Bid prices from the highest, their sizes, ask prices from the lowest, their sizes."""
        bids = sorted(self.bids.items(), reverse=True)
        asks = sorted(self.asks.items())
        return (
            [price for price, _ in bids],
            [size for _, size in bids],
            [price for price, _ in asks],
            [size for _, size in asks],
        )

    def _set(self, bid_prices: Levels, bid_sizes: Levels, ask_prices: Levels, ask_sizes: Levels) -> None:
        highest = _update(self.bids, bid_prices, bid_sizes, max)
        if highest is not None and not highest <= self._best_bid:
            self._best_bid = highest
        lowest = _update(self.asks, ask_prices, ask_sizes, min)
        if lowest is not None and not lowest >= self._best_ask:
            self._best_ask = lowest


def _update(
    side: Side, prices: Levels, sizes: Levels, best_of: Callable[[float, float], float]
) -> float | None:
    """Set the levels; the best price among those that were set, None when none was."""
    best: float | None = None
    for price, size in zip(_floats(prices), _floats(sizes), strict=True):
        if size:
            side[price] = size
            best = price if best is None else best_of(best, price)
        else:
            side.pop(price, None)
    return best


def _floats(levels: Levels) -> Sequence[float]:
    return levels.tolist() if isinstance(levels, np.ndarray) else levels
