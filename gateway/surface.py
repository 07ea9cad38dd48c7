"""The query surface behind REST, the command line and the Python client."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow as pa

from gateway.answers.answer import QueryAnswer
from gateway.answers.features import read_features
from gateway.answers.orderbook import read_book
from gateway.answers.plan import STORE_NAMES, Segment, StoreTier, estimate_read, format_end, plan
from gateway.answers.registry import StoreRegistry
from gateway.answers.series import SeriesDirectory
from gateway.query import Query
from gateway.stores.clickhouse import ClickHouseStore
from gateway.stores.contract import Store
from gateway.stores.questdb import QuestDBStore
from gateway.stores.timescale import TimescaleStore
from tapehouse.clock import SECOND, iso, now_ns
from tapehouse.errors import ConnectError, TapehouseError, UsageError
from tapehouse.model import TRADES
from tapehouse.settings import Settings
from tapehouse.stores.clickhouse import ClickHouseClient

_LEDGER_S = 10


class QuerySurface:
    """Answers queries from both stores and owns their connections. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        """Connections are opened on first use. Until `refresh`, only queries from yesterday on can be answered."""
        self._ledger = ClickHouseClient(settings.clickhouse, timeout_s=_LEDGER_S, reading=True)
        self._hot = QuestDBStore(settings.questdb)
        self._stores: dict[StoreTier, Store] = {
            "hot": self._hot,
            "cold": ClickHouseStore(settings.clickhouse),
        }
        if settings.timescale.dsn.get_secret_value():
            self._stores["timescale"] = TimescaleStore(settings.timescale)
        self._registry = StoreRegistry(self._stores, self._ledger)
        self._series = SeriesDirectory(self._registry)
        self._grace_ns = round(settings.barmaker.grace_s * SECOND)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._registry.close()
        self._ledger.close()

    def refresh(self, marks: Mapping[str, Any] | None = None) -> None:
        """Read the coverage from both stores; `marks` are the day marks by KV key (mark.>).

        Raises ConnectError if a store does not answer; the coverage of before then stays in use.
        """
        self._registry.refresh(marks)

    def note_written(self, kind: str, day_ns: int) -> None:
        """A writer has opened the mark of a day: what is cached of it is not used until the next refreshes."""
        self._registry.note_written(kind, day_ns)

    def resolve(self, query: Query) -> Query:
        """The query with its venue and symbols; see `gateway.answers.series.SeriesDirectory.resolve`."""
        return self._series.resolve(query)

    def venue_of(self, kind: str, symbols: Sequence[str]) -> str:
        """The one venue that has all of the symbols; see `gateway.answers.series.SeriesDirectory.venue_of`."""
        return self._series.venue_of(kind, symbols)

    def names(self, kind: str, *, fresh: bool = False) -> Mapping[str, Collection[str]]:
        """The symbols by venue; see `gateway.answers.series.SeriesDirectory.names`."""
        return self._series.names(kind, fresh=fresh)

    def check_venue(self, venue: str) -> None:
        """Raise UnknownSeriesError if nothing of the venue is stored."""
        self._series.check_names(venue, ())

    def plan(self, query: Query) -> list[Segment]:
        """The segments of a query: which store answers which span. Raises UsageError if its store is not there."""
        self._check_store(query)
        return plan(query, self._registry.coverage, now_ns())

    def explain(self, query: Query) -> dict[str, Any]:
        """The plan with the statement for each store, without executing it. JSON-serializable.

        `rows` are those of the query's symbols in the span, of trades those that count in bars; None where they cannot
        be counted cheaply (other kinds in QuestDB). `all_rows` and `all_bytes` are what the store has of all venues and
        symbols, of a part of a day in proportion.
        """
        query = self.resolve(query)
        planned = self.plan(query)
        sizes = {
            tier: self._stores[tier].day_sizes(query.source_kind) for tier in {part.tier for part in planned}
        }
        segments = []
        for segment in planned:
            rows, size = estimate_read(segment, sizes[segment.tier])
            store = self._stores[segment.tier]
            segments.append(
                {
                    "store": STORE_NAMES[segment.tier],
                    "start": iso(segment.start_ns),
                    "end": format_end(segment.end_ns),
                    "why": segment.why,
                    "statement": store.statement(query.stored, segment.start_ns, segment.end_ns),
                    "rows": store.count_rows(query, segment.start_ns, segment.end_ns),
                    "all_rows": rows,
                    "all_bytes": size,
                    "quality": list(segment.quality),
                }
            )
        return {"query": _describe(query), "segments": segments}

    def answer(self, query: Query) -> QueryAnswer:
        """The planned answer of a resolved query, to be iterated; nothing has been read yet.

        Raises UsageError if the store that it names is not there.
        """
        self._check_store(query)
        return QueryAnswer(query, self._registry, self._series.check, self._grace_ns)

    def read(self, query: Query) -> pl.DataFrame:
        """The complete answer as one frame."""
        answer = self.answer(query)
        return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(list(answer), schema=answer.schema)))

    def read_written(self, query: Query) -> pl.DataFrame:
        """As `read`, with all rows that writers had committed before."""
        self._hot.wait_visible(query.source_kind)
        return self.read(query)

    def _check_store(self, query: Query) -> None:
        if query.store and "timescale" not in self._stores:
            raise UsageError(
                f"store: expected one that is there, was {query.store}",
                remedy="Set timescale.dsn: see docs/timescale.md.",
            )

    def days(self) -> list[tuple[str, int, str, int]]:
        """(kind, start of the day in ns, state, rows) of each stored day: see `Coverage.day_states`.

        Raises ConnectError where the owners of the days are unknown.
        """
        coverage = self._registry.coverage
        if coverage.unknown_reason:
            raise ConnectError(
                f"coverage: the owners of the days are unknown: {coverage.unknown_reason}",
                remedy="Look at `tapehouse status`: ClickHouse and QuestDB must answer.",
            )
        return coverage.day_states()

    def catalog(self) -> pl.DataFrame:
        """The stored series; see `gateway.answers.catalog.Catalog.read`."""
        return self._series.catalog.read()

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """Each symbol's last trade that counts in bars: all columns of trades, sorted by symbol.

        Raises UnknownSeriesError for a symbol that is not stored, and without symbols for a venue.
        """
        found = self._stores["hot"].latest(venue, symbols)
        known = set(found.column("symbol").to_pylist())
        missing = [symbol for symbol in symbols if symbol not in known]
        if missing and self._registry.coverage.cold.get(TRADES.name):
            found = pa.concat_tables([found, self._stores["cold"].latest(venue, missing)])
        if found.num_rows < len(symbols) or not symbols:
            self._series.check_names(venue, symbols)
        return found.sort_by("symbol")

    def book(self, venue: str, symbol: str, at_ns: int, depth: int) -> dict[str, Any]:
        """The order book as of a time; see `gateway.answers.orderbook.read_book`."""
        book = read_book(self._registry, venue, symbol, at_ns, depth)
        if book is None:
            self._series.check_names(venue, [symbol])
            raise UsageError(
                f"book: expected a snapshot of {symbol!r} of {venue!r} within a day before {iso(at_ns)}, was none",
                remedy="Not every venue sends order books: see the catalog for kind depth.",
            )
        return book

    def features(self, query: Query) -> pl.DataFrame:
        """The features of bars: `ts`, `symbol` and one column per feature."""
        if len(query.symbols) > 1:
            self._series.check(query)
        features = read_features(self._registry, query)
        if features.is_empty():
            self._series.check(query)
        return features

    def health(self) -> dict[str, str]:
        """By store, and `coverage`: empty if it is healthy, else the reason why not.

        Without TimescaleDB, which other queries do not need.
        """
        found = {}
        for tier, store in self._stores.items():
            if tier == "timescale":
                continue
            try:
                store.check_health()
                found[STORE_NAMES[tier]] = ""
            except TapehouseError as reason:
                found[STORE_NAMES[tier]] = reason.message
        if self._registry.coverage.unknown_reason:
            found["coverage"] = self._registry.coverage.unknown_reason
        return found


def _describe(query: Query) -> dict[str, Any]:
    """A query as JSON."""
    document: dict[str, Any] = {
        "kind": query.kind,
        "venue": query.venue,
        "symbols": list(query.symbols),
        "start": iso(query.start_ns),
        "end": format_end(query.end_ns),
        "columns": list(query.result_columns),
    }
    if query.interval is not None:
        document["interval"] = query.interval
        if query.kind == "bars":
            document |= {"fill": query.fill, "open": query.open}
        if query.stored.interval != query.interval:
            document["merged_from"] = query.stored.interval
    if query.limit is not None:
        document["last" if query.last else "limit"] = query.limit
    if query.flags:
        document["flags"] = query.flags
    if query.store:
        document["store"] = query.store
    return document
