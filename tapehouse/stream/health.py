"""Health reports: each role publishes a JSON object on `health.<role>.<instance>` (core NATS) once a second.

role, instance, pid     the process
state                   "ready", "waiting" or "starting"
detail                  what it waits for, else what it does
rows                    rows processed since the process started
rows_s                  rows a second since the report before
lag_ms                  when rows were last processed: the time since the newest of them was received (for a
                        writer: stored in the stream); null before any
quarantined             rows this process put into quarantine
skew_ms                 for a live feed: the receive clock minus the venue's; null when unknown
gaps                    for a live feed: open gaps found since the process started
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

from tapehouse.clock import MILLISECOND, now_ns
from tapehouse.errors import ConnectError
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus, word

_EVERY_S = 1.0


class Health:
    """The state of one role; while `run` runs it is published once a second and on every change."""

    def __init__(self, role: str, instance: str = "0") -> None:
        self.role = role
        self.instance = instance
        self._subject = f"health.{role}.{word(instance)}"
        self._report: dict[str, Any] = {
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
        self._last_rows = 0

    def ready(self, detail: str = "") -> None:
        """Set the state to ready; `detail` says what the role does."""
        self._set("ready", detail)

    def waiting(self, detail: str) -> None:
        """Set the state to waiting; `detail` says for what."""
        self._set("waiting", detail)

    def wrote(self, rows: int, received_ns: int, quarantined: int) -> None:
        """Add processed rows, the newest received at `received_ns` (ns UTC); set the total of quarantined rows."""
        self._report["rows"] += rows
        self._report["quarantined"] = quarantined
        self._report["lag_ms"] = round((now_ns() - received_ns) / MILLISECOND, 3)

    def measured(self, skew_ns: int | None, gaps: int) -> None:
        """Set the receive clock minus the venue's, and the number of open gaps."""
        self._report["skew_ms"] = None if skew_ns is None else round(skew_ns / MILLISECOND, 3)
        self._report["gaps"] = gaps

    def moved(self) -> bool:
        """Whether rows were processed since the last call."""
        before, self._last_rows = self._last_rows, self._report["rows"]
        return bool(self._last_rows > before)

    def _set(self, state: str, detail: str) -> None:
        if (state, detail) != (self._report["state"], self._report["detail"]):
            self._report.update(state=state, detail=detail)
            self._changed.set()

    async def alongside(self, bus: Bus, work: Coroutine[Any, Any, None]) -> None:
        """Publish reports while `work` runs; returns or raises what `work` does."""
        reporting = asyncio.create_task(self.run(bus))
        try:
            await work
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def run(self, bus: Bus) -> None:
        """Publish reports until cancelled."""
        rows, at = 0, time.monotonic()
        while True:
            now = time.monotonic()
            if now - at >= _EVERY_S / 2:
                self._report["rows_s"] = round((self._report["rows"] - rows) / (now - at), 1)
                rows, at = self._report["rows"], now
            await bus.until_connected()
            self._changed.clear()
            with contextlib.suppress(NatsError, OSError):
                await bus.client.publish(self._subject, json.dumps(self._report).encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_S):
                    await self._changed.wait()


async def heartbeat(
    settings: Settings, role: str, timeout_s: float = 4, *, ready: bool = True
) -> dict[str, Any]:
    """The next report of a role, such as writer or feed.sim, with the state ready (or, with ready=False, any).

    Raises ConnectError when none arrives within `timeout_s`.
    """
    bus = await Bus.connect(settings, "monitor")
    received: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    last = "none"

    async def receive(message: Msg) -> None:
        nonlocal last
        report = json.loads(message.data)
        last = f"{report['state']} {report['detail']}".strip()
        if (report["state"] == "ready" or not ready) and not received.done():
            received.set_result(report)

    try:
        await bus.client.subscribe(f"health.{role}" + ("" if "." in role else ".>"), cb=receive)
        async with asyncio.timeout(timeout_s):
            return await received
    except TimeoutError:
        raise ConnectError(
            f"{role}: expected a ready report within {timeout_s:g} s, last report was {last}"
        ) from None
    finally:
        await bus.close()
