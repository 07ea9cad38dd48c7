"""The same rows in every store: QuestDB, ClickHouse, and one in memory that says what the contract means."""

from __future__ import annotations

import io
from collections.abc import Mapping

import polars as pl

from analytics.coldstore import ColdStore
from gateway.answer import Answer
from gateway.coverage import ColdDay, Coverage
from gateway.owners import Owners
from gateway.query import Query
from gateway.stores.clickhouse import ClickStore
from gateway.stores.contract import Store
from gateway.stores.questdb import QuestStore
from ingest.hotstore import HotStore
from tapehouse.batch import Batch
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.clock import DAY, MAX_TS
from tapehouse.model import TICKS, TRADES, Kind
from tapehouse.questdb import QuestReader
from tapehouse.settings import ClickHouse, Settings
from tapehouse.tabular import as_frame
from tests.gateway.memory import MemoryStore
from tests.reads import whole

SIDES = ("hot", "cold", "memory")


class Stores:
    """Each has what was put. Tests keep out of each other's way by venue, or by account."""

    def __init__(self, settings: Settings, cold: ClickHouse) -> None:
        self.settings = settings.model_copy(update={"clickhouse": cold})
        self.hot = QuestStore(settings.questdb)
        self.cold = ClickStore(cold)
        self.memory = MemoryStore("memory")
        self._writer = HotStore(settings.questdb)
        self._reader = QuestReader(settings.questdb)
        self._importer = ColdStore(cold)
        self._ledger = ClickHouseClient(cold)

    def close(self) -> None:
        for one in (self.hot, self.cold, self._writer, self._reader, self._importer, self._ledger):
            one.close()

    def put(self, *batches: Batch) -> pl.DataFrame:
        """Add rows of one kind, whose keys are new; of those with one key the last stays. Returns what stays."""
        kind = batches[0].kind
        for batch in batches:
            assert self._writer.commit([batch]) == []
        rows = pl.concat([as_frame(batch) for batch in batches])
        rows = rows.unique(kind.key, keep="last", maintain_order=True)
        body = io.BytesIO()
        rows.write_parquet(body)
        self._importer.insert(kind, kind.name, body.getvalue())
        self.memory.put(kind, rows)
        self._reader.wait_applied(kind.name)
        if kind is TRADES:
            for view in ("bars_1m", "bars_1d"):
                self._reader.wait_refreshed(view, 60)
        return rows

    def side(self, name: str) -> Store:
        """The store of a name in SIDES."""
        found: Mapping[str, Store] = {"hot": self.hot, "cold": self.cold, "memory": self.memory}
        return found[name]

    def owners(self, name: str) -> Owners:
        """All days are the store's: as the hot one, or as the cold one."""
        store = self.side(name)
        owners = Owners({"hot": store, "cold": store}, self._ledger)
        cold: dict[str, dict[int, ColdDay]] = {}
        if name == "cold":
            for kind in TICKS:
                days = {day: ColdDay(held.rows, "") for day, held in store.coverage(kind).items()}
                cold[kind.name] = {**days, MAX_TS - DAY: ColdDay(0, "")}
        owners.coverage = Coverage(cold=cold, unread="")
        return owners

    def answer(self, name: str, query: Query) -> pl.DataFrame:
        """The whole answer of one store alone."""
        return whole(Answer(query, self.owners(name)))


def rows_of(store: Store, kind: Kind, query: Query, most: int = 100_000) -> pl.DataFrame:
    """All rows that a store gives of a query, page after page."""
    frames, after, ended = [], query.after, False
    while not ended:
        page = store.read(query, query.start_ns, query.end_ns, after, most)
        assert page.batch.num_rows or page.ended, "a page without rows that is not the last"
        frame = pl.DataFrame(pl.from_arrow(page.batch))
        frames.append(frame)
        ended = page.ended
        if frame.height:
            times = frame[kind.time].cast(pl.Int64)
            after = (int(times[-1]), *frame.select(kind.key[1:]).row(-1))
    return pl.concat(frames)
