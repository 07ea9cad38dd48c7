"""The mirror: every closed day copied to the cold store, and known to be the same there.

One run looks at what is known of all days, copies those whose copy is not proven, and goes on with the rest
when one fails. A lease keeps two mirrors from running at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
from nats.errors import Error as NatsError

from analytics.coldstore import ColdStore
from analytics.copying import Copier
from analytics.days import Day, to_copy
from analytics.hotdays import HotDays
from analytics.ledger import Entry, Key, Ledger
from analytics.merging import Merger
from analytics.survey import survey, today
from tapehouse.bus import Bus
from tapehouse.clock import now_ns
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.lease import Lease
from tapehouse.model import KINDS
from tapehouse.settings import Settings

_log = structlog.get_logger()


@dataclass
class Report:
    """What one run did, day by day."""

    copied: list[Entry] = field(default_factory=list)
    waiting: list[Key] = field(default_factory=list)
    """Closed days that are being written: their turn comes when they are quiet."""
    failed: dict[Key, str] = field(default_factory=dict)
    """Days that could not be copied, with the reason."""


class Progress:
    """Told how a run goes on; this one keeps it to itself."""

    def begins(self, rows: int) -> None:
        """So many rows are to be copied."""

    def moved(self, rows: int) -> None:
        """So many more rows were moved."""


class Mirror:
    """The parts of a run, for whoever holds the lease: `async with Mirror.leased(...) as mirror`."""

    def __init__(self, settings: Settings, bus: Bus, cold: ColdStore, lease: Lease) -> None:
        self.settings = settings
        self.bus = bus
        self.cold = cold
        self.lease = lease
        self.ledger = Ledger(cold.client)
        self.copier = Copier(settings, bus, cold, self.ledger, self.held)
        self.merger = Merger(cold, self.ledger, self.held, settings.mirror.slice_rows)

    @classmethod
    @asynccontextmanager
    async def leased(cls, settings: Settings, bus: Bus) -> AsyncIterator[Mirror]:
        """Waits until no other mirror runs. What is under way is cut off where the lease is lost.

        Raises ConnectError then.
        """
        cold = ColdStore(settings.clickhouse)
        try:
            async with (
                Lease(await bus.state(), "mirror", settings.mirror.lease_s) as lease,
                _cut_off_with(lease),
            ):
                await asyncio.to_thread(cold.drop_leftovers)
                yield cls(settings, bus, cold, lease)
        finally:
            cold.close()

    async def held(self) -> int:
        """When the lease was surely held: a moment of now, ns UTC. Raises ConnectError where it is lost."""
        at = now_ns()
        await self.lease.hold()
        return at

    async def days(self) -> dict[Key, Day]:
        """What is known of all days."""
        hot = HotDays(self.settings.questdb)
        try:
            return await survey(self.bus, hot, self.cold, self.ledger)
        finally:
            hot.reader.close()

    async def copy_all(self, progress: Progress, chosen: Callable[[Day], bool] = lambda day: True) -> Report:
        """Copy the `chosen` days that need it, some side by side. One that fails does not stop the others."""
        days = await self.days()
        now = today()
        days = {key: day for key, day in days.items() if chosen(day)}
        needed = to_copy(days, now)
        report = Report()
        report.waiting = sorted(
            day.key for day in days.values() if day.day < now and not day.is_cold and day.is_being_written
        )
        progress.begins(sum(day.hot_rows for day in needed))
        side_by_side = asyncio.Semaphore(self.settings.mirror.side_by_side)

        async def one(day: Day) -> None:
            async with side_by_side:
                try:
                    report.copied.append(await self.copier.copy(KINDS[day.kind], day.day, progress.moved))
                except (TapehouseError, NatsError) as reason:
                    report.failed[day.key] = str(reason)
                    _log.warning("day not copied", kind=day.kind, day=day.day, reason=str(reason))

        async with asyncio.TaskGroup() as tasks:
            for day in needed:
                tasks.create_task(one(day))
        return report


@asynccontextmanager
async def _cut_off_with(lease: Lease) -> AsyncIterator[None]:
    """Cut the context off where the lease is lost, as ConnectError."""
    limit = asyncio.timeout(None)

    async def watch() -> None:
        await lease.lost.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    watching = asyncio.create_task(watch())
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise ConnectError(
            "mirror: the lease was lost",
            remedy="NATS was away for the length of the lease, or another mirror runs.",
        ) from None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
