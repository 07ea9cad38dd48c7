"""Keeps part of the disk of NATS free, so that JetStream never meets a full disk.

After a failed write JetStream stores nothing more in that stream until it is restarted, and writers could not
record their floors. When free space falls below the reserve, the stream's limit is set to its present size.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import structlog
from nats.errors import Error as NatsError

from tapehouse.errors import ConnectError
from tapehouse.settings import Settings
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.health import Health

_CHECK_EVERY_S = 1.0
_MIN_STREAM_BYTES = 2**20
_log = structlog.get_logger()


class DiskGuard:
    """Keeps `nats.keep_free_bytes` free on the disk of `folder`. `run` ends only when cancelled."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._reserve = settings.nats.keep_free_bytes
        self._max_bytes = settings.nats.stream_max_bytes
        self._settings = settings
        self._folder = folder
        self._low = False

    async def run(self) -> None:
        """Check the free space each second."""
        health = Health("disk", "nats")
        while True:
            try:
                async with Bus.opened(self._settings, "admin") as bus:
                    await health.alongside(bus, self._watch(bus, health))
            except ConnectError as reason:
                _log.warning("disk of nats is not guarded: no connection to nats", reason=reason.message)
                await asyncio.sleep(_CHECK_EVERY_S)

    async def _watch(self, bus: Bus, health: Health) -> None:
        while True:
            free = shutil.disk_usage(self._folder).free
            # A quarter more is required before feeds go on, so that the limit does not flap.
            low = free < (self._reserve * 5 // 4 if self._low else self._reserve)
            if low != self._low:
                try:
                    await self._limit_stream(bus, low)
                    self._low = low
                except (NatsError, TimeoutError) as reason:
                    _log.warning("stream limit not changed, trying again", reason=repr(reason))
            if low:
                health.waiting(
                    f"only {free >> 20:,} MiB free on the NATS disk (reserve {self._reserve >> 20:,} MiB): feeds paused"
                )
            else:
                health.ready()
            await asyncio.sleep(_CHECK_EVERY_S)

    async def _limit_stream(self, bus: Bus, low: bool) -> None:
        """Limit the stream to its present size, or restore the limit of the settings."""
        info = await bus.js.stream_info(TICKS)
        most = max(info.state.bytes, _MIN_STREAM_BYTES) if low else self._max_bytes
        await bus.js.update_stream(replace(info.config, max_bytes=min(most, self._max_bytes)))
        _log.warning(
            "disk of nats nearly full, feeds paused" if low else "disk of nats has space again, feeds resumed"
        )
