"""The one query surface: what REST, the command line and the notebook's client are answered by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl
import pyarrow as pa

from gateway.answer import Answer
from gateway.catalog import catalog
from gateway.orderbook import book_at
from gateway.owners import Owners
from gateway.plan import STORES, Segment, Side, expected, plan, until
from gateway.query import Query
from gateway.series import features
from gateway.stores.clickhouse import ClickStore
from gateway.stores.contract import Store
from gateway.stores.questdb import QuestStore
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.clock import iso, now_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import TRADES
from tapehouse.settings import Settings

_LEDGER_S = 10


class Surface:
    """Owns the stores' connections; for several threads at a time."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet. Until `refresh` only yesterday and today are answered for."""
        self._ledger = ClickHouseClient(settings.clickhouse, timeout_s=_LEDGER_S, reading=True)
        self._stores: dict[Side, Store] = {
            "hot": QuestStore(settings.questdb),
            "cold": ClickStore(settings.clickhouse),
        }
        self._owners = Owners(self._stores, self._ledger)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._owners.close()
        self._ledger.close()

    def refresh(self, marks: Mapping[str, Any] | None = None) -> None:
        """Read anew who owns which day; `marks` are the shared state's (mark.>), by key.

        Raises ConnectError where a store does not answer; what was known stays.
        """
        self._owners.refresh(marks)

    def plan(self, query: Query) -> list[Segment]:
        """Which store is asked for which span."""
        return plan(query, self._owners.coverage, now_ns())

    def explain(self, query: Query) -> dict[str, Any]:
        """The plan with the statement for each store; nothing is run. Ready for JSON.

        `rows` and `bytes` are what the store holds of the span, of all venues and symbols.
        """
        planned = self.plan(query)
        held = {
            side: self._stores[side].coverage(query.rows_kind) for side in {part.store for part in planned}
        }
        segments = []
        for segment in planned:
            rows, size = expected(segment, held[segment.store])
            store = self._stores[segment.store]
            segments.append(
                {
                    "store": STORES[segment.store],
                    "start": iso(segment.start_ns),
                    "end": until(segment.end_ns),
                    "why": segment.why,
                    "statement": store.statement(query, segment.start_ns, segment.end_ns),
                    "rows": rows,
                    "bytes": size,
                    "quality": list(segment.quality),
                }
            )
        return {"query": _told(query), "segments": segments}

    def answer(self, query: Query) -> Answer:
        """The answer, planned; nothing is read yet."""
        return Answer(query, self._owners)

    def read(self, query: Query) -> pl.DataFrame:
        """The whole answer as a frame."""
        answer = self.answer(query)
        return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(list(answer), schema=answer.schema)))

    def catalog(self) -> pl.DataFrame:
        """What there is: kind, venue, symbol, first, last (Datetime ns UTC), rows; see `gateway/catalog.py`."""
        return catalog(self._owners)

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """The last trade of each symbol that takes part in bars: all columns of trades, by symbol."""
        found = self._stores["hot"].latest(venue, symbols)
        known = set(found.column("symbol").to_pylist())
        missing = [symbol for symbol in symbols if symbol not in known]
        if missing and self._owners.coverage.cold.get(TRADES.name):
            found = pa.concat_tables([found, self._stores["cold"].latest(venue, missing)])
        return found.sort_by("symbol")

    def book(self, venue: str, symbol: str, at_ns: int, depth: int) -> dict[str, Any]:
        """The order book as of a time; see `gateway/orderbook.py`."""
        return book_at(self._owners, venue, symbol, at_ns, depth)

    def features(self, query: Query) -> pl.DataFrame:
        """The features of the bars of a query for one symbol: `ts` and a column a feature."""
        return features(self._owners, query)

    def health(self) -> dict[str, str]:
        """By store: empty where it answers, else why it does not."""
        found = {}
        for side, store in self._stores.items():
            try:
                store.health()
                found[STORES[side]] = ""
            except TapehouseError as reason:
                found[STORES[side]] = reason.message
        if self._owners.coverage.unread:
            found["coverage"] = self._owners.coverage.unread
        return found


def _told(query: Query) -> dict[str, Any]:
    """A query for people and programs, ready for JSON."""
    told: dict[str, Any] = {
        "kind": query.kind,
        "venue": query.venue,
        "symbols": list(query.symbols),
        "start": iso(query.start_ns),
        "end": until(query.end_ns),
        "columns": list(query.names),
    }
    if query.kind == "bars":
        told |= {"interval": query.interval, "fill": query.fill}
    if query.limit is not None:
        told["last" if query.last else "limit"] = query.limit
    if query.flags:
        told["flags"] = query.flags
    return told
