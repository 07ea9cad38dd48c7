"""The list of days by store that `tapehouse mirror status` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analytics.mirror.cold_store import ColdStore
from analytics.mirror.decisions import DayInfo
from analytics.mirror.hot_store import HotDayReader
from analytics.mirror.inventory import read_days, today
from analytics.mirror.ledger import DayKey, Ledger
from tapehouse.clock import SECOND, now_ns
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus


async def list_days(settings: Settings, bus: Bus) -> dict[DayKey, DayInfo]:
    """Read all known days; needs no lease."""
    hot, cold = HotDayReader(settings.questdb), ColdStore(settings.clickhouse)
    try:
        return await read_days(bus, hot, cold, Ledger(cold.client))
    finally:
        hot.reader.close()
        cold.close()


def as_records(days: Mapping[DayKey, DayInfo]) -> list[dict[str, Any]]:
    """One record a (day, kind), newest first; `age_s` is the time since it was proven, None when it never was."""
    now, at = today(), now_ns()
    return [
        {
            "day": day.day,
            "kind": day.kind,
            "state": str(day.state(now)),
            "hot_rows": day.hot_rows,
            "hot_bytes": day.hot_bytes,
            "cold_rows": day.cold_rows,
            "cold_bytes": day.cold_bytes,
            "age_s": (at - day.entry.proven_ns) // SECOND if day.entry and day.entry.proven_ns else None,
            "fault": day.entry.fault if day.entry else "",
        }
        for day in sorted(days.values(), key=lambda day: (day.day, day.kind), reverse=True)
        if day.hot_rows or day.cold_rows or day.entry
    ]
