"""The catalog of series: kind, venue and symbol with first time, last time and rows, over both stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from gateway.answers.coverage import ColdDay, Coverage
from gateway.answers.registry import StoreRegistry
from gateway.stores.contract import symbols_frame
from tapehouse.clock import DAY, MAX_TS
from tapehouse.model import DEPTH, QUOTES, TRADES, Kind

_CATALOG_KINDS = (TRADES, QUOTES, DEPTH)
_Span = tuple[int, int]


@dataclass(frozen=True)
class _ColdSeries:
    """The series of one kind in the cold store, as of when its days were these."""

    days: Mapping[int, ColdDay]
    series: pl.DataFrame


class Catalog:
    """Reads the catalog. Thread-safe.

    What the cold store has is kept: its days change only with their fingerprints, and a day that is handed over is
    read alone.
    """

    def __init__(self, registry: StoreRegistry) -> None:
        self._registry = registry
        self._cold: dict[str, _ColdSeries] = {}

    def read(self) -> pl.DataFrame:
        """Columns kind, venue, symbol, first and last (Datetime ns UTC), rows; sorted by kind, venue, symbol.

        Of trades those that count in bars.
        """
        return self._read(exact=True)

    def names(self) -> pl.DataFrame:
        """Columns kind, venue, symbol; sorted. Costs less than `read`."""
        return self._read(exact=False).select("kind", "venue", "symbol")

    def _read(self, *, exact: bool) -> pl.DataFrame:
        coverage = self._registry.coverage
        found = []
        for kind in _CATALOG_KINDS:
            cold = coverage.cold_spans(kind.name, MAX_TS)
            hot = self._registry.stores["hot"]
            parts = [hot.symbols(kind, start, end, exact=exact) for start, end in _between(cold)]
            parts.append(self._cold_series(kind, coverage, cold))
            found.append(_combined(parts).select(pl.lit(kind.name).alias("kind"), pl.all()))
        return pl.concat(found).sort("kind", "venue", "symbol")

    def _cold_series(self, kind: Kind, coverage: Coverage, spans: list[_Span]) -> pl.DataFrame:
        days = coverage.cold.get(kind.name, {})
        known = self._cold.get(kind.name)
        if known is not None and known.days == days:
            return known.series
        parts = []
        if known is not None and all(days.get(day) == cold for day, cold in known.days.items()):
            parts.append(known.series)
            spans = list(_runs([day for day in days if day not in known.days]))
        store = self._registry.stores["cold"]
        parts += [store.symbols(kind, start, end, exact=True) for start, end in spans]
        series = _combined(parts)
        self._cold[kind.name] = _ColdSeries(days, series)
        return series


def _combined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """One row for each venue and symbol."""
    return (
        pl.concat([symbols_frame([]), *parts])
        .group_by("venue", "symbol")
        .agg(pl.col("first").min(), pl.col("last").max(), pl.col("rows").sum())
    )


def _between(spans: list[_Span]) -> Iterator[_Span]:
    """What is not in the spans, which are in order of time."""
    at = 0
    for begin, end in spans:
        if begin > at:
            yield at, begin
        at = end
    yield at, MAX_TS


def _runs(days: list[int]) -> Iterator[_Span]:
    """The days as spans, those that follow each other as one."""
    begin = end = -1
    for day in sorted(days):
        if day != end:
            if end > begin:
                yield begin, end
            begin = day
        end = day + DAY
    if end > begin:
        yield begin, end
