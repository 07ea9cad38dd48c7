"""Start times of the mirror's runs."""

from __future__ import annotations

from tapehouse.clock import DAY, MINUTE, SECOND


def next_run_ns(now: int, every_s: float, at: str) -> int:
    """When the next run begins, ns UTC: `every_s` after `now`, or at the time of day `at` if that is sooner."""
    return min(now + int(every_s * SECOND), next_time_of_day_ns(now, at))


def next_time_of_day_ns(now: int, at: str) -> int:
    """The first time after `now` at `at` (HH:MM, UTC), ns UTC; a year after `now` when `at` is empty."""
    if not at:
        return now + 365 * DAY
    hours, minutes = map(int, at.split(":"))
    moment = now // DAY * DAY + (hours * 60 + minutes) * MINUTE
    return moment if moment > now else moment + DAY
