"""What the roles last reported of themselves: their state, rows a second and lag."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from nats.aio.msg import Msg

from tapehouse.stream.bus import Bus

_FORGOTTEN_S = 600.0
_SILENT_S = 5.0
"""A role reports once a second; one that has not for so long is silent."""


class PartReports:
    """The last report of each role, kept up while `run` runs."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._reports: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {}

    async def run(self) -> None:
        """Receive reports until cancelled."""
        async with self._bus.subscribed("health.>", self._receive):
            await asyncio.Event().wait()

    def read(self) -> list[dict[str, Any]]:
        """The reports by role and instance, as `tapehouse/stream/health.py` describes them, without the pid.

        `age_ms` is how old a report is; `state` is silent where it is too old. After ten minutes it is forgotten.
        """
        now = time.monotonic()
        found = []
        for key, (received_s, report) in sorted(self._reports.items()):
            age_s = now - received_s
            if age_s > _FORGOTTEN_S:
                del self._reports[key]
                continue
            shown = {name: value for name, value in report.items() if name != "pid"}
            if age_s > _SILENT_S:
                shown["state"], shown["rows_s"] = "silent", 0.0
            found.append({**shown, "age_ms": round(1e3 * age_s)})
        return found

    async def _receive(self, message: Msg) -> None:
        report = json.loads(message.data)
        self._reports[report["role"], report["instance"]] = time.monotonic(), report
