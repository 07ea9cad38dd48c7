"""Times as queries take them: those of `tapehouse.clock`, and text relative to now, such as -1h or yesterday."""

from __future__ import annotations

import re
from datetime import date, datetime

from tapehouse.clock import DAY, HOUR, MINUTE, SECOND, WEEK, to_ns
from tapehouse.errors import UsageError

Time = str | int | datetime | date
"""ISO 8601 text with a zone, a date (00:00 UTC), ns since 1970, an aware datetime, or text relative to now."""
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_DAYS = {"today": 0, "yesterday": 1}
_BACK = re.compile(r"-(?P<count>\d{1,9})(?P<unit>[a-zA-Z]+)")


def query_ns(when: Time, name: str, now: int) -> int:
    """A time of a query as ns UTC; `now` is the moment, ns, that relative ones refer to.

    Relative are now, today and yesterday (their 00:00 UTC), and -N with a unit: s, m (minutes), h, d or w.
    Raises as `clock.to_ns`, and UsageError for another unit.
    """
    if not isinstance(when, str):
        return to_ns(when, name)
    text = when.strip().lower()
    if text == "now":
        return now
    if text in _DAYS:
        return now // DAY * DAY - _DAYS[text] * DAY
    back = _BACK.fullmatch(when.strip())
    if back is None:
        return to_ns(when, name)
    if back["unit"] not in _UNITS:
        raise UsageError(
            f"{name}: expected -N with s, m (minutes), h, d or w, was {when!r}",
            remedy="Longer ago, name the date: 2024-01-01.",
            time=when,
        )
    ns = now - int(back["count"]) * _UNITS[back["unit"]]
    if ns < 0:
        raise UsageError(f"{name}: expected 1970 or later, was {when!r}", time=when)
    return ns
