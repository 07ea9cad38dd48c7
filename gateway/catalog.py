"""What there is to be asked for: every kind, venue and symbol with its first and last time, over both stores."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from gateway.coverage import Coverage
from gateway.owners import Owners
from gateway.plan import Side
from tapehouse.clock import MAX_TS
from tapehouse.model import DEPTH, QUOTES, TRADES

_LISTED = (TRADES, QUOTES, DEPTH)


def catalog(owners: Owners) -> pl.DataFrame:
    """kind, venue, symbol, first, last (Datetime ns UTC), rows; by kind, venue and symbol.

    Of the hot store's trades `first` and `last` are days, and rows are those that take part in bars.
    """
    parts = []
    for kind in _LISTED:
        for side, start, end in _spans(owners.coverage, kind.name):
            found = owners.stores[side].symbols(kind, start, end)
            parts.append(found.select(pl.lit(kind.name).alias("kind"), pl.all()))
    return (
        pl.concat(parts)
        .group_by("kind", "venue", "symbol")
        .agg(pl.col("first").min(), pl.col("last").max(), pl.col("rows").sum())
        .sort("kind", "venue", "symbol")
    )


def _spans(coverage: Coverage, kind: str) -> Iterator[tuple[Side, int, int]]:
    at = 0
    for begin, end in coverage.cold_spans(kind, MAX_TS):
        if begin > at:
            yield "hot", at, begin
        yield "cold", begin, end
        at = end
    yield "hot", at, MAX_TS
