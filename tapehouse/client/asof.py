"""Trades with the quotes that stood when they were made."""

from __future__ import annotations

from typing import Final

import polars as pl

from tapehouse.errors import UsageError

_BY: Final = ("venue", "symbol")


def asof(trades: pl.DataFrame, quotes: pl.DataFrame) -> pl.DataFrame:
    """Each trade with the last quote of its venue and symbol whose `ts_event` is at or before the trade's.

    The trades' columns come first, then the quotes'; where both have a name the quotes' ends in `_quote`. A trade
    without a quote before it has nulls. Of quotes with the same time the one with the highest `seq` counts, or, where
    `quotes` has no such column, the later row. Rows come by `ts_event`, equal ones as in `trades`.

    Raises UsageError where `ts_event`, `venue` or `symbol` is missing.
    """
    for what, frame in (("trades", trades), ("quotes", quotes)):
        for name in ("ts_event", *_BY):
            if name not in frame.columns:
                raise UsageError(f"{what}: expected a column {name}, was {' '.join(frame.columns)}")
    order = ["ts_event", *(("seq",) if "seq" in quotes.columns else ())]
    return trades.sort("ts_event", maintain_order=True).join_asof(
        quotes.sort(order, maintain_order=True),
        on="ts_event",
        by=list(_BY),
        strategy="backward",
        suffix="_quote",
        coalesce=False,
        # Sorted here, by time over all of them.
        check_sortedness=False,
    )
