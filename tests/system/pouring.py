"""Ticks of all kinds through the real intake, in order, late, again and corrected; and what must come of them."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, timedelta
from typing import Self

import numpy as np
import polars as pl

from analytics.mirror.inventory import today
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, MINUTE, SECOND, day_of, now_ns, parse_ns
from tapehouse.model import ACCOUNT_TRADES, TICKS, TRADES, Kind
from tapehouse.settings import Settings
from tapehouse.stream import reads, sharding
from tapehouse.stream.bus import Bus
from tapehouse.stream.mark import ALL_MARKS, DayMark
from tapehouse.stream.progress import wait_until_written
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.waiting import until

_SYMBOLS = ("A", "B", "C/D")
_CONDITIONS = ("@", "@ F", "T")
_WRITTEN_S = 120


def trades(seed: int, rows: int, day: str, span: int = DAY) -> Batch:
    """Trades from the start of a day with ties and every column; their seqs are the seed's own."""
    chance = np.random.default_rng(seed)
    first = seed * 1_000_000
    times = np.sort(chance.integers(0, span, rows)) + parse_ns(day)
    tied = chance.random(rows) < 0.3
    times[tied] = times[tied] // MINUTE * MINUTE
    return Batch(
        TRADES,
        "V",
        rows,
        {
            "ts_event": times,
            "ts_recv": times + chance.integers(0, SECOND, rows),
            "symbol": Strings(_SYMBOLS, chance.integers(0, len(_SYMBOLS), rows).astype(np.int32)),
            "seq": first + np.arange(rows),
            "price": np.round(chance.uniform(1, 100, rows), 4),
            "size": np.round(chance.uniform(0, 10, rows), 6),
            "side": chance.integers(-1, 2, rows).astype(np.int8),
            "flags": chance.choice([0, 0, 0, 1, 2, 4], rows).astype(np.int16),
            "exchange": Strings(("N", "Q"), chance.integers(-1, 2, rows).astype(np.int32)),
            "conditions": Strings(_CONDITIONS, chance.integers(-1, 3, rows).astype(np.int32)),
        },
    )


def ticks(kind: Kind, seed: int, rows: int, day: str, span: int = DAY) -> Batch:
    """Rows of any kind from the start of a day."""
    if kind is TRADES:
        return trades(seed, rows, day, span)
    venue = "accounts" if kind is ACCOUNT_TRADES else "V"
    return batch(kind, rows, seed, venue=venue, start=parse_ns(day), span=span)


class Pouring:
    """A feed. `expected` is what must be stored in the end: of rows with one key the last."""

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        self._settings = settings
        self._chance = random.Random(seed)
        self._seed = seed * 10_000
        self._before: dict[Kind, list[Batch]] = defaultdict(list)
        self._sent: dict[Kind, list[pl.DataFrame]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        self.bus = await Bus.connect(self._settings, "feed")
        self._publisher = await Publisher(self.bus).__aenter__()
        self._state = await self.bus.shared_state()
        present = (await sharding.read(self._state)).present
        self._intake = Intake(self._publisher, Quarantine(self.bus), present)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._publisher.__aexit__()
        await self.bus.close()

    async def put(self, rows: Batch) -> None:
        """Publish rows; they are acknowledged when this returns."""
        await self._intake.put(rows, Origin(rows.kind.name, rows.venue, "test", {"format": "row"}))
        await self._publisher.drain()
        self._sent[rows.kind].append(as_frame(rows))

    async def now(self, kinds: tuple[Kind, ...] = TICKS) -> None:
        """Rows of today up to the present moment."""
        now = now_ns()
        day = day_of(now)
        for kind in kinds:
            self._seed += 1
            await self.put(ticks(kind, self._seed, 5, day, now - parse_ns(day)))

    async def some(self, day: str, rows: int = 300, kinds: tuple[Kind, ...] = TICKS) -> None:
        """New rows of a day, and some of before again: as they were, and with other values."""
        for kind in kinds:
            self._seed += 1
            new = ticks(kind, self._seed, rows, day)
            await self.put(new)
            if old := self._before[kind]:
                again = self._chance.choice(old)
                start = self._chance.randrange(again.rows)
                await self.put(again.slice(start, start + self._chance.randrange(1, 40)))
                await self.put(self._corrected(self._chance.choice(old)))
            self._before[kind].append(new)

    async def written(self) -> None:
        """Wait until a writer has committed all that was published."""
        last = (await self.bus.js.stream_info("TICKS")).state.last_seq
        await wait_until_written(self.bus, self._state, last, _WRITTEN_S)

    def expected(self, kind: Kind, day: str) -> pl.DataFrame:
        """The rows of a day, in order of the key."""
        rows = pl.concat(self._sent[kind]).unique(kind.key, keep="last", maintain_order=True)
        start = pl.lit(parse_ns(day)).cast(pl.Datetime("ns", "UTC"))
        end = pl.lit(parse_ns(day) + DAY).cast(pl.Datetime("ns", "UTC"))
        return rows.filter(pl.col(kind.time) >= start, pl.col(kind.time) < end).sort(kind.key)

    def _corrected(self, old: Batch) -> Batch:
        """Rows with the keys of some and with the values of others."""
        start = self._chance.randrange(old.rows)
        some = old.slice(start, start + self._chance.randrange(2, 30))
        turned = some.take(np.arange(some.rows)[::-1].copy())
        columns = {
            name: data if name in old.kind.key else turned.columns[name]
            for name, data in some.columns.items()
        }
        columns["ts_recv"] = some.array("ts_recv") + self._seed
        return Batch(old.kind, old.venue, some.rows, columns)


def ago(days: int) -> str:
    """A day so many days before today."""
    return (date.fromisoformat(today()) - timedelta(days=days)).isoformat()


async def closed(bus: Bus, kinds: tuple[Kind, ...] = TICKS) -> None:
    """Wait until no mark of these kinds is open."""
    names = {kind.name for kind in kinds}

    async def quiet() -> bool:
        marks = await reads.state_values(bus, ALL_MARKS)
        return not any(
            DayMark.of(value).is_open for key, value in marks.items() if key.split(".")[1] in names
        )

    await until(quiet, "the marks to be closed")


async def poured(settings: Settings, seed: int, days: list[int], kinds: tuple[Kind, ...] = TICKS) -> Pouring:
    """A feed that has poured these days and some of today, written and quiet; the caller closes it."""
    feed = await Pouring(settings, seed).__aenter__()
    for number in days:
        await feed.some(ago(number), 60, kinds)
    await feed.now(kinds)
    await feed.written()
    async with Bus.opened(settings, "mirror") as bus:
        await closed(bus, kinds)
    return feed
