"""Bars of several segments as one series: parts of a bar put together, empty intervals filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from gateway.arrow import as_batch
from tapehouse.clock import Interval
from tapehouse.model import BARS
from tapehouse.tabular import TIME


def merged(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The bars of parts that are in order of time; a bar that a seam cuts is in two of them.

    Its open is that of the part with the lowest seq, its close that of the part with the highest: a late trade may
    have a lower seq than one of the day before.
    """
    filled = [part for part in parts if part.num_rows]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    bars = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(filled)))
    whole = (
        bars.group_by("ts", "venue", "symbol")
        .agg(
            pl.col("open").sort_by("seq_first").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").sort_by("seq_last").last(),
            pl.col("volume", "turnover", "trades", "buy_volume").sum(),
            pl.col("seq_first").min(),
            pl.col("seq_last").max(),
        )
        .select(BARS.names)
        .sort("ts", "symbol")
    )
    return as_batch(whole, parts[0].schema)


def flat(
    bars: pa.RecordBatch,
    venue: str,
    closes: Mapping[str, float | None],
    interval: Interval,
    first: int,
    last: int,
) -> pa.RecordBatch:
    """The bars of [first, last) with each interval that begins in it and is empty as a flat one at the close before.

    `first` is a bar's start. `closes` are the symbols with their close before `first`, None for a symbol that has
    none: its bars begin with its first. A flat bar has no trades: its volumes are 0, its seqs null.
    """
    # A bar is at least as long as a step, so that none is stepped over.
    steps = np.append(np.arange(first, last, interval.length), last - 1)
    grid = pl.DataFrame({"ts": np.unique(interval.bucket(steps))}).with_columns(pl.col("ts").cast(TIME))
    held = pl.DataFrame(pl.from_arrow(bars))
    series = [
        grid.join(held.filter(pl.col("symbol") == symbol), on="ts", how="left", maintain_order="left")
        .with_columns(
            close=pl.col("close").forward_fill().fill_null(pl.lit(before, pl.Float64)),
            venue=pl.lit(venue),
            symbol=pl.lit(symbol),
        )
        .filter(pl.col("close").is_not_null())
        .with_columns(
            *(pl.col(name).fill_null(pl.col("close")) for name in ("open", "high", "low")),
            *(pl.col(name).fill_null(0) for name in ("volume", "turnover", "trades", "buy_volume")),
        )
        .select(BARS.names)
        for symbol, before in closes.items()
    ]
    return as_batch(pl.concat(series).sort("ts", "symbol", maintain_order=True), bars.schema)
