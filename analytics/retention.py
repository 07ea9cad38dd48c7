"""Retention: old days leave the hot store once the cold store owns them, and old years leave the cold store.

QuestDB's TTL is the only thing that removes partitions: DROP PARTITION would invalidate its views. It is set
and taken back by one request, so that it stands for a moment and never goes on dropping days by itself, though
whoever set it is killed: with the mirror stopped no partition goes, however old it becomes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import structlog

from analytics.days import Day, expired, first_kept
from analytics.handover import hand_over, kept_seal, read_seal
from analytics.ledger import Entry, Key
from analytics.merging import matches
from analytics.mirror import Mirror, Progress
from analytics.survey import today
from tapehouse.errors import ProofError
from tapehouse.model import KINDS, TICKS, TRADES, Kind
from tapehouse.questdb import QuestReader, as_owner
from tapehouse.questwatch import answered_within
from tapehouse.settings import QuestDB

VIEWS = ("bars_1m", "bars_1d")
_CUT_WITH = {TRADES.name: ("bars_1m",)}
"""Views of a table whose old days go with those of the table. Daily bars stay: they are few, and longer ones are
made of them."""
_log = structlog.get_logger()
_WRITTEN = "it is being written"
_PATIENCE_S = 180


@dataclass
class Retained:
    """What a run of retention did, or in a rehearsal would do."""

    handed_over: list[Key] = field(default_factory=list)
    hot_dropped: list[Key] = field(default_factory=list)
    cold_dropped: list[Key] = field(default_factory=list)
    kept: dict[Key, str] = field(default_factory=dict)
    """Days that are old enough to go and may not, with the reason."""


def hot_before(hot_days: int, now: str) -> str:
    """The first day that the hot store keeps, with `hot_days` closed ones before the day `now`."""
    return (date.fromisoformat(now) - timedelta(days=hot_days)).isoformat()


def cold_before(years: int, now: str) -> str:
    """The first day that the cold store keeps."""
    day = date.fromisoformat(now)
    try:
        return day.replace(year=day.year - years).isoformat()
    except ValueError:  # the 29th of February
        return day.replace(year=day.year - years, day=28).isoformat()


class Retention:
    """For whoever holds the mirror's lease."""

    def __init__(self, mirror: Mirror, *, hot_days: int | None = None, cold_years: int | None = None) -> None:
        """As the settings say, or else; 0 keeps all."""
        asked = mirror.settings.mirror
        self._mirror = mirror
        self._hot_days = asked.hot_days if hot_days is None else hot_days
        self._cold_years = asked.cold_years if cold_years is None else cold_years
        self._patience_s = 30

    async def rehearse(self) -> Retained:
        """What `run` would do now, without doing it."""
        asked, days, now = await read_seal(self._mirror.bus), await self._mirror.days(), today()
        found = Retained()
        for kind in TICKS:
            before = max(self._keeps_from(), asked.get(kind.name, ""))
            after = dict(days)
            for day in _left(days, kind, before):
                if day.is_being_written:
                    found.kept[day.key] = _WRITTEN
                else:
                    found.handed_over.append(day.key)
                    after[day.key] = replace(day, entry=Entry(*day.key, owner="cold"))
            if self._hot_days:
                first = min(first_kept(after, kind.name, {kind.name: before}), self._keeps_from())
                found.hot_dropped += [day.key for day in expired(after, kind.name, first, now)]
        if self._cold_years:
            found.cold_dropped = [day.key for day in self._too_old(days, now)]
        return found

    async def run(self, progress: Progress) -> Retained:
        """Hand over and drop. What cannot be proven stays, and holds up only what is newer in its kind.

        Days that are sealed are handed over also where retention is off: their late ticks wait for that.
        """
        done = Retained()
        await asyncio.to_thread(take_back, self._mirror.settings.questdb)
        asked = await read_seal(self._mirror.bus)
        if not asked and not self._hot_days and not self._cold_years:
            return done
        days = await self._mirror.days()
        for kind in TICKS:
            sealed = asked.get(kind.name, "")
            before = max(self._keeps_from(), sealed)
            if sealed < before or _left(days, kind, before):
                await self._hand_over(kind, before, progress, done)
            if self._hot_days:
                await self._drop(kind, done)
        if self._cold_years:
            await self._cold(done)
        return done

    def _keeps_from(self) -> str:
        """The first day that the hot store is to keep; empty for all."""
        return hot_before(self._hot_days, today()) if self._hot_days else ""

    async def _hand_over(self, kind: Kind, before: str, progress: Progress, done: Retained) -> None:
        try:
            entries, report = await hand_over(self._mirror, kind.name, before, progress, self._patience_s)
        except ProofError as reason:
            # The writers that one kind waited for in vain are not waited for again.
            self._patience_s = 1
            done.kept[kind.name, before] = str(reason)
            return
        done.handed_over += [entry.key for entry in entries]
        for day in _left(await self._mirror.days(), kind, before):
            done.kept[day.key] = report.failed.get(day.key, _WRITTEN)

    async def _drop(self, kind: Kind, done: Retained) -> None:
        # Not what is asked for: more may be than the writers keep to yet.
        seal = await kept_seal(self._mirror.bus)
        days = await self._mirror.days()
        first = min(first_kept(days, kind.name, seal), self._keeps_from())
        going = expired(days, kind.name, first, today())
        if not going or not await self._proven(going, done):
            return
        await self._mirror.lease.hold()
        for table in (kind.name, *_CUT_WITH.get(kind.name, ())):
            await asyncio.to_thread(expire, self._mirror.settings.questdb, table, first, today())
        left = {day.key for day in (await self._mirror.days()).values() if day.hot_rows}
        done.hot_dropped += [day.key for day in going if day.key not in left]

    async def _proven(self, going: list[Day], done: Retained) -> bool:
        """Whether the cold store still holds what the ledger says of days that are about to leave the hot store."""
        for day in going:
            assert day.entry is not None
            found = await asyncio.to_thread(self._mirror.cold.fingerprint, KINDS[day.kind], day.kind, day.day)
            if not matches(day.entry, found):
                fault = f"expected {day.entry.rows:,} rows as they were proven, was {found.rows:,} others"
                held_ns = await self._mirror.held()
                await asyncio.to_thread(self._mirror.ledger.put, replace(day.entry, fault=fault), held_ns)
                done.kept[day.key] = f"its cold copy is damaged: {fault}"
        return not any(day.key in done.kept for day in going)

    async def _cold(self, done: Retained) -> None:
        for day in self._too_old(await self._mirror.days(), today()):
            held_ns = await self._mirror.held()
            # The ledger first: a day that it does not know of any more is dropped by a later run.
            assert day.entry is not None
            gone = replace(day.entry, rows=0, fingerprint="", fault="", pending="")
            await asyncio.to_thread(self._mirror.ledger.put, gone, held_ns)
            await asyncio.to_thread(self._mirror.cold.drop_day, KINDS[day.kind], day.day)
            done.cold_dropped.append(day.key)

    def _too_old(self, days: Mapping[Key, Day], now: str) -> list[Day]:
        before = cold_before(self._cold_years, now)
        return _sorted(days, lambda day: day.day < before and day.is_cold and bool(day.cold_rows))


def expire(settings: QuestDB, table: str, first: str, now: str) -> None:
    """Let QuestDB drop the partitions of a table that end before the day `first` begins, but for the last of them.

    A TTL counts whole days back from the present moment, of which one is under way. It is taken back by the
    same request. Raises ConnectError, TapehouseError.
    """
    ttl = (date.fromisoformat(now) - date.fromisoformat(first)).days + 1
    # A suspended table would take the request and act on it when it is resumed, days later: it must be up to date.
    applied = f"SELECT wait_wal_table('{table}')"
    _tell(settings, applied, f"{_set_ttl(table, ttl)}; {_set_ttl(table, 0)}", applied)


def take_back(settings: QuestDB) -> list[str]:
    """Take back what TTLs there are, and return their tables: one stays where QuestDB was killed at `expire`.

    It would go on dropping days, proven or not. Raises ConnectError, TapehouseError.
    """
    with QuestReader(settings) as reader:
        found = reader.fetch("SELECT table_name FROM tables() WHERE ttlValue > 0")
    ours = {*(kind.name for kind in TICKS), *VIEWS}
    tables = sorted(name for (name,) in found if name in ours)
    for table in tables:
        _log.warning("a time to live was left over, taken back", table=table)
        _tell(settings, _set_ttl(table, 0), f"SELECT wait_wal_table('{table}')")
    return tables


def _set_ttl(table: str, days: int) -> str:
    return f"ALTER {'MATERIALIZED VIEW' if table in VIEWS else 'TABLE'} {table} SET TTL {days} DAYS"


def _tell(settings: QuestDB, *requests: str) -> None:
    with as_owner(settings) as connection:
        for request in requests:
            with answered_within(connection, _PATIENCE_S):
                connection.execute(request.encode())


def _left(days: Mapping[Key, Day], kind: Kind, before: str) -> list[Day]:
    """The days of a kind before one that are the hot store's still."""
    return _sorted(days, lambda day: day.kind == kind.name and day.day < before and not day.is_cold)


def _sorted(days: Mapping[Key, Day], chosen: Callable[[Day], bool]) -> list[Day]:
    return sorted((day for day in days.values() if chosen(day)), key=lambda day: day.key)
