"""One leased session of the mirror: its clients, and copying all days that need it.

A lease keeps two mirrors from running at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from nats.errors import Error as NatsError

from analytics.mirror.cold_store import ColdStore
from analytics.mirror.copier import Copier
from analytics.mirror.decisions import DayInfo, days_to_copy
from analytics.mirror.hot_store import HotDayReader
from analytics.mirror.inventory import read_days, today
from analytics.mirror.ledger import DayKey, Ledger, LedgerEntry
from analytics.mirror.merger import Merger
from tapehouse.clock import now_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import KINDS
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus
from tapehouse.stream.lease import Lease

_log = structlog.get_logger()


@dataclass
class CopyReport:
    """What one run copied."""

    copied: list[LedgerEntry] = field(default_factory=list)
    waiting: list[DayKey] = field(default_factory=list)
    """Closed days that are being written; a later run copies them."""
    failed: dict[DayKey, str] = field(default_factory=dict)
    """Days that could not be copied, with the reason."""


class MirrorProgress:
    """Receives the progress of a run; this base class ignores it."""

    def start(self, rows: int) -> None:
        """Called with the number of rows that are going to be copied or compared."""

    def advance(self, rows: int) -> None:
        """Called with the number of rows that were just copied or compared."""


class MirrorSession:
    """The clients and the copier of a mirror that owns the lease: `async with MirrorSession.leased(...)`."""

    def __init__(self, settings: Settings, bus: Bus, cold: ColdStore, lease: Lease) -> None:
        self.settings = settings
        self.bus = bus
        self.cold = cold
        self.lease = lease
        self.ledger = Ledger(cold.client)
        self.copier = Copier(settings, bus, cold, self.ledger, self.confirm_lease)
        self.merger = Merger(cold, self.ledger, self.confirm_lease, settings.mirror.slice_rows)

    @classmethod
    @asynccontextmanager
    async def leased(cls, settings: Settings, bus: Bus) -> AsyncIterator[MirrorSession]:
        """Wait until no other mirror runs, then drop leftover tables and enter the session.

        When the lease is lost, the body is cancelled and ConnectError is raised.
        """
        cold = ColdStore(settings.clickhouse)
        try:
            async with (
                Lease(await bus.shared_state(), "mirror", settings.mirror.lease_s) as lease,
                lease.guard(),
            ):
                await asyncio.to_thread(cold.drop_leftover_tables)
                yield cls(settings, bus, cold, lease)
        finally:
            cold.close()

    async def confirm_lease(self) -> int:
        """Renew the lease; returns a time at which it was certainly owned, ns UTC. ConnectError when it is lost."""
        confirmed_ns = now_ns()
        await self.lease.hold()
        return confirmed_ns

    async def read_days(self) -> dict[DayKey, DayInfo]:
        """All known days by (kind, day)."""
        hot = HotDayReader(self.settings.questdb)
        try:
            return await read_days(self.bus, hot, self.cold, self.ledger)
        finally:
            hot.reader.close()

    async def copy_all(
        self, progress: MirrorProgress, chosen: Callable[[DayInfo], bool] = lambda day: True
    ) -> CopyReport:
        """Copy the `chosen` days that are not proven, several at a time. A failed day does not stop the others."""
        days = await self.read_days()
        now = today()
        days = {key: day for key, day in days.items() if chosen(day)}
        needed = days_to_copy(days, now)
        report = CopyReport()
        report.waiting = sorted(
            day.key for day in days.values() if day.day < now and not day.is_cold and day.is_being_written
        )
        progress.start(sum(day.hot_rows for day in needed))
        slots = asyncio.Semaphore(self.settings.mirror.side_by_side)

        async def copy(day: DayInfo) -> None:
            async with slots:
                try:
                    report.copied.append(await self.copier.copy(KINDS[day.kind], day.day, progress.advance))
                except (TapehouseError, NatsError) as reason:
                    report.failed[day.key] = str(reason)
                    _log.warning("day not copied", kind=day.kind, day=day.day, reason=str(reason))

        async with asyncio.TaskGroup() as tasks:
            for day in needed:
                tasks.create_task(copy(day))
        return report
