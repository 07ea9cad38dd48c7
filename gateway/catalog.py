"""What there is to be asked for: every kind, venue and symbol with its first and last time, over both stores."""

from __future__ import annotations

import polars as pl

from gateway.owners import Owners
from gateway.plan import Side
from tapehouse.model import DEPTH, QUOTES, TRADES

_LISTED = (TRADES, QUOTES, DEPTH)


def catalog(owners: Owners) -> pl.DataFrame:
    """kind, venue, symbol, first, last (Datetime ns UTC), rows; by kind, venue and symbol.

    `first` and `last` are to the day where the hot store's trades are concerned, and `rows` counts a day once that
    both stores hold only as long as it is the hot store's.
    """
    parts = []
    for kind in _LISTED:
        sides: list[Side] = ["hot"]
        if owners.coverage.cold.get(kind.name):
            sides.append("cold")
        for side in sides:
            found = owners.stores[side].symbols(kind)
            parts.append(found.select(pl.lit(kind.name).alias("kind"), pl.all()))
    return (
        pl.concat(parts)
        .group_by("kind", "venue", "symbol")
        .agg(pl.col("first").min(), pl.col("last").max(), pl.col("rows").sum())
        .sort("kind", "venue", "symbol")
    )
