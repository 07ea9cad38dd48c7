"""Rankings of symbols over rolling windows, computed from the bars in the rings of a bar engine.

A window ends with the last trade of the venue and begins with a whole bar: 1h has 1m bars, 24h 15m bars, 7d 1h bars.
For each symbol:

change      last price / price when the window began - 1; the latter is the last close before the window that is
            still in the ring, else the first open in the window
volatility  realised: square root of the sum of squared log returns from close to close, not annualised
turnover    sum of price times size

NaN where a symbol has no trade, or a price that is not above 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.bars.engine import BarEngine
from tapehouse.bars.state import PART_OF, State, bucket_number, bucket_start, jit
from tapehouse.clock import NAMES

WINDOWS: dict[str, tuple[str, int]] = {"1h": ("1m", 60), "24h": ("15m", 96), "7d": ("1h", 168)}
"""By window: the interval of its bars, and how many it has."""
RANKING_ROW = np.dtype([("key", "<i8"), ("change", "<f8"), ("volatility", "<f8"), ("turnover", "<f8")])
MEASURES = ("change", "volatility", "turnover")


def rank_symbols(bars: BarEngine, most: int) -> dict[str, NDArray[Any]]:
    """By window: RANKING_ROW [n], the key being the symbol id, of the symbols that are among the `most` highest or
    lowest by change, or highest by volatility or turnover. Symbols without turnover are left out."""
    found = {}
    now = np.array([bars.state.clock[place] for place in bars.state.venue[: len(bars.names)]], np.int64)
    for window, (interval, count) in WINDOWS.items():
        rows = np.empty(len(bars.names), RANKING_ROW)
        _measure(bars.state, NAMES.index(interval), count, now, rows)
        found[window] = select_leaders(rows[rows["turnover"] > 0], most)
    return found


def select_leaders(rows: NDArray[Any], most: int) -> NDArray[Any]:
    """The rows that are among the `most` highest by any measure, or lowest by change."""
    chosen = np.zeros(len(rows), np.bool_)
    for measure in MEASURES:
        order = np.argsort(rows[measure], kind="stable")  # NaN comes last
        order = order[: np.count_nonzero(~np.isnan(rows[measure]))]
        chosen[order[-most:]] = True
        if measure == "change":
            chosen[order[:most]] = True
    return rows[chosen]


def merge_rankings(shards: Iterable[NDArray[Any]], measure: str, most: int) -> NDArray[Any]:
    """The `most` highest rows of several bar makers by one measure, highest first.

    Complete for `most` up to that of each maker's `rank_symbols`. Keys must differ across makers: replace those of
    frames, which are indices into each frame's list of symbols.
    """
    rows = np.concatenate([np.empty(0, RANKING_ROW), *shards])
    rows = rows[~np.isnan(rows[measure])]
    highest: NDArray[Any] = rows[np.argsort(-rows[measure], kind="stable")][:most]
    return highest


@jit
def _measure(state: State, interval: int, count: int, now: NDArray[np.int64], out: NDArray[Any]) -> None:
    for symbol in range(len(out)):
        before = first_open = close = np.nan
        squares = turnover = 0.0
        last = bucket_number(interval, now[symbol])
        size = state.sizes[interval]
        for numbered in range(last - size + 1, last + 1):
            bar = state.ring[symbol, state.offsets[interval] + numbered % size]
            if bar.trades == 0 or bar.ts != bucket_start(interval, numbered):
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
        opened, more = _open_bar(state, symbol, interval, bucket_start(interval, last - count + 1))
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
    """Open and turnover of the present open bar; NaN and 0 when it started before `since`."""
    opened, turnover, part = np.nan, 0.0, interval
    while part >= 0:
        bar = state.open[symbol, part]
        if bar.trades > 0 and bar.ts >= since:
            turnover += bar.turnover
            if np.isnan(opened):
                opened = bar.open
        part = PART_OF[part]
    return opened, turnover
