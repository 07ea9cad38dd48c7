"""Both stores in memory, and days that move from one to the other while they are asked."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from random import Random
from typing import Any

import polars as pl

from gateway.answers.coverage import ColdDay, Coverage
from gateway.answers.registry import StoreRegistry
from tapehouse.clock import DAY, MAX_TS, now_ns
from tapehouse.model import KINDS, TICKS, TRADES, Kind
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.tabular import TIME, as_frame
from tests.batches import batch
from tests.gateway import oracle
from tests.gateway.memory_store import MemoryStore


def trades_of(symbol: str, start_ns: int, days: int, rows: int) -> pl.DataFrame:
    """Trades of one symbol of venue V, spread over days; sums of their prices and sizes do not depend on the order."""
    chance = Random(rows)
    made = as_frame(batch(TRADES, rows, 3, venue="V"))
    return made.with_columns(
        symbol=pl.lit(symbol),
        seq=pl.int_range(pl.len()),
        ts_event=pl.Series([start_ns + chance.randrange(days * DAY) for _ in range(rows)]).sort().cast(TIME),
        price=pl.Series([chance.randrange(1, 400) / 4 for _ in range(rows)]),
        size=pl.Series([chance.randrange(1, 400) / 4 for _ in range(rows)]),
        flags=pl.lit(0, pl.Int16),
    ).cast({"flags": made.schema["flags"]})


class World(StoreRegistry):
    """All rows begin in the hot store. Whenever a store is asked, a day may be handed over, or days may leave."""

    def __init__(self, rows: Mapping[str, pl.DataFrame]) -> None:
        self.hot, self.cold = MemoryStore("questdb"), MemoryStore("clickhouse")
        super().__init__({"hot": self.hot, "cold": self.cold}, ClickHouseClient(ClickHouse()))
        for name, some in rows.items():
            self.hot.put(KINDS[name], some)
        self.owned: dict[str, dict[int, ColdDay]] = defaultdict(dict)
        self.handed: dict[str, int] = {}
        """By kind the first day that is not handed over."""
        self.moving = TICKS[0]
        self.refresh()

    def moves(self, chance: Random, often: float, last_ns: int) -> None:
        """From now on days before `last_ns` of the kind `moving` move by chance."""

        one_by_one = threading.Lock()

        def told() -> None:
            # Parts of bars are asked for side by side.
            with one_by_one:
                moved()

        def moved() -> None:
            if chance.random() < often:
                what = chance.random()
                if what < 0.7:
                    self.hand_over(self.moving, chance.randrange(1, 4), last_ns)
                if what > 0.3:
                    self.leave(self.moving)

        self.hot.told = self.cold.told = told

    def hand_over(self, kind: Kind, days: int, last_ns: int = MAX_TS) -> None:
        """The oldest days that hold rows and are the hot store's become the cold one's."""
        from_ns = self.handed.get(kind.name, 0)
        rows = self.hot.rows[kind.name].filter(oracle.within(kind.time, from_ns, last_ns))
        held = (rows[kind.time].cast(pl.Int64) // DAY * DAY).value_counts().sort(kind.time)
        for day, count in held.head(days).iter_rows():
            # Written before it is owned, as the mirror does.
            self.cold.put(kind, rows.filter(oracle.within(kind.time, day, day + DAY)))
            self.owned[kind.name][day] = ColdDay(count, f"{day}")
            self.handed[kind.name] = day + DAY

    def leave(self, kind: Kind) -> None:
        """What is handed over leaves the hot store."""
        self.hot.leave(kind, self.handed.get(kind.name, 0))

    def refresh(self, marks: Mapping[str, Any] | None = None) -> None:
        """As `Owners`, in the same order."""
        oldest = {kind.name: self.hot.oldest_time(kind) for kind in TICKS}
        began = now_ns()
        hot = {kind.name: self.hot.day_sizes(kind) for kind in TICKS}
        cold = {kind: dict(days) for kind, days in self.owned.items()}
        closed = {
            kind: {day: f"{size.rows} rows" for day, size in sizes.items()} for kind, sizes in hot.items()
        }
        self.coverage = Coverage(began, hot, cold, {}, oldest, (), True, "", closed)
