"""Rows for backtests: bars, quotes and trades of one venue from short lists, and a run over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from analytics.backtest.loading import Loaded
from analytics.backtest.report import Report
from analytics.backtest.request import Request
from analytics.backtest.run import run
from analytics.backtest.source import FrameRows
from analytics.backtest.strategy import Strategy
from tapehouse.clock import DAY, MINUTE, SECOND, parse_ns

START = parse_ns("2024-01-02")
VENUE = "V"
_NS = pl.Datetime("ns", "UTC")


def bars(
    prices: Sequence[tuple[float, float, float, float]],
    symbol: str = "A",
    volume: float = 1_000,
    first: int = START,
    step: int = MINUTE,
) -> pl.DataFrame:
    """A bar each `step`, by open, high, low and close."""
    count = len(prices)
    opens, highs, lows, closes = (list(map(float, column)) for column in zip(*prices, strict=True))
    return pl.DataFrame(
        {
            "ts": pl.Series([first + at * step for at in range(count)], dtype=pl.Int64).cast(_NS),
            "venue": [VENUE] * count,
            "symbol": [symbol] * count,
            "open": opens,
            "high": highs,
            "low": lows,
            "close": closes,
            "volume": [float(volume)] * count,
            "turnover": [volume * close for close in closes],
            "trades": [1] * count,
            "buy_volume": [0.0] * count,
            "seq_first": list(range(count)),
            "seq_last": list(range(count)),
        }
    )


def flat(*prices: float) -> list[tuple[float, float, float, float]]:
    """Bars in which the price does not move."""
    return [(price, price, price, price) for price in prices]


def quotes(
    rows: Sequence[tuple[float, float | None, float, float | None, float]], late: float = 0
) -> pl.DataFrame:
    """Quotes of A by seconds after START, bid, bid size, ask, ask size; received `late` s after that."""
    times = [START + round(row[0] * SECOND) for row in rows]
    schema = {"bid": pl.Float64, "bid_size": pl.Float64, "ask": pl.Float64, "ask_size": pl.Float64}
    return pl.concat(
        [_keys(times, late), pl.DataFrame([row[1:] for row in rows], schema, orient="row")], how="horizontal"
    )


def trades(rows: Sequence[tuple[float, float, float, int]], late: float = 0) -> pl.DataFrame:
    """Trades of A by seconds after START, price, size and side; received `late` s after that."""
    times = [START + round(row[0] * SECOND) for row in rows]
    schema = {"price": pl.Float64, "size": pl.Float64, "side": pl.Int8}
    return pl.concat(
        [_keys(times, late), pl.DataFrame([row[1:] for row in rows], schema, orient="row")], how="horizontal"
    )


def _keys(times: list[int], late: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts_event": pl.Series(times, dtype=pl.Int64).cast(_NS),
            "ts_recv": pl.Series([ts + round(late * SECOND) for ts in times], dtype=pl.Int64).cast(_NS),
            "venue": [VENUE] * len(times),
            "symbol": ["A"] * len(times),
            "seq": list(range(len(times))),
        }
    )


def ran(
    strategy: type[Strategy] | Strategy,
    symbols: tuple[str, ...] = ("A",),
    check_causality: bool = False,
    frames: dict[str, pl.DataFrame] | None = None,
    **options: Any,
) -> Report:
    """The report of a strategy on frames by kind."""
    made = Request(symbols, (VENUE,), START, START + DAY, **options)

    def fresh() -> Loaded:
        one = strategy() if isinstance(strategy, type) else strategy
        return Loaded(one, type(one).__name__, "", "")

    return run(made, FrameRows(**(frames or {})), fresh, check_causality=check_causality)
