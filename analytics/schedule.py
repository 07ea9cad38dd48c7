"""The mirror as a role: runs at an interval and at times of day, and says how the last one went."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from nats.errors import Error as NatsError

from analytics.latestream import LateReport, LateStream
from analytics.mirror import Mirror, Progress, Report
from analytics.reconcile import Reconciliation, Verdict
from analytics.retention import Retained, Retention
from tapehouse.bus import Bus
from tapehouse.clock import DAY, MINUTE, SECOND, now_ns
from tapehouse.errors import TapehouseError
from tapehouse.health import Health
from tapehouse.settings import Settings

_AGAIN_S = 10
_log = structlog.get_logger()


@dataclass(frozen=True)
class Run:
    """What one whole run did."""

    copies: Report
    late: LateReport
    retained: Retained

    @property
    def failed(self) -> list[str]:
        """What went wrong, a line a day."""
        wrong = {**self.copies.failed, **self.late.failed, **self.retained.kept}
        return [f"{kind} of {day}: {reason}" for (kind, day), reason in sorted(wrong.items())]

    def __str__(self) -> str:
        rows = sum(entry.rows for entry in self.copies.copied)
        told = [f"{len(self.copies.copied)} days copied, {rows:,} rows"]
        if self.copies.waiting:
            told.append(f"{len(self.copies.waiting)} being written")
        if self.late.merged:
            told.append(f"{len(self.late.merged)} days with late ticks merged")
        if self.retained.handed_over:
            told.append(f"{len(self.retained.handed_over)} handed over")
        if self.retained.hot_dropped or self.retained.cold_dropped:
            told.append(
                f"{len(self.retained.hot_dropped)} left the hot store, {len(self.retained.cold_dropped)} the cold"
            )
        if self.late.waiting:
            told.append(f"late ticks of {len(self.late.waiting)} sealed days wait for their hand-over")
        if self.failed:
            told.append(f"{len(self.failed)} failed")
        return "; ".join(told)


async def run_once(
    settings: Settings, bus: Bus, progress: Progress | None = None, *, accepts_loss: bool = False
) -> Run:
    """Copy, merge what came late, and let go of what is too old, when no other mirror runs.

    `accepts_loss` copies days, too, that have fewer rows than they had. What fails for a day is in the answer;
    ConnectError where a part does not answer at all.
    """
    progress = progress or Progress()
    async with Mirror.leased(settings, bus) as mirror:
        mirror.copier.accepts_loss = accepts_loss
        copies = await mirror.copy_all(progress)
        late = LateStream(bus, mirror.cold, mirror.merger)
        merged = await late.merge_all(mirror.days)
        retained = await Retention(mirror).run(progress)
        if retained.handed_over:
            # What waited for them.
            more = await late.merge_all(mirror.days)
            merged = LateReport(merged.merged + more.merged, merged.failed | more.failed, more.waiting)
        return Run(copies, merged, retained)


async def verify_once(settings: Settings, bus: Bus, progress: Progress | None = None) -> Verdict:
    """Compare all days in both stores, and heal what differs, when no other mirror runs."""
    async with Mirror.leased(settings, bus) as mirror:
        return await Reconciliation(mirror).run(progress or Progress())


def next_at(now: int, every_s: float, at: str) -> int:
    """When the next run begins: `every_s` after `now`, or at the time of day `at` (UTC) if that is sooner. ns."""
    return min(now + int(every_s * SECOND), next_time(now, at))


def next_time(now: int, at: str) -> int:
    """The next moment after `now` that has the time of day HH:MM in UTC; far away where that is empty. ns."""
    if not at:
        return now + 365 * DAY
    hours, minutes = map(int, at.split(":"))
    moment = now // DAY * DAY + (hours * 60 + minutes) * MINUTE
    return moment if moment > now else moment + DAY


class MirrorRole:
    """Runs the mirror. `run` ends only when cancelled."""

    def __init__(self, settings: Settings, bus: Bus, health: Health) -> None:
        self._settings = settings
        self._bus = bus
        self._health = health
        self._again = False

    async def run(self) -> None:
        """Run at once, and then as the settings say."""
        asked = self._settings.mirror
        verify = next_time(now_ns(), asked.verify_at)
        self._health.ready("the first run is under way")
        while True:
            began = now_ns()
            succeeded = await self._attempt(self._mirror())
            if succeeded and now_ns() >= verify:
                succeeded = await self._attempt(self._verify())
                verify = next_time(now_ns(), asked.verify_at) if succeeded else verify
            soon = self._again or not succeeded
            due = next_at(began, min(_AGAIN_S, asked.every_s) if soon else asked.every_s, asked.at)
            await asyncio.sleep(max(0, min(due, verify) - now_ns()) / SECOND)
            await self._bus.until_connected()

    async def _attempt(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether it came to its end; what stood in its way is said."""
        try:
            await work
        except (TapehouseError, NatsError, OSError, TimeoutError) as reason:
            said = str(reason) or repr(reason)
            _log.warning("mirror interrupted", reason=said)
            self._health.waiting(said.splitlines()[0])
            return False
        return True

    async def _mirror(self) -> None:
        done = await run_once(self._settings, self._bus)
        # A day that is being written is mostly quiet soon.
        self._again = bool(done.copies.waiting)
        rows = sum(entry.rows for entry in done.copies.copied)
        self._health.wrote(rows, now_ns(), 0)
        if done.failed:
            self._health.waiting(f"{done}: {done.failed[0].splitlines()[0]}")
        else:
            self._health.ready(str(done))

    async def _verify(self) -> None:
        verdict = await verify_once(self._settings, self._bus)
        for difference in verdict.differing:
            _log.error("a copy differed", what=str(difference))
        if not verdict.is_good:
            wrong = [*map(str, verdict.differing), *verdict.failed.values()]
            self._health.waiting(f"{len(wrong)} days differ or were not copied: {wrong[0].splitlines()[0]}")
        else:
            self._health.ready(f"{len(verdict.equal)} days compared, {len(verdict.differing)} healed")
