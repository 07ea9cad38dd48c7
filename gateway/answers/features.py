"""The features of bars over any span, of one symbol or several."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from gateway.answers.answer import QueryAnswer
from gateway.answers.registry import StoreRegistry
from gateway.query import Query
from tapehouse.clock import DAY, INTERVALS, interval_named
from tapehouse.errors import UsageError
from tapehouse.features import candle

_BAR_COLUMNS = ("ts", "open", "high", "low", "close", "volume", "turnover", "trades", "buy_volume")
_MAX_BARS = 500_000
_CONCURRENT_SYMBOLS = 4


def read_features(registry: StoreRegistry, query: Query) -> pl.DataFrame:
    """A row per bar of a query: `ts`, `symbol`, and one column per feature (see `tapehouse.features.candle`).

    Sorted by time, then symbol; each symbol has what it has alone. Bars before the span are read as warm-up, so that a
    bar has the same features in any span. Raises UsageError for more than 500,000 bars in all, or an interval that is
    not a standard one.
    """
    if query.kind != "bars":
        raise UsageError(f"features: expected a query of bars, was {query.kind}")
    if query.columns or query.after is not None:
        raise UsageError("columns: expected none for features")
    interval_named(query.interval or "")
    budget = _Budget(_MAX_BARS)
    parts = [replace(query, symbols=(symbol,)) for symbol in query.symbols]
    with ThreadPoolExecutor(min(len(parts), _CONCURRENT_SYMBOLS)) as pool:
        found = list(pool.map(lambda part: _read_symbol(registry, part, budget), parts))
    return pl.concat(found).sort("ts", "symbol", maintain_order=True)


class _Budget:
    """The bars that all symbols may have together. Thread-safe."""

    def __init__(self, bars: int) -> None:
        self._left = bars
        self._lock = threading.Lock()

    def take(self, bars: int) -> None:
        """Raises UsageError when more are taken than there are."""
        with self._lock:
            self._left -= bars
            if self._left < 0:
                raise UsageError(
                    f"features: expected at most {_MAX_BARS:,} bars, was more",
                    remedy="Request a shorter span, a longer interval or fewer symbols.",
                )


def _read_symbol(registry: StoreRegistry, query: Query, budget: _Budget) -> pl.DataFrame:
    bars = _read_bars(registry, query, budget)
    if bars.is_empty():
        return _compute(query, bars, 0)
    start = int(bars["ts"].cast(pl.Int64)[0])
    before = [_read_bars(registry, replace(query, start_ns=0, end_ns=start, limit=candle.WARM_UP, last=True))]
    day = start // DAY * DAY
    first = int(before[0]["ts"].cast(pl.Int64)[0]) if before[0].height else start
    # Features that accumulate over a day need all bars of the day, and the last bar before it.
    if day and first >= day and before[0].height == candle.WARM_UP:
        before = [
            _read_bars(registry, replace(query, start_ns=0, end_ns=day, limit=1, last=True)),
            _read_bars(registry, replace(query, start_ns=day, end_ns=start, limit=None, last=False)),
        ]
    warm_up = pl.concat(before)
    return _compute(query, pl.concat([warm_up, bars]), warm_up.height)


def _compute(query: Query, bars: pl.DataFrame, start: int) -> pl.DataFrame:
    assert query.interval is not None
    rows = np.empty(
        bars.height, [(name, np.int64 if name in ("ts", "trades") else np.float64) for name in _BAR_COLUMNS]
    )
    for name in _BAR_COLUMNS:
        rows[name] = bars[name].cast(pl.Int64).to_numpy() if name == "ts" else bars[name].to_numpy()
    starts_day = bool(bars.height) and start < bars.height
    features = candle.features_frame(rows, INTERVALS[query.interval], start, starts_day=starts_day)
    symbol = pl.lit(query.symbols[0]).alias("symbol")
    return features.select("ts", symbol, pl.exclude("ts"))


def _read_bars(registry: StoreRegistry, query: Query, budget: _Budget | None = None) -> pl.DataFrame:
    """The bars of a query; `budget`: what they are taken from."""
    answer, batches = QueryAnswer(query, registry), []
    for batch in answer:
        batches.append(batch)
        if budget is not None:
            budget.take(batch.num_rows)
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches, schema=answer.schema)))
