"""Bars of several segments as one series: parts of a bar put together, empty intervals filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tapehouse.clock import Interval
from tapehouse.errors import UsageError
from tapehouse.model import BARS
from tapehouse.tabular import TIME

MOST_FILLED = 5_000_000
"""Flat bars that one query may ask for."""


def merged(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The bars of parts that are in order of time; a bar that a seam cuts is in two of them.

    Its open is that of the part with the lowest seq, its close that of the part with the highest: a late trade may
    have a lower seq than one of the day before.
    """
    filled = [part for part in parts if part.height]
    if not filled:
        return parts[0]
    bars = pl.concat(filled) if len(filled) > 1 else filled[0]
    if len(filled) == 1 or not bars.select("ts", "venue", "symbol").is_duplicated().any():
        return bars
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


def flat(
    bars: pl.DataFrame,
    venue: str,
    closes: Mapping[str, float | None],
    interval: Interval,
    first: int,
    last: int,
) -> pl.DataFrame:
    """The bars of [first, last), bounds of bars, with each empty interval as a flat one at the close before it.

    `closes` are the symbols with their close before `first`, None for a symbol that has none: its bars begin with
    its first. A flat bar has no trades: its volumes are 0, its seqs null.
    """
    starts = _starts(interval, first, last, len(closes))
    grid = pl.DataFrame({"ts": starts}).with_columns(pl.col("ts").cast(TIME))
    series = [
        grid.join(bars.filter(pl.col("symbol") == symbol), on="ts", how="left", maintain_order="left")
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
    return pl.concat(series).sort("ts", "symbol", maintain_order=True)


def _starts(interval: Interval, first: int, last: int, series: int) -> list[int]:
    if (last - first) // interval.length * series > MOST_FILLED:
        raise UsageError(
            f"fill: expected at most {MOST_FILLED:,} bars, was {iso_count(interval, first, last)} of {series} symbols",
            remedy="Ask for a shorter span or a longer interval.",
        )
    starts = []
    while first < last:
        starts.append(first)
        first = int(interval.following(np.array([first]))[0])
    return starts


def iso_count(interval: Interval, first: int, last: int) -> str:
    """How many bars of an interval a span has, for people."""
    return f"{(last - first) // interval.length:,} bars of {interval.name}"
