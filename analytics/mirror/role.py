"""The mirror as a role: runs at an interval and at times of day, and reports its health."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
from nats.errors import Error as NatsError

from analytics.mirror.jobs import run_once, verify_once
from analytics.mirror.schedule import next_run_ns, next_time_of_day_ns
from tapehouse.clock import SECOND, now_ns
from tapehouse.errors import TapehouseError
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health

_RETRY_S = 10
_log = structlog.get_logger()


class MirrorRole:
    """Runs the mirror by the settings. `run` ends only when cancelled."""

    def __init__(self, settings: Settings, bus: Bus, health: Health) -> None:
        self._settings = settings
        self._bus = bus
        self._health = health
        self._retry_soon = False

    async def run(self) -> None:
        """Run now, then by the settings' interval and times of day."""
        configured = self._settings.mirror
        verify = next_time_of_day_ns(now_ns(), configured.verify_at)
        self._health.ready("the first run is under way")
        while True:
            began = now_ns()
            succeeded = await self._attempt(self._mirror())
            if succeeded and now_ns() >= verify:
                succeeded = await self._attempt(self._verify())
                verify = next_time_of_day_ns(now_ns(), configured.verify_at) if succeeded else verify
            soon = self._retry_soon or not succeeded
            due = next_run_ns(
                began, min(_RETRY_S, configured.every_s) if soon else configured.every_s, configured.at
            )
            await asyncio.sleep(max(0, min(due, verify) - now_ns()) / SECOND)
            await self._bus.until_connected()

    async def _attempt(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await a job; returns whether it completed, and reports why it did not."""
        try:
            await work
        except (TapehouseError, NatsError, OSError, TimeoutError) as reason:
            message = str(reason) or repr(reason)
            _log.warning("mirror interrupted", reason=message)
            self._health.waiting(message.splitlines()[0])
            return False
        return True

    async def _mirror(self) -> None:
        report = await run_once(self._settings, self._bus)
        # A day that is being written is usually quiet soon.
        self._retry_soon = bool(report.copies.waiting)
        rows = sum(entry.rows for entry in report.copies.copied)
        self._health.wrote(rows, now_ns(), 0)
        if report.failed:
            self._health.waiting(f"{report}: {report.failed[0].splitlines()[0]}")
        else:
            self._health.ready(str(report))

    async def _verify(self) -> None:
        verdict = await verify_once(self._settings, self._bus)
        for difference in verdict.differing:
            _log.error("copy differs", difference=str(difference))
        if not verdict.is_good:
            faults = [*map(str, verdict.differing), *verdict.failed.values()]
            self._health.waiting(f"{len(faults)} days differ or were not copied: {faults[0].splitlines()[0]}")
        else:
            self._health.ready(f"{len(verdict.equal)} days compared, {len(verdict.differing)} healed")
