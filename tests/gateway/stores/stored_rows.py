"""The same rows in every store: QuestDB, ClickHouse, TimescaleDB, and an in-memory reference of the contract."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import polars as pl

from analytics.mirror.cold_store import ColdStore
from gateway.answers.answer import QueryAnswer
from gateway.answers.coverage import ColdDay, Coverage
from gateway.answers.registry import StoreRegistry
from gateway.query import Query
from gateway.stores.clickhouse import ClickHouseStore
from gateway.stores.contract import Store
from gateway.stores.questdb import QuestDBStore
from gateway.stores.timescale import TimescaleStore
from ingest.timescale.store import LoadedUpTo, TimescaleLoader
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch
from tapehouse.clock import DAY, MAX_TS
from tapehouse.model import ACCOUNT_TRADES, TICKS, TRADES, Kind
from tapehouse.settings import ClickHouse, Settings, Timescale
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.migrations import migrate, migrations
from tapehouse.stores.questdb import QuestReader
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tapehouse.tabular import as_frame
from tests.gateway.memory_store import MemoryStore
from tests.reads import whole

STORE_NAMES = ("hot", "cold", "memory", "timescale")


class LoadedAccountTrades:
    """TimescaleDB with account trades, some of which it takes for late ones and diverts."""

    def __init__(self, settings: Timescale) -> None:
        self.store = TimescaleStore(settings)
        self._loader = TimescaleLoader(settings)
        self._client = TimescaleClient(settings)
        self._floor = LoadedUpTo(0)
        ledger = TimescaleMigrations(settings)
        migrate(ledger, migrations("timescale"))
        ledger.close()

    def close(self) -> None:
        for one in (self.store, self._loader, self._client):
            one.close()

    def put(self, batches: Sequence[Batch]) -> None:
        # The last rows of each are diverted: with the policy those of the tests are too old.
        halves = [batch.slice(0, batch.rows * 2 // 3) for batch in batches]
        rest = [batch.slice(batch.rows * 2 // 3, batch.rows) for batch in batches]
        self._client.fetch("SELECT remove_retention_policy('trades', if_exists => true)")
        self._load(halves)
        with self._client.transaction():
            ((job,),) = self._client.fetch("SELECT add_retention_policy('trades', INTERVAL '30 days')")
            self._client.fetch("SELECT alter_job(%s, scheduled => false)", [job])
        self._load(rest)

    def _load(self, batches: Sequence[Batch]) -> None:
        self._loader.close()
        self._loader._tables._limit_read_at = float("-inf")
        batches = [batch for batch in batches if batch.rows]
        self._floor = self._loader.load(batches, 1, self._floor, self._floor.seq + 1)


class Stores:
    """All stores with the rows of `put`. Tests use venues or accounts of their own."""

    def __init__(self, settings: Settings, cold: ClickHouse, timescale: Timescale | None = None) -> None:
        """Without `timescale` there is none."""
        self._loaded = LoadedAccountTrades(timescale) if timescale else None
        self.settings = settings.model_copy(update={"clickhouse": cold})
        self.hot = QuestDBStore(settings.questdb)
        self.cold = ClickHouseStore(cold)
        self.memory = MemoryStore("memory")
        self._puts = 0
        self._writer = QuestDBWriter(settings.questdb)
        self._reader = QuestReader(settings.questdb)
        self._importer = ColdStore(cold)
        self._ledger = ClickHouseClient(cold)

    def close(self) -> None:
        for one in (self.hot, self.cold, self._writer, self._reader, self._importer, self._ledger):
            one.close()
        if self._loaded:
            self._loaded.close()

    def put(self, *batches: Batch) -> pl.DataFrame:
        """Insert rows of one kind with new keys into every store; returns them, the last of each key."""
        kind = batches[0].kind
        for batch in batches:
            assert self._writer.commit([batch]) == []
        rows = pl.concat([as_frame(batch) for batch in batches])
        rows = rows.unique(kind.key, keep="last", maintain_order=True)
        body = io.BytesIO()
        rows.write_parquet(body)
        self._importer.insert(kind, kind.name, body.getvalue())
        self.memory.put(kind, rows)
        if self._loaded and kind is ACCOUNT_TRADES:
            self._loaded.put(batches)
        self._reader.wait_applied(kind.name)
        # Bars are the same whether the views show a row or not.
        self._puts += 1
        if kind is TRADES and self._puts % 2:
            refresh_bar_views(self.settings.questdb)
        return rows

    def by_name(self, name: str) -> Store:
        """A store by its name in STORE_NAMES."""
        found: Mapping[str, Store] = {"hot": self.hot, "cold": self.cold, "memory": self.memory}
        if name == "timescale":
            assert self._loaded
            return self._loaded.store
        return found[name]

    def registry(self, name: str) -> StoreRegistry:
        """A registry in which one store owns all days: as the cold tier if it is `cold`, else as the hot tier."""
        store = self.by_name(name)
        registry = StoreRegistry({"hot": store, "cold": store}, self._ledger)
        cold: dict[str, dict[int, ColdDay]] = {}
        if name == "cold":
            for kind in TICKS:
                days = {day: ColdDay(size.rows, "") for day, size in store.day_sizes(kind).items()}
                cold[kind.name] = {**days, MAX_TS - DAY: ColdDay(0, "")}
        registry.coverage = Coverage(cold=cold, unknown_reason="")
        return registry

    def answer(self, name: str, query: Query) -> pl.DataFrame:
        """The complete answer of one store."""
        return whole(QueryAnswer(query, self.registry(name)))


def rows_of(store: Store, kind: Kind, query: Query, most: int = 100_000) -> pl.DataFrame:
    """All rows that a store returns for a query, page by page."""
    frames, after, ended = [], query.after, False
    while not ended:
        page = store.read(query, query.start_ns, query.end_ns, after, most)
        assert page.batch.num_rows or page.is_last, "a page without rows that is not the last"
        frame = pl.DataFrame(pl.from_arrow(page.batch))
        frames.append(frame)
        ended = page.is_last
        if frame.height:
            times = frame[kind.time].cast(pl.Int64)
            after = (int(times[-1]), *frame.select(kind.key[1:]).row(-1))
    return pl.concat(frames)
