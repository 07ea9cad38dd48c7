"""The days by store, for people and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analytics.coldstore import ColdStore
from analytics.days import Day
from analytics.hotdays import HotDays
from analytics.ledger import Key, Ledger
from analytics.survey import survey, today
from tapehouse.bus import Bus
from tapehouse.clock import SECOND, now_ns
from tapehouse.settings import Settings


async def known_days(settings: Settings, bus: Bus) -> dict[Key, Day]:
    """What is known of all days, without the mirror's lease."""
    hot, cold = HotDays(settings.questdb), ColdStore(settings.clickhouse)
    try:
        return await survey(bus, hot, cold, Ledger(cold.client))
    finally:
        hot.reader.close()
        cold.close()


def rows(days: Mapping[Key, Day]) -> list[dict[str, Any]]:
    """One record a day, newest first; `age_s` is how long ago it was proven, None where it never was."""
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
