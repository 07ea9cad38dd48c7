"""How many decimals the prices and sizes of a symbol have."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

import polars as pl

from gateway.query import Query
from gateway.rest.udf.names import Series
from gateway.surface import QuerySurface
from tapehouse.clock import MAX_TS
from tapehouse.model import NO_BAR, TRADES

_TRADES = 200
_KEPT_S = 60.0
_MAX_DECIMALS = 15
"""Ten to this power is the largest that a client in JavaScript holds exactly."""


class Decimals(NamedTuple):
    """The digits after the decimal point."""

    price: int
    size: int


class Precision:
    """Reads the decimals from the last trades, and keeps them for a minute. Thread-safe."""

    def __init__(self, surface: QuerySurface) -> None:
        self._surface = surface
        self._kept: dict[Series, tuple[float, Decimals]] = {}

    def of(self, series: Sequence[Series]) -> list[Decimals]:
        """The decimals of symbols of one venue, at most those of one query."""
        now = time.monotonic()
        missing = [one for one in series if one not in self._kept or now - self._kept[one][0] > _KEPT_S]
        if missing:
            symbols = tuple(one.symbol for one in missing)
            last = Query(
                TRADES.name, missing[0].venue, symbols, 0, MAX_TS,
                columns=("symbol", "price", "size"), limit=_TRADES, last=True, flags=int(NO_BAR),
            )  # fmt: skip
            trades = self._surface.read(last)
            for one in missing:
                own = trades.filter(pl.col("symbol") == one.symbol)
                self._kept[one] = now, Decimals(decimals(own["price"]), decimals(own["size"]))
        return [self._kept[one][1] for one in series]


def decimals(values: Iterable[float]) -> int:
    """The most digits after the decimal point that values have, of the 15 digits that a double holds for certain."""
    most = 0
    for value in values:
        exponent = Decimal(f"{value:.15g}").normalize().as_tuple().exponent
        assert isinstance(exponent, int)
        most = max(most, -exponent)
    return min(most, _MAX_DECIMALS)
