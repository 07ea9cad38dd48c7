"""The order book of one symbol: a snapshot with the updates after it applied.

A snapshot has all levels up to the venue's limit; an update has the new sizes of some levels, 0 for a level that is
removed. An update covers the ids after `before` up to its `seq`, inclusive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Levels = Sequence[float] | NDArray[np.float64]
BookSide = dict[float, float]


class Book:
    """Sizes by price of both sides, as of update `seq` at `ts_event` (ns UTC, the venue's clock)."""

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
        self.bids: BookSide = {}
        self.asks: BookSide = {}
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
        """Apply an update of the ids after `before` up to `seq`; one that is not newer than the book changes nothing.

        Returns False, and changes nothing, when ids between the book and the update are missing.
        """
        if before > self.seq:
            return False
        if seq > self.seq:
            self._set(bid_prices, bid_sizes, ask_prices, ask_sizes)
            self.seq = seq
            self.ts_event = max(self.ts_event, ts_event)
        return True

    def best(self) -> tuple[float, float, float, float]:
        """(bid price, bid size, ask price, ask size); NaN for a side without levels."""
        if self._best_bid not in self.bids:
            self._best_bid = max(self.bids, default=math.nan)
        if self._best_ask not in self.asks:
            self._best_ask = min(self.asks, default=math.nan)
        bid, ask = self._best_bid, self._best_ask
        return bid, self.bids.get(bid, math.nan), ask, self.asks.get(ask, math.nan)

    def levels(self) -> tuple[list[float], list[float], list[float], list[float]]:
        """(bid prices, bid sizes, ask prices, ask sizes), each side from its best price."""
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
    side: BookSide, prices: Levels, sizes: Levels, best_of: Callable[[float, float], float]
) -> float | None:
    """Set or remove levels; returns the best price among those set, None when none was."""
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
