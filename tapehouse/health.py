"""What a role says of itself once a second: `health.<role>.<instance>` on core NATS, one JSON object.

role, instance, pid     who
state                   "ready", "waiting" or "starting"
detail                  why it waits, else what it does
rows                    rows done since the process started
rows_s                  rows a second over the last report's time
lag_ms                  at the last rows done: the clock less when the newest of them came in (for a writer:
                        was stored in the stream); null before any
quarantined             rows this process put into quarantine
skew_ms                 for a live feed: the receive clock less the venue's; null where it is not known
gaps                    for a live feed: gaps found since the process started that are not closed
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Coroutine
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tapehouse.bus import Bus, word
from tapehouse.clock import MILLISECOND, now_ns
from tapehouse.errors import ConnectError
from tapehouse.settings import Settings

_EVERY_S = 1.0


class Health:
    """The state of one role, told once a second and whenever it changes, for as long as `run` runs."""

    def __init__(self, role: str, instance: str = "0") -> None:
        self._subject = f"health.{role}.{word(instance)}"
        self._told: dict[str, Any] = {
            "role": role,
            "instance": instance,
            "pid": os.getpid(),
            "state": "starting",
            "detail": "",
            "rows": 0,
            "rows_s": 0.0,
            "lag_ms": None,
            "quarantined": 0,
            "skew_ms": None,
            "gaps": 0,
        }
        self._changed = asyncio.Event()
        self._looked_at = 0

    def ready(self, detail: str = "") -> None:
        """The role does its work."""
        self._set("ready", detail)

    def waiting(self, detail: str) -> None:
        """The role waits for something; `detail` says for what."""
        self._set("waiting", detail)

    def wrote(self, rows: int, came_ns: int, quarantined: int) -> None:
        """`rows` more were done, the newest of which came in at `came_ns`."""
        self._told["rows"] += rows
        self._told["quarantined"] = quarantined
        self._told["lag_ms"] = round((now_ns() - came_ns) / MILLISECOND, 3)

    def measured(self, skew_ns: int | None, gaps: int) -> None:
        """How far the receive clock is from the venue's, and how many gaps are open."""
        self._told["skew_ms"] = None if skew_ns is None else round(skew_ns / MILLISECOND, 3)
        self._told["gaps"] = gaps

    def moved(self) -> bool:
        """Whether rows were done since the last time this was asked."""
        before, self._looked_at = self._looked_at, self._told["rows"]
        return bool(self._looked_at > before)

    def _set(self, state: str, detail: str) -> None:
        if (state, detail) != (self._told["state"], self._told["detail"]):
            self._told.update(state=state, detail=detail)
            self._changed.set()

    async def alongside(self, bus: Bus, work: Coroutine[Any, Any, None]) -> None:
        """Tell for as long as `work` runs; its end or error is this call's."""
        telling = asyncio.create_task(self.run(bus))
        try:
            await work
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def run(self, bus: Bus) -> None:
        """Tell until cancelled."""
        rows, at = 0, time.monotonic()
        while True:
            now = time.monotonic()
            if now - at >= _EVERY_S / 2:
                self._told["rows_s"] = round((self._told["rows"] - rows) / (now - at), 1)
                rows, at = self._told["rows"], now
            await bus.until_connected()
            self._changed.clear()
            with contextlib.suppress(NatsError, OSError):
                await bus.client.publish(self._subject, json.dumps(self._told).encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._changed.wait()


async def heartbeat(
    settings: Settings, role: str, timeout_s: float = 4, *, ready: bool = True
) -> dict[str, Any]:
    """The next report of a role, such as writer or feed.sim, that is ready (or of any state).

    Raises ConnectError when none comes within `timeout_s`.
    """
    bus = await Bus.connect(settings, "monitor")
    heard: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    last = "nothing"

    async def hear(message: Msg) -> None:
        nonlocal last
        report = json.loads(message.data)
        last = f"{report['state']} {report['detail']}".strip()
        if (report["state"] == "ready" or not ready) and not heard.done():
            heard.set_result(report)

    try:
        await bus.client.subscribe(f"health.{role}" + ("" if "." in role else ".>"), cb=hear)
        async with asyncio.timeout(timeout_s):
            return await heard
    except TimeoutError:
        raise ConnectError(
            f"{role}: expected to hear that it is ready within {timeout_s:g} s, heard {last}"
        ) from None
    finally:
        await bus.close()
