"""The features of a series' bars over any span."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from gateway.answer import Answer
from gateway.owners import Owners
from gateway.query import Query
from tapehouse import features as candle
from tapehouse.clock import DAY, INTERVALS
from tapehouse.errors import UsageError

_USED = ("ts", "open", "high", "low", "close", "volume", "turnover", "trades", "buy_volume")
_MOST = 500_000


def features(owners: Owners, query: Query) -> pl.DataFrame:
    """`ts` and a column a feature (see `tapehouse/features.py`) of the bars of a query for one symbol.

    Bars before the span are read as warm-up, so that the same bar has the same features in any span. Raises
    UsageError for more than one symbol, or more than 500,000 bars.
    """
    if query.kind != "bars" or len(query.symbols) != 1:
        raise UsageError("features: expected bars of one symbol")
    if query.columns or query.after is not None:
        raise UsageError("columns: expected none for features")
    bars = _read(owners, query)
    if bars.is_empty():
        return _framed(query, bars, 0)
    start = int(bars["ts"].cast(pl.Int64)[0])
    before = [_read(owners, replace(query, start_ns=0, end_ns=start, limit=candle.WARM_UP, last=True))]
    day = start // DAY * DAY
    first = int(before[0]["ts"].cast(pl.Int64)[0]) if before[0].height else start
    # What adds up over the day needs the whole of it, and one bar of another before.
    if day and first >= day and before[0].height == candle.WARM_UP:
        before = [
            _read(owners, replace(query, start_ns=0, end_ns=day, limit=1, last=True)),
            _read(owners, replace(query, start_ns=day, end_ns=start, limit=None, last=False)),
        ]
    warm_up = pl.concat(before)
    return _framed(query, pl.concat([warm_up, bars]), warm_up.height)


def _framed(query: Query, bars: pl.DataFrame, start: int) -> pl.DataFrame:
    assert query.interval is not None
    rows = np.empty(
        bars.height, [(name, np.int64 if name in ("ts", "trades") else np.float64) for name in _USED]
    )
    for name in _USED:
        rows[name] = bars[name].cast(pl.Int64).to_numpy() if name == "ts" else bars[name].to_numpy()
    whole_day = bool(bars.height) and start < bars.height
    return candle.frame(rows, INTERVALS[query.interval], start, whole_day=whole_day)


def _read(owners: Owners, query: Query) -> pl.DataFrame:
    answer, batches, rows = Answer(query, owners), [], 0
    for batch in answer:
        batches.append(batch)
        rows += batch.num_rows
        if rows > _MOST:
            raise UsageError(
                f"features: expected at most {_MOST:,} bars, was more",
                remedy="Ask for a shorter span or a longer interval.",
            )
    return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches, schema=answer.schema)))
