"""Retention: expires old days in QuestDB once ClickHouse owns them, and old years in ClickHouse.

Partitions of QuestDB are removed by its TTL alone, because DROP PARTITION would invalidate the views. One request sets
the TTL and resets it, so that QuestDB never drops days on its own, even if the mirror is killed: while the mirror is
stopped, no partition expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import structlog

from analytics.mirror.decisions import DayInfo, days_to_expire, first_hot_day
from analytics.mirror.handover import hand_over, read_confirmed_seal, read_requested_seal
from analytics.mirror.inventory import today
from analytics.mirror.ledger import DayKey, LedgerEntry
from analytics.mirror.merger import matches_ledger
from analytics.mirror.session import MirrorProgress, MirrorSession
from tapehouse.errors import ProofError
from tapehouse.model import KINDS, TICKS, TRADES, Kind
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader, as_owner
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.stores.questdb_watch import answered_within

VIEWS = ("bars_1m", "bars_1d")
_VIEWS_EXPIRED_WITH = {TRADES.name: ("bars_1m",)}
"""Views whose old days expire with those of their table. Daily bars are kept: they are few, and longer intervals are
made from them."""
_log = structlog.get_logger()
_WRITTEN = "it is being written"
_STATEMENT_TIMEOUT_S = 180


@dataclass
class RetentionReport:
    """What a run of retention did, or what `rehearse` says it would do."""

    handed_over: list[DayKey] = field(default_factory=list)
    hot_dropped: list[DayKey] = field(default_factory=list)
    cold_dropped: list[DayKey] = field(default_factory=list)
    kept: dict[DayKey, str] = field(default_factory=dict)
    """Days that are old enough to expire but were kept, with the reason."""


def hot_cutoff(hot_days: int, now: str) -> str:
    """The first day that QuestDB keeps when it keeps `hot_days` closed days before the day `now`."""
    return (date.fromisoformat(now) - timedelta(days=hot_days)).isoformat()


def cold_cutoff(years: int, now: str) -> str:
    """The first day that ClickHouse keeps when it keeps `years` years before the day `now`."""
    day = date.fromisoformat(now)
    try:
        return day.replace(year=day.year - years).isoformat()
    except ValueError:  # the 29th of February
        return day.replace(year=day.year - years, day=28).isoformat()


class Retention:
    """Hands over and expires old days. Requires the mirror's lease."""

    def __init__(
        self, mirror: MirrorSession, *, hot_days: int | None = None, cold_years: int | None = None
    ) -> None:
        """`hot_days` and `cold_years` override the settings; 0 keeps all days."""
        configured = mirror.settings.mirror
        self._mirror = mirror
        self._hot_days = configured.hot_days if hot_days is None else hot_days
        self._cold_years = configured.cold_years if cold_years is None else cold_years
        self._confirm_timeout_s = 30

    async def rehearse(self) -> RetentionReport:
        """What `run` would do now."""
        requested, days, now = (
            await read_requested_seal(self._mirror.bus),
            await self._mirror.read_days(),
            today(),
        )
        report = RetentionReport()
        for kind in TICKS:
            before = max(self._first_kept(), requested.get(kind.name, ""))
            after = dict(days)
            for day in _hot_days_before(days, kind, before):
                if day.is_being_written:
                    report.kept[day.key] = _WRITTEN
                else:
                    report.handed_over.append(day.key)
                    after[day.key] = replace(day, entry=LedgerEntry(*day.key, owner="cold"))
            if self._hot_days:
                first = min(first_hot_day(after, kind.name, {kind.name: before}), self._first_kept())
                report.hot_dropped += [day.key for day in days_to_expire(after, kind.name, first, now)]
        if self._cold_years:
            report.cold_dropped = [day.key for day in self._expired_cold_days(days, now)]
        return report

    async def run(self, progress: MirrorProgress) -> RetentionReport:
        """Hand over and expire. A day that cannot be proven is kept, and with it the newer days of its kind.

        Sealed days are handed over even when retention is off, because their late ticks wait for that.
        """
        report = RetentionReport()
        await asyncio.to_thread(clear_leftover_ttls, self._mirror.settings.questdb)
        requested = await read_requested_seal(self._mirror.bus)
        if not requested and not self._hot_days and not self._cold_years:
            return report
        days = await self._mirror.read_days()
        for kind in TICKS:
            sealed = requested.get(kind.name, "")
            before = max(self._first_kept(), sealed)
            if sealed < before or _hot_days_before(days, kind, before):
                await self._hand_over(kind, before, progress, report)
            if self._hot_days:
                await self._expire_hot(kind, report)
        if self._cold_years:
            await self._expire_cold(report)
        return report

    def _first_kept(self) -> str:
        """The first day that QuestDB keeps by the settings; empty for all."""
        return hot_cutoff(self._hot_days, today()) if self._hot_days else ""

    async def _hand_over(
        self, kind: Kind, before: str, progress: MirrorProgress, report: RetentionReport
    ) -> None:
        try:
            entries, copies = await hand_over(
                self._mirror, kind.name, before, progress, self._confirm_timeout_s
            )
        except ProofError as reason:
            # A writer that did not confirm for one kind is hardly waited for again.
            self._confirm_timeout_s = 1
            report.kept[kind.name, before] = str(reason)
            return
        report.handed_over += [entry.key for entry in entries]
        for day in _hot_days_before(await self._mirror.read_days(), kind, before):
            report.kept[day.key] = copies.failed.get(day.key, _WRITTEN)

    async def _expire_hot(self, kind: Kind, report: RetentionReport) -> None:
        # Not the requested seal, which may cover more than the writers have confirmed.
        seal = await read_confirmed_seal(self._mirror.bus)
        days = await self._mirror.read_days()
        first = min(first_hot_day(days, kind.name, seal), self._first_kept())
        expiring = days_to_expire(days, kind.name, first, today())
        if not expiring or not await self._copies_are_sound(expiring, report):
            return
        if kind is TRADES:
            # Of trades that are gone no bar can be made any more.
            await asyncio.to_thread(refresh_bar_views, self._mirror.settings.questdb)
        await self._mirror.lease.hold()
        for table in (kind.name, *_VIEWS_EXPIRED_WITH.get(kind.name, ())):
            await asyncio.to_thread(expire_partitions, self._mirror.settings.questdb, table, first, today())
        remaining = {day.key for day in (await self._mirror.read_days()).values() if day.hot_rows}
        report.hot_dropped += [day.key for day in expiring if day.key not in remaining]

    async def _copies_are_sound(self, expiring: list[DayInfo], report: RetentionReport) -> bool:
        """Whether ClickHouse still has the rows that the ledger records of days that are about to expire in QuestDB."""
        for day in expiring:
            assert day.entry is not None
            found = await asyncio.to_thread(self._mirror.cold.fingerprint, KINDS[day.kind], day.kind, day.day)
            if not matches_ledger(day.entry, found):
                fault = f"expected {day.entry.rows:,} rows as they were proven, was {found.rows:,} other rows"
                confirmed_ns = await self._mirror.confirm_lease()
                await asyncio.to_thread(
                    self._mirror.ledger.put, replace(day.entry, fault=fault), confirmed_ns
                )
                report.kept[day.key] = f"its copy in ClickHouse is damaged: {fault}"
        return not any(day.key in report.kept for day in expiring)

    async def _expire_cold(self, report: RetentionReport) -> None:
        for day in self._expired_cold_days(await self._mirror.read_days(), today()):
            confirmed_ns = await self._mirror.confirm_lease()
            # The ledger first: if this run is killed in between, a later one drops the rows.
            assert day.entry is not None
            emptied = replace(day.entry, rows=0, fingerprint="", fault="", pending="")
            await asyncio.to_thread(self._mirror.ledger.put, emptied, confirmed_ns)
            await asyncio.to_thread(self._mirror.cold.drop_day, KINDS[day.kind], day.day)
            report.cold_dropped.append(day.key)

    def _expired_cold_days(self, days: Mapping[DayKey, DayInfo], now: str) -> list[DayInfo]:
        before = cold_cutoff(self._cold_years, now)
        return _sorted(days, lambda day: day.day < before and day.is_cold and bool(day.cold_rows))


def expire_partitions(settings: QuestDB, table: str, first: str, now: str) -> None:
    """Let QuestDB drop the partitions of a table that end before the day `first` begins, except the last of them.

    A TTL counts whole days back from the present time, the present day included. The same request resets it.
    Raises ConnectError, TapehouseError.
    """
    ttl = (date.fromisoformat(now) - date.fromisoformat(first)).days + 1
    # A suspended table would act on the request when it is resumed, days later: so it must be up to date.
    applied = f"SELECT wait_wal_table('{table}')"
    _execute(settings, applied, f"{_set_ttl(table, ttl)}; {_set_ttl(table, 0)}", applied)


def clear_leftover_ttls(settings: QuestDB) -> list[str]:
    """Reset every TTL that is set; returns their tables.

    A TTL is left over when QuestDB is killed during `expire_partitions`, and would go on dropping days, proven or
    not. Raises ConnectError, TapehouseError.
    """
    with QuestReader(settings) as reader:
        found = reader.fetch("SELECT table_name FROM tables() WHERE ttlValue > 0")
    ours = {*(kind.name for kind in TICKS), *VIEWS}
    tables = sorted(name for (name,) in found if name in ours)
    for table in tables:
        _log.warning("a TTL was left over and has been reset", table=table)
        _execute(settings, _set_ttl(table, 0), f"SELECT wait_wal_table('{table}')")
    return tables


def _set_ttl(table: str, days: int) -> str:
    return f"ALTER {'MATERIALIZED VIEW' if table in VIEWS else 'TABLE'} {table} SET TTL {days} DAYS"


def _execute(settings: QuestDB, *requests: str) -> None:
    with as_owner(settings) as connection:
        for request in requests:
            with answered_within(connection, _STATEMENT_TIMEOUT_S):
                connection.execute(request.encode())


def _hot_days_before(days: Mapping[DayKey, DayInfo], kind: Kind, before: str) -> list[DayInfo]:
    """The days of a kind before `before` that QuestDB still owns."""
    return _sorted(days, lambda day: day.kind == kind.name and day.day < before and not day.is_cold)


def _sorted(days: Mapping[DayKey, DayInfo], chosen: Callable[[DayInfo], bool]) -> list[DayInfo]:
    return sorted((day for day in days.values() if chosen(day)), key=lambda day: day.key)
