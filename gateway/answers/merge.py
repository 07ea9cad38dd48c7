"""Merges the bars of several segments into one series, and fills empty intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from gateway.arrow import batch_from_frame, times_ns
from tapehouse.clock import Interval
from tapehouse.model import BARS
from tapehouse.tabular import TIME


def merge_bars(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of the bars in `parts`, which are in order of time; a bar across a segment boundary is in two of them.

    The open of such a bar is that of the part with the lowest seq, the close that of the part with the highest: a
    late trade may have a lower seq than a trade of the day before.
    """
    nonempty = [part for part in parts if part.num_rows]
    if len(nonempty) < 2:
        return nonempty[0] if nonempty else parts[0]
    bars = pl.DataFrame(pl.from_arrow(pa.Table.from_batches(nonempty)))
    return batch_from_frame(_merge(bars), parts[0].schema)


def lengthen_bars(bars: pa.RecordBatch, interval: Interval) -> pa.RecordBatch:
    """The bars of a custom interval made of those of its part, which are in order of time; a standard one's as given.

    Open and close are those of the lowest and highest seq, as in `merge_bars`.
    """
    if interval.part == interval.name or not bars.num_rows:
        return bars
    starts = pl.Series(interval.bucket(times_ns(bars, BARS)), dtype=pl.Int64).cast(TIME)
    return batch_from_frame(_merge(pl.DataFrame(pl.from_arrow(bars)).with_columns(ts=starts)), bars.schema)


def _merge(bars: pl.DataFrame) -> pl.DataFrame:
    """One bar for each time and symbol."""
    return (
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


def fill_flat(
    bars: pa.RecordBatch,
    venue: str,
    closes: Mapping[str, float | None],
    interval: Interval,
    first: int,
    last: int,
) -> pa.RecordBatch:
    """The bars that start in [first, last), ns, with a flat bar at the previous close for each empty interval.

    `first` is the start of a bar. `closes` has each symbol's close before `first`; a symbol with None starts with its
    first bar. A flat bar has no trades: its volumes are 0, its seqs null.
    """
    # No bar is shorter than a step, so every bar is hit.
    steps = np.append(np.arange(first, last, interval.length), last - 1)
    grid = pl.DataFrame({"ts": np.unique(interval.bucket(steps))}).with_columns(pl.col("ts").cast(TIME))
    present = pl.DataFrame(pl.from_arrow(bars))
    series = [
        grid.join(present.filter(pl.col("symbol") == symbol), on="ts", how="left", maintain_order="left")
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
    return batch_from_frame(pl.concat(series).sort("ts", "symbol", maintain_order=True), bars.schema)
