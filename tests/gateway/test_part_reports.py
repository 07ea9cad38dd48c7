"""What roles report: the last of each, and which of them have fallen silent."""

from __future__ import annotations

import asyncio

import pytest

from gateway import part_reports
from gateway.part_reports import PartReports
from tapehouse.clock import now_ns
from tapehouse.stream.health import Health
from tests.broker import Broker
from tests.ingest.barmaker.livebars import connected
from tests.waiting import until


async def test_the_last_report_of_each_role_is_known_and_ages(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(broker.settings, "gateway") as bus, connected(broker.settings, "writer") as other:
        reports = PartReports(bus)
        receiving = asyncio.create_task(reports.run())
        writer = Health("writer", "1")
        writer.ready("quick")
        writer.wrote(17, now_ns(), 2)
        reporting = asyncio.create_task(writer.run(other))
        try:
            await until(lambda: bool(reports.read()), "a report")
            (report,) = reports.read()
            shown = {
                name: report[name] for name in ("role", "instance", "state", "detail", "rows", "quarantined")
            }
            assert shown == {
                "role": "writer", "instance": "1", "state": "ready", "detail": "quick", "rows": 17, "quarantined": 2
            }  # fmt: skip
            assert "pid" not in report
            writer.waiting("for rows")
            await until(lambda: reports.read()[0]["detail"] == "for rows", "the next report")
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)
        monkeypatch.setattr(part_reports, "_SILENT_S", 0.2)
        await until(lambda: reports.read()[0]["state"] == "silent", "it to be silent")
        monkeypatch.setattr(part_reports, "_FORGOTTEN_S", 0.2)
        await until(lambda: not reports.read(), "it to be forgotten")
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
