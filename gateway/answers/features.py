"""The features of one symbol's bars over any span."""

from __future__ import annotations

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


def read_features(registry: StoreRegistry, query: Query) -> pl.DataFrame:
    """A row per bar of a query for one symbol: `ts`, and one column per feature (see `tapehouse.features.candle`).

    Bars before the span are read as warm-up, so that a bar has the same features in any span. Raises UsageError for
    more than one symbol, or more than 500,000 bars.
    """
    if query.kind != "bars" or len(query.symbols) != 1:
        raise UsageError("features: expected bars of one symbol")
    interval_named(query.interval or "")
    if query.columns or query.after is not None:
        raise UsageError("columns: expected none for features")
    bars = _read_bars(registry, query)
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
    return candle.features_frame(rows, INTERVALS[query.interval], start, starts_day=starts_day)


def _read_bars(registry: StoreRegistry, query: Query) -> pl.DataFrame:
    answer, batches, rows = QueryAnswer(query, registry), [], 0
    for batch in answer:
        batches.append(batch)
        rows += batch.num_rows
        if rows > _MAX_BARS:
            raise UsageError(
                f"features: expected at most {_MAX_BARS:,} bars, was more",
                remedy="Request a shorter span or a longer interval.",
            )
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches, schema=answer.schema)))
