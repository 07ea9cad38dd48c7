"""Which series are stored: finds the venue of symbols, and refuses names that are not stored, naming near ones."""

from __future__ import annotations

import difflib
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.answers.catalog import Catalog
from gateway.answers.execution import Execution
from gateway.answers.registry import StoreRegistry
from gateway.query import ALL_SYMBOLS, MAX_SYMBOLS, Query
from tapehouse.clock import MAX_TS
from tapehouse.errors import ConnectError, UnknownSeriesError, UsageError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, GAPS, QUOTES, TRADES

_KINDS = (TRADES, QUOTES, DEPTH, GAPS)
"""A name is stored if one of these kinds has rows of it."""
_RECENT_S = 5.0
_MAX_NEAR = 3
_MAX_LISTED = 10
_LOOK = "`tapehouse catalog`, `db.catalog()` and /v1/catalog list all."


@dataclass(frozen=True)
class Stored:
    """The names in a catalog: the symbols by venue, of one kind and of all kinds."""

    of_kind: Mapping[str, Collection[str]]
    of_all: Mapping[str, Collection[str]]

    def has(self, venue: str, symbol: str) -> bool:
        """Whether the venue has the symbol; of an empty name, whether there is any."""
        venues = [venue] if venue else list(self.of_all)
        return any(symbol in self.of_all.get(name, ()) if symbol else name in self.of_all for name in venues)

    def venue_of(self, symbols: Sequence[str]) -> str:
        """The one venue that has all of the symbols; of no symbols, the only venue.

        Raises UnknownSeriesError if none has, UsageError if several have.
        """
        for known in (self.of_kind, self.of_all):
            found = sorted(venue for venue, names in known.items() if {*symbols} <= {*names})
            if len(found) == 1:
                return found[0]
            if found:
                raise UsageError(
                    f"venue: expected one of {_listed(found)}, was nothing",
                    remedy="Name it: venue=..., --venue; in Python also once for all: connect(venue=...).",
                )
        for symbol in symbols:
            if not self._venues_of(symbol):
                raise self.unknown("", symbol)
        if not symbols:
            raise self.unknown("", "")
        where = ", ".join(
            f"{symbol} is of {_listed(self._venues_of(symbol))}" for symbol in symbols[:_MAX_LISTED]
        )
        raise UsageError(
            f"venue: expected one that has all symbols; {where}", remedy="Query each venue by itself."
        )

    def unknown(self, venue: str, symbol: str) -> UnknownSeriesError:
        """The error for a symbol that a venue does not have: of any venue if `venue` is empty, any symbol likewise."""
        remedy = _LOOK
        if not self.of_all:
            message, remedy = "nothing is stored yet", "Start a feed, or ingest a file."
        elif venue and venue not in self.of_all:
            message = f"no venue {venue}; {self._instead_of_venue(venue, symbol)}"
        elif not symbol:
            message = f"no such symbols of {venue}; it has {_listed(self.of_all[venue])}"
        else:
            message = (
                f"no {symbol}{f' of {venue}' if venue else ''}; {self._instead_of_symbol(venue, symbol)}"
            )
        return UnknownSeriesError(message, remedy=remedy, venue=venue, symbol=symbol)

    def _instead_of_venue(self, venue: str, symbol: str) -> str:
        if symbol in self.of_all and self._venues_of(venue):
            return f"{symbol} is a venue and {venue} a symbol: were they swapped?"
        if near := _near(venue, self.of_all):
            return f"near: {near}"
        return f"venues: {_listed(self.of_all)}"

    def _instead_of_symbol(self, venue: str, symbol: str) -> str:
        if others := self._venues_of(symbol):
            return f"it is of {_listed(others)}"
        if symbol in self.of_all:
            return f"{symbol} is a venue: write venue={symbol!r}"
        names = self.of_all[venue] if venue else {name for all_of in self.of_all.values() for name in all_of}
        if near := _near(symbol, names):
            return f"near: {near}"
        return f"{venue or 'the catalog'} has {_listed(names)}"

    def _venues_of(self, symbol: str) -> list[str]:
        return sorted(venue for venue, names in self.of_all.items() if symbol in names)


class SeriesDirectory:
    """Looks names up in both stores. Thread-safe.

    A query that names its venue and has rows costs nothing here: names that were found are remembered.
    """

    def __init__(self, registry: StoreRegistry) -> None:
        self._registry = registry
        self.catalog = Catalog(registry)
        self._found: set[tuple[str, str]] = set()
        """(venue, symbol) of series that were found. What is stored once stays so."""
        self._recent: dict[str, tuple[float, Stored]] = {}
        """By kind what was read last, and when."""

    def resolve(self, query: Query) -> Query:
        """The query with its venue, and with all symbols of it for `*`; the catalog is read where one is missing.

        Raises UsageError where the venue is not clear or has too many symbols, UnknownSeriesError for unknown names.
        """
        if query.is_resolved:
            return query
        kind = query.source_kind.name
        if query.symbols != ALL_SYMBOLS:
            return replace(query, venue=query.venue or self.venue_of(kind, query.symbols))
        stored = self._read(kind)
        venue = query.venue or stored.venue_of(())
        names = sorted(stored.of_kind.get(venue, ()))
        if not names:
            raise stored.unknown(venue, "")
        if len(names) > MAX_SYMBOLS:
            raise UsageError(
                f"symbol: expected at most {MAX_SYMBOLS}, was * of {venue}, which has {len(names):,}"
            )
        return replace(query, venue=venue, symbols=tuple(names))

    def venue_of(self, kind: str, symbols: Sequence[str]) -> str:
        """The one venue that has all of the symbols, first among those with rows of `kind`; raises as `Stored`'s."""
        return self._recent_names(kind, symbols).venue_of(symbols)

    def names(self, kind: str, *, fresh: bool = False) -> Mapping[str, Collection[str]]:
        """The symbols with rows of a kind by venue, as of a few seconds ago at most.

        `fresh`: as of now. Raises ConnectError where only those of one store can be known.
        """
        if not fresh:
            return self._recent_names(kind).of_kind
        if reason := self._registry.coverage.unknown_reason:
            raise ConnectError(
                f"coverage: the names in the cold store are unknown: {reason}",
                remedy="Look at `tapehouse status`: ClickHouse and QuestDB must answer.",
            )
        return self._read(kind).of_kind

    def check(self, query: Query) -> None:
        """Raise UnknownSeriesError for a venue or symbol of a query that is not stored."""
        if query.source_kind is ACCOUNT_TRADES or not (query.venue or query.symbols):
            return
        self.check_names(query.venue, query.symbols)

    def check_names(self, venue: str, symbols: Sequence[str]) -> None:
        """Raise UnknownSeriesError if a symbol of a venue is not stored.

        Without a venue any venue's symbol will do; without symbols any symbol of the venue.
        """
        if self._registry.coverage.unknown_reason:
            return
        missing = [symbol for symbol in symbols or ("",) if (venue, symbol) not in self._found]
        if not missing:
            return
        stored = self._recent_names(TRADES.name)
        for symbol in missing:
            # The catalog may lack what was stored a moment ago, and has no gaps; only gaps are read without a symbol.
            kinds = _KINDS if symbol else (GAPS,)
            if not stored.has(venue, symbol) and not any(
                self._has_rows(kind.name, venue, symbol) for kind in kinds
            ):
                if venue not in stored.of_all and any(known == venue for known, _ in self._found):
                    # The venue was stored after the catalog was read.
                    stored = self._read(TRADES.name)
                raise stored.unknown(venue, symbol)
            self._found.add((venue, symbol))

    def _recent_names(self, kind: str, symbols: Sequence[str] = ()) -> Stored:
        """As `_read`, or what was read in the last seconds if it has the symbols."""
        recent = self._recent.get(kind)
        is_recent = recent is not None and time.monotonic() - recent[0] < _RECENT_S
        if recent is not None and is_recent and all(recent[1].has("", symbol) for symbol in symbols):
            return recent[1]
        return self._read(kind)

    def _read(self, kind: str) -> Stored:
        of_kind: dict[str, set[str]] = {}
        of_all: dict[str, set[str]] = {}
        for name, venue, symbol in self.catalog.names().iter_rows():
            of_all.setdefault(venue, set()).add(symbol)
            if name == kind:
                of_kind.setdefault(venue, set()).add(symbol)
        self._found |= {(venue, symbol) for venue, symbols in of_all.items() for symbol in symbols}
        stored = Stored(of_kind, of_all)
        self._recent[kind] = time.monotonic(), stored
        return stored

    def _has_rows(self, kind: str, venue: str, symbol: str) -> bool:
        query = Query(kind, venue, (symbol,) if symbol else (), 0, MAX_TS)
        execution = Execution(query, self._registry)
        while True:
            found = any(
                execution.store(part.segment.tier).count_newest(query, part.start_ns, part.end_ns, 1)[0]
                for part in reversed(execution.progress)
            )
            if found or not execution.replan_if_days_moved(0):
                return found


def _near(name: str, names: Iterable[str]) -> str:
    """The names that are written most like `name`, upper and lower case alike."""
    by_fold = {known.casefold(): known for known in sorted(names)}
    found = difflib.get_close_matches(name.casefold(), by_fold, _MAX_NEAR)
    return ", ".join(by_fold[fold] for fold in found)


def _listed(names: Collection[str]) -> str:
    """The first names of some, and how many more there are."""
    first = sorted(names)[:_MAX_LISTED]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more:,} more" if more else "")
