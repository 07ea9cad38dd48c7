"""Joins trades with the quotes that were current at their time."""

from __future__ import annotations

from typing import Final

import polars as pl

from tapehouse.errors import UsageError

_BY: Final = ("venue", "symbol")


def asof(trades: pl.DataFrame, quotes: pl.DataFrame) -> pl.DataFrame:
    """Each trade with the last quote of its venue and symbol whose `ts_event` is at or before the trade's.

    The columns of the trades come first, then those of the quotes, with the suffix `_quote` if the name is in both. A
    trade without an earlier quote has nulls. Of several quotes at one time the one with the highest `seq` is used, or
    the later row if there is no `seq`. Rows are sorted by `ts_event`; trades at one time keep their order.

    Raises UsageError if a column `ts_event`, `venue` or `symbol` is missing.
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
        # Both frames are sorted by time above; polars would check the order within each group.
        check_sortedness=False,
    )
