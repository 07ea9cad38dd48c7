"""Room on the disk where NATS keeps its streams: feeds wait before there is none.

A JetStream that has met a full disk writes nothing more to that stream until it is started anew, and writers
could not record how far they are. So a part of the disk is kept free: below it the stream may not grow.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import structlog
from nats.errors import Error as NatsError

from tapehouse.bus import TICKS, Bus
from tapehouse.errors import ConnectError
from tapehouse.health import Health
from tapehouse.settings import Settings

_EVERY_S = 1.0
_LEAST = 2**20
_log = structlog.get_logger()


class Room:
    """Keeps `nats.keep_free_bytes` of the disk of `folder` free. `run` ends only when cancelled."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._keep = settings.nats.keep_free_bytes
        self._max_bytes = settings.nats.stream_max_bytes
        self._settings = settings
        self._folder = folder
        self._tight = False

    async def run(self) -> None:
        """Look each second."""
        health = Health("disk", "nats")
        while True:
            try:
                async with Bus.opened(self._settings, "admin") as bus:
                    await health.alongside(bus, self._watch(bus, health))
            except ConnectError as reason:
                _log.warning("no room is kept while nats is away", reason=reason.message)
                await asyncio.sleep(_EVERY_S)

    async def _watch(self, bus: Bus, health: Health) -> None:
        while True:
            free = shutil.disk_usage(self._folder).free
            # A quarter more before it is well again: not on and off.
            tight = free < (self._keep * 5 // 4 if self._tight else self._keep)
            if tight != self._tight:
                try:
                    await self._bound(bus, tight)
                    self._tight = tight
                except (NatsError, TimeoutError) as reason:
                    _log.warning("stream not bounded, trying again", reason=repr(reason))
            if tight:
                health.waiting(
                    f"{free >> 20:,} MiB are free on the disk of NATS, {self._keep >> 20:,} are kept: feeds wait"
                )
            else:
                health.ready()
            await asyncio.sleep(_EVERY_S)

    async def _bound(self, bus: Bus, tight: bool) -> None:
        """Let the stream have what it has, or again what the settings say."""
        info = await bus.js.stream_info(TICKS)
        most = max(info.state.bytes, _LEAST) if tight else self._max_bytes
        await bus.js.update_stream(replace(info.config, max_bytes=min(most, self._max_bytes)))
        _log.warning(
            "the disk of nats is nearly full, feeds wait" if tight else "the disk of nats has room again"
        )
