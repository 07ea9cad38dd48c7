"""How symbols compare over rolling windows, from the closed and open bars that are held anyway.

A window ends with the last trade of the venue and begins at a whole bar: 1h of 1m bars, 24h of 15m bars, 7d of
1h bars. In each:
change      last price over the price as the window began, less 1; the price before is the last close before
            it that is still in the ring (see RINGS), else the first open in it
volatility  realised: the square root of the sum of squared log returns from close to close, not annualised
turnover    sum of price times size
NaN where a symbol has no trade, or a price that is not above 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.bars import Bars
from tapehouse.barstate import PART_OF, State, jit, number, start
from tapehouse.clock import NAMES

WINDOWS: dict[str, tuple[str, int]] = {"1h": ("1m", 60), "24h": ("15m", 96), "7d": ("1h", 168)}
"""Of each window the interval and how many of its bars."""
RANKED = np.dtype([("key", "<i8"), ("change", "<f8"), ("volatility", "<f8"), ("turnover", "<f8")])
MEASURES = ("change", "volatility", "turnover")


def ranked(bars: Bars, most: int) -> dict[str, NDArray[Any]]:
    """Of each window, RANKED [n] with the symbol's number as key: who is among the `most` first or last by
    change, or first by volatility or turnover."""
    found = {}
    now = np.array([bars.state.clock[place] for place in bars.state.venue[: len(bars.names)]], np.int64)
    for window, (interval, count) in WINDOWS.items():
        rows = np.empty(len(bars.names), RANKED)
        _measure(bars.state, NAMES.index(interval), count, now, rows)
        found[window] = first(rows[rows["turnover"] > 0], most)
    return found


def first(rows: NDArray[Any], most: int) -> NDArray[Any]:
    """The rows that are among the first by any measure, or the last by change."""
    chosen = np.zeros(len(rows), np.bool_)
    for measure in MEASURES:
        order = np.argsort(rows[measure], kind="stable")  # NaN comes last
        order = order[: np.count_nonzero(~np.isnan(rows[measure]))]
        chosen[order[-most:]] = True
        if measure == "change":
            chosen[order[:most]] = True
    return rows[chosen]


def merged(shards: Iterable[NDArray[Any]], measure: str, most: int) -> NDArray[Any]:
    """The rows of several makers, highest first by one measure. Right for up to as many as each told.

    Keys are places in each frame's own list: give them numbers that differ before.
    """
    rows = np.concatenate([np.empty(0, RANKED), *shards])
    rows = rows[~np.isnan(rows[measure])]
    highest: NDArray[Any] = rows[np.argsort(-rows[measure], kind="stable")][:most]
    return highest


@jit
def _measure(state: State, interval: int, count: int, now: NDArray[np.int64], out: NDArray[Any]) -> None:
    for symbol in range(len(out)):
        before = first_open = close = np.nan
        squares = turnover = 0.0
        last = number(interval, now[symbol])
        size = state.sizes[interval]
        for numbered in range(last - size + 1, last + 1):
            bar = state.ring[symbol, state.offsets[interval] + numbered % size]
            if bar.trades == 0 or bar.ts != start(interval, numbered):
                continue
            if numbered <= last - count:
                before = close = bar.close
                continue
            if np.isnan(first_open):
                first_open = bar.open
            if close > 0 and bar.close > 0:
                squares += np.log(bar.close / close) ** 2
            close = bar.close
            turnover += bar.turnover
        opened, more = _open_bar(state, symbol, interval, start(interval, last - count + 1))
        turnover += more
        if np.isnan(first_open):
            first_open = opened
        price = state.latest[symbol].price
        if close > 0 and price > 0 and price != close:
            squares += np.log(price / close) ** 2
        base = before if not np.isnan(before) else first_open
        out[symbol].key = symbol
        out[symbol].change = price / base - 1 if base > 0 and price > 0 else np.nan
        out[symbol].volatility = np.sqrt(squares) if base > 0 else np.nan
        out[symbol].turnover = turnover


@jit
def _open_bar(state: State, symbol: int, interval: int, since: int) -> Any:
    """The open and turnover of what is in no ring yet; NaN and 0 where it began before `since`."""
    opened, turnover, part = np.nan, 0.0, interval
    while part >= 0:
        bar = state.open[symbol, part]
        if bar.trades > 0 and bar.ts >= since:
            turnover += bar.turnover
            if np.isnan(opened):
                opened = bar.open
        part = PART_OF[part]
    return opened, turnover
