"""What is known of every day, read from where it is: the shared state, both stores, the ledger."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from analytics.coldstore import ColdStore
from analytics.days import Day
from analytics.hotdays import HotDay, HotDays
from analytics.ledger import Entry, Key, Ledger, Marks
from tapehouse import direct
from tapehouse.bus import Bus
from tapehouse.clock import day_of, now_ns
from tapehouse.mark import ALL_MARKS, Mark
from tapehouse.model import TICKS, Kind


def today() -> str:
    """The day that is now, YYYY-MM-DD, UTC: it and later ones are not closed."""
    return day_of(now_ns())


async def survey(bus: Bus, hot: HotDays, cold: ColdStore, ledger: Ledger) -> dict[Key, Day]:
    """All days of all kinds that any of them knows.

    What is asked of the stores are their lists of partitions: no rows are read.
    """
    # The marks first: what they stand for is in what is read after them, or is not proven.
    marks = await _marks(bus, ALL_MARKS)
    entries, hot_days, cold_days = await asyncio.to_thread(_stores, hot, cold, ledger)
    keys = {*marks, *entries, *hot_days, *cold_days}
    days = {}
    for kind, day in keys:
        held = hot_days.get((kind, day), HotDay(0, 0))
        rows, size = cold_days.get((kind, day), (0, 0))
        days[kind, day] = Day(
            kind,
            day,
            marks.get((kind, day), {}),
            entries.get((kind, day)),
            held.rows,
            held.bytes,
            rows,
            size,
        )
    return days


async def marks_of(bus: Bus, kind: Kind, day: str) -> Marks:
    """The present marks of one day."""
    return (await _marks(bus, f"mark.{kind.name}.{day}.*")).get((kind.name, day), {})


async def _marks(bus: Bus, keys: str) -> dict[Key, Marks]:
    found: dict[Key, Marks] = defaultdict(dict)
    for key, value in (await direct.values(bus, keys)).items():
        _, kind, day, shard = key.split(".")
        found[kind, day][int(shard)] = Mark.of(value)
    return dict(found)


def _stores(
    hot: HotDays, cold: ColdStore, ledger: Ledger
) -> tuple[dict[Key, Entry], dict[Key, HotDay], dict[Key, tuple[int, int]]]:
    hot_days = {(kind.name, day): held for kind in TICKS for day, held in hot.days(kind).items()}
    cold_days = {(kind.name, day): held for kind in TICKS for day, held in cold.days(kind).items()}
    return ledger.read(), hot_days, cold_days
