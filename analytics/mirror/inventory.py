"""Reads what is known of every day: its marks, its ledger entry, and its size in both stores."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from analytics.mirror.cold_store import ColdStore
from analytics.mirror.decisions import DayInfo
from analytics.mirror.hot_store import HotDayReader
from analytics.mirror.ledger import DayKey, Ledger, LedgerEntry, MarksByShard
from tapehouse.clock import day_of, now_ns
from tapehouse.model import TICKS, Kind
from tapehouse.stores.clickhouse_parts import StoredDay
from tapehouse.stores.questdb import DayPartition
from tapehouse.stream import reads
from tapehouse.stream.bus import Bus
from tapehouse.stream.mark import ALL_MARKS, DayMark


def today() -> str:
    """The present day, YYYY-MM-DD, UTC; it and later days are not closed."""
    return day_of(now_ns())


async def read_days(bus: Bus, hot: HotDayReader, cold: ColdStore, ledger: Ledger) -> dict[DayKey, DayInfo]:
    """All days of all kinds that have marks, a ledger entry or stored rows.

    Reads only lists of partitions from the stores, no rows.
    """
    # Marks are read first: a row written after that changes its mark, and the day is then not proven.
    marks = await _read_all_marks(bus, ALL_MARKS)
    entries, hot_days, cold_days = await asyncio.to_thread(_read_stores, hot, cold, ledger)
    keys = {*marks, *entries, *hot_days, *cold_days}
    days = {}
    for kind, day in keys:
        hot_day = hot_days.get((kind, day), DayPartition(0, 0))
        cold_day = cold_days.get((kind, day), StoredDay(0, 0))
        days[kind, day] = DayInfo(
            kind,
            day,
            marks.get((kind, day), {}),
            entries.get((kind, day)),
            hot_day.rows,
            hot_day.bytes,
            cold_day.rows,
            cold_day.bytes,
        )
    return days


async def read_marks(bus: Bus, kind: Kind, day: str) -> MarksByShard:
    """The present marks of one day."""
    return (await _read_all_marks(bus, f"mark.{kind.name}.{day}.*")).get((kind.name, day), {})


async def _read_all_marks(bus: Bus, keys: str) -> dict[DayKey, MarksByShard]:
    found: dict[DayKey, MarksByShard] = defaultdict(dict)
    for key, value in (await reads.state_values(bus, keys)).items():
        _, kind, day, shard = key.split(".")
        found[kind, day][int(shard)] = DayMark.of(value)
    return dict(found)


def _read_stores(
    hot: HotDayReader, cold: ColdStore, ledger: Ledger
) -> tuple[dict[DayKey, LedgerEntry], dict[DayKey, DayPartition], dict[DayKey, StoredDay]]:
    hot_days = {
        (kind.name, day): stored for kind in TICKS for day, stored in hot.reader.day_partitions(kind).items()
    }
    cold_days = {(kind.name, day): stored for kind in TICKS for day, stored in cold.days(kind).items()}
    return ledger.read(), hot_days, cold_days
