"""Generates a file of ticks from a seed, with ties, identical rows and late rows, over several days."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from tapehouse.clock import HOUR, MICROSECOND, SECOND
from tapehouse.model import TRADES
from tapehouse.tabular import TIME

_SYMBOLS = 8
_FROM = 23 * HOUR
_LASTS = 26 * HOUR
_EXCHANGES = ("A", "B", "C")
_TIES, _IDENTICAL, _LATE = 0.3, 0.01, 0.005


def generate_ticks(seed: int, rows: int, first_day_ns: int) -> pl.DataFrame:
    """Ticks in file order, with columns ts, symbol, price, size, side, exchange.

    They span 26 hours, from an hour before the end of `first_day_ns` to an hour into the day after the next.
    """
    rng = np.random.default_rng(seed)
    times = first_day_ns + _FROM + np.sort(rng.integers(0, _LASTS // MICROSECOND, rows)) * MICROSECOND
    source = np.arange(rows)
    # A tie has the time of the row before it; an identical row has all its values.
    tied = np.maximum.accumulate(np.where(rng.random(rows) < _TIES, 0, source))
    times = times[tied]
    same = rng.random(rows) < _IDENTICAL
    times[rng.random(rows) < _LATE] -= int(2.5 * SECOND)
    symbols = rng.integers(0, _SYMBOLS, rows)
    steps = rng.integers(-3, 4, rows)
    frame = pl.DataFrame(
        {
            "ts": pl.Series(times, dtype=pl.Int64).cast(TIME),
            "symbol": [f"D{symbol}" for symbol in symbols],
            "price": (100_000 + np.cumsum(steps)) / 100,
            "size": rng.integers(1, 5_000, rows) / 10,
            "side": rng.integers(-1, 2, rows).astype(np.int8),
            "exchange": [_EXCHANGES[place] for place in rng.integers(0, len(_EXCHANGES), rows)],
        }
    )
    return frame[np.maximum.accumulate(np.where(same, 0, source))]


def expected_rows(ticks: pl.DataFrame, venue: str) -> pl.DataFrame:
    """The rows that must be stored after an import of these ticks, by an independent implementation of `seq`."""
    # seq = max(previous + 1, ts_event) within a symbol, in order of time.
    ticks = ticks.sort("ts", maintain_order=True)
    step = pl.int_range(pl.len()).over("symbol")
    time = pl.col("ts").cast(pl.Int64)
    seq = ((time - step).cum_max() + step).over("symbol")
    return ticks.select(
        ts_event="ts",
        ts_recv="ts",
        venue=pl.lit(venue),
        symbol="symbol",
        seq=seq,
        price="price",
        size="size",
        side="side",
        flags=pl.lit(0, pl.Int16),
        exchange="exchange",
        conditions=pl.lit(None, pl.String),
        trade_id=pl.lit(None, pl.String),
    ).select(TRADES.names)


def speed(rows: int, rows_s: int) -> int:
    """The `--speed` (multiple of real time) at which a file of `rows` rows is published at `rows_s` rows a second."""
    return _LASTS // SECOND * rows_s // rows


def write_parquet(ticks: pl.DataFrame, file: Path) -> Path:
    """Write the ticks to a Parquet file of several row groups; returns its path."""
    ticks.write_parquet(file, row_group_size=20_000)
    return file
