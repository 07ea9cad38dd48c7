"""The catalog of series: kind, venue and symbol with first time, last time and rows, over both stores."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from gateway.answers.coverage import Coverage
from gateway.answers.plan import StoreTier
from gateway.answers.registry import StoreRegistry
from tapehouse.clock import MAX_TS
from tapehouse.model import DEPTH, QUOTES, TRADES

_CATALOG_KINDS = (TRADES, QUOTES, DEPTH)


def read_catalog(registry: StoreRegistry) -> pl.DataFrame:
    """Columns kind, venue, symbol, first and last (Datetime ns UTC), rows; sorted by kind, venue, symbol.

    For trades in the hot store `first` and `last` are whole days, and `rows` counts only trades that count in bars.
    """
    parts = []
    for kind in _CATALOG_KINDS:
        for tier, start, end in _spans(registry.coverage, kind.name):
            found = registry.stores[tier].symbols(kind, start, end)
            parts.append(found.select(pl.lit(kind.name).alias("kind"), pl.all()))
    return (
        pl.concat(parts)
        .group_by("kind", "venue", "symbol")
        .agg(pl.col("first").min(), pl.col("last").max(), pl.col("rows").sum())
        .sort("kind", "venue", "symbol")
    )


def _spans(coverage: Coverage, kind: str) -> Iterator[tuple[StoreTier, int, int]]:
    at = 0
    for begin, end in coverage.cold_spans(kind, MAX_TS):
        if begin > at:
            yield "hot", at, begin
        yield "cold", begin, end
        at = end
    yield "hot", at, MAX_TS
