"""Times as nanoseconds since 1970 in UTC, and the intervals of bars.

`INTERVALS` defines the standard intervals, which are kept live and in the stores' views. Weeks start on Monday, 4h bars
are aligned to 00:00 UTC, months start on the 1st. `parse_interval` also has custom ones, such as 7m: their bars are
merged from those of a standard interval when they are queried.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tapehouse.errors import NaiveTimeError, UsageError

Nanos = NDArray[np.int64]

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
_EPOCH = datetime(1970, 1, 1)
# 1970-01-01 was a Thursday; the Monday before it is the origin of weeks.
_FIRST_MONDAY = -3 * DAY
MIN_TS = _FIRST_MONDAY + WEEK
"""The least ts_event, 1970-01-05: every row is in a week whose start can be queried."""
MAX_TS = 9_214_646_400_000_000_000
"""2262-01-01 UTC, exclusive: the end of the last full year that fits in 64-bit nanoseconds."""


def now_ns() -> int:
    """The wall clock, ns UTC."""
    return time.time_ns()


@dataclass(frozen=True)
class Interval:
    """A bar interval, with functions that give the start of a bar and of the next bar."""

    name: str
    questdb: str
    """The unit for QuestDB's SAMPLE BY ... ALIGN TO CALENDAR; empty for a custom interval, which it does not align."""
    bucket: Callable[[Nanos], Nanos]
    """Times -> starts (inclusive) of their bars; int64 ns of the same shape."""
    following: Callable[[Nanos], Nanos]
    """Bar starts -> starts of the next bars, which are the exclusive ends; int64 ns of the same shape."""
    length: int
    """ns; for months that of the shortest month."""
    origin: int | None
    """A bar start; all others differ from it by multiples of `length`. None for calendar months."""
    part: str
    """The standard interval whose bars are merged to one of this interval; of a standard interval its own name."""

    def start_of(self, ts: int) -> int:
        """The start of the bar that contains `ts`."""
        # The functions accept ints as well as arrays.
        return int(self.bucket(ts))  # type: ignore[arg-type]

    def end_of(self, ts: int) -> int:
        """The exclusive end of the bar that contains `ts`."""
        return int(self.following(self.start_of(ts)))  # type: ignore[arg-type]


def _fixed(name: str, length: int, origin: int = 0, part: str = "") -> Interval:
    def bucket(ts: Nanos) -> Nanos:
        return (ts - origin) // length * length + origin

    unit = "" if part else name
    return Interval(name, unit, bucket, lambda ts: ts + length, length, origin, part or name)


def _month_start(ts: Nanos) -> Nanos:
    months = np.asarray(ts).astype("datetime64[ns]").astype("datetime64[M]")
    return months.astype("datetime64[ns]").astype(np.int64)


def _next_month(ts: Nanos) -> Nanos:
    months = np.asarray(ts).astype("datetime64[ns]").astype("datetime64[M]") + np.timedelta64(1, "M")
    return months.astype("datetime64[ns]").astype(np.int64)


INTERVALS: dict[str, Interval] = {
    interval.name: interval
    for interval in (
        _fixed("15s", 15 * SECOND),
        _fixed("30s", 30 * SECOND),
        _fixed("1m", MINUTE),
        _fixed("3m", 3 * MINUTE),
        _fixed("5m", 5 * MINUTE),
        _fixed("15m", 15 * MINUTE),
        _fixed("30m", 30 * MINUTE),
        _fixed("1h", HOUR),
        _fixed("4h", 4 * HOUR),
        _fixed("1d", DAY),
        _fixed("1w", WEEK, _FIRST_MONDAY),
        Interval("1M", "1M", _month_start, _next_month, 28 * DAY, None, "1M"),
    )
}
NAMES = tuple(INTERVALS)
"""The names of the intervals, from the shortest to the longest; frames refer to them by index."""


CUSTOM_INTERVALS = (
    "a whole number of minutes or hours, or a multiple of 15 seconds, up to a day, such as 45s 7m 90m 6h"
)
"""Which intervals there are beside `INTERVALS`, in words."""
_CUSTOM = re.compile(r"(?P<count>[1-9][0-9]{0,4})(?P<unit>[smh])")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR}
_SHORTEST = INTERVALS["15s"].length


def interval_named(name: str) -> Interval:
    """The standard interval called `name`. Raises UsageError with the valid names."""
    try:
        return INTERVALS[name]
    except KeyError:
        pass
    raise UsageError(
        f"interval: expected one of {' '.join(INTERVALS)}, was {name!r}",
        remedy="Custom intervals are for queries of bars alone." if is_interval(name) else "",
        interval=name,
    )


def parse_interval(name: str) -> Interval:
    """The interval called `name`: a standard one, or a custom one of a length that `CUSTOM_INTERVALS` describes.

    Bars of a custom interval start at multiples of its length since 1970-01-01T00:00Z. One as long as a standard one
    (60m, 24h) is that one. Raises UsageError with the valid ones.
    """
    found = _find_interval(name)
    if found is None:
        raise UsageError(
            f"interval: expected one of {' '.join(INTERVALS)}, or {CUSTOM_INTERVALS}, was {name[:80]!r}",
            interval=name,
        )
    return found


def is_interval(name: str) -> bool:
    """Whether `parse_interval` takes `name`."""
    return _find_interval(name) is not None


@lru_cache(maxsize=1_000)
def _find_interval(name: str) -> Interval | None:
    if name in INTERVALS:
        return INTERVALS[name]
    match = _CUSTOM.fullmatch(name)
    length = int(match["count"]) * _UNITS[match["unit"]] if match else 0
    if not 0 < length <= DAY or length % _SHORTEST:
        return None
    part = [one for one in INTERVALS.values() if one.length <= length and length % one.length == 0][-1]
    return part if part.length == length else _fixed(name, length, part=part.name)


def day_of(ts_ns: int) -> str:
    """The UTC day of `ts_ns` as YYYY-MM-DD."""
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[D]"))


_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<clock>\d{2}:\d{2}(?::\d{2})?)"
    # A fraction is allowed only after seconds.
    r"(?:(?<=:\d{2}:\d{2})\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)


def parse_ns(text: str, name: str = "time") -> int:
    """Parse a time to ns UTC: ISO 8601 with a time zone (up to 9 fraction digits), a date (UTC midnight), or an
    integer of ns (0 or at least 15 digits, since fewer could be a year, a date, seconds or milliseconds).

    Raises NaiveTimeError for a time of day without a time zone, UsageError for any other text and for times outside
    1970 to 2261; their messages begin with `name`.
    """
    if re.fullmatch(r"0|-?\d{9,19}", text):
        return _whole_ns(int(text), name)
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{name}: expected ISO 8601 such as 2024-08-09T00:00:00Z, a date, or ns since 1970, was {text!r}",
            time=text,
        )
    clock, zone = match["clock"], match["zone"]
    if clock and not zone:
        raise NaiveTimeError(
            f"{name}: {text!r} has no zone",
            remedy=f"Write it in UTC as {text.strip()}Z, or with an offset.",
            time=text,
        )
    try:
        whole = datetime.fromisoformat(f"{match['date']}T{clock or '00:00'}{zone or '+00:00'}")
    except ValueError as reason:
        raise UsageError(f"{name}: {text!r} is not a valid time: {reason}", time=text) from None
    since = whole - datetime(1970, 1, 1, tzinfo=UTC)
    fraction = int((match["fraction"] or "0").ljust(9, "0"))
    return _within((since.days * 86_400 + since.seconds) * SECOND + fraction, text, name)


def to_ns(when: str | int | datetime | date, name: str = "time") -> int:
    """Convert to ns UTC: text as in `parse_ns`, int ns, a timezone-aware datetime, or a date. Raises like it, also
    for values of other types, for a missing time, and for an int that can only be seconds or milliseconds."""
    if isinstance(when, str):
        return parse_ns(when, name)
    given: object = when
    # NaT is a datetime that equals nothing.
    if isinstance(given, np.datetime64) or given != given:
        raise NaiveTimeError(
            f"{name}: expected a time with a zone, was {when!r}",
            remedy="Give text such as 2024-01-01T00:00:00Z, or a datetime with tzinfo=timezone.utc.",
            time=str(when),
        )
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise NaiveTimeError(
                f"{name}: {when!r} has no zone",
                remedy="Give it one: datetime(..., tzinfo=timezone.utc).",
                time=str(when),
            )
        since = when - datetime(1970, 1, 1, tzinfo=UTC)
        # A pandas Timestamp is a datetime with an additional attribute `nanosecond`.
        nanos = int(getattr(when, "nanosecond", 0))
        return _within((since // timedelta(microseconds=1)) * MICROSECOND + nanos, str(when), name)
    if isinstance(when, date):
        return parse_ns(when.isoformat(), name)
    if isinstance(when, bool) or not isinstance(when, int | np.integer):
        raise UsageError(
            f"{name}: expected text, ns as an int, a datetime or a date, was {when!r}",
            remedy="Of seconds in a float, such as time.time(): int(seconds * 1_000_000_000); time.time_ns() has ns.",
            time=str(when),
        )
    return _whole_ns(int(when), name)


def _whole_ns(ns: int, name: str) -> int:
    # As ns they would be of the first 28 hours of 1970.
    for unit, first in (("seconds", 10**8), ("milliseconds", 10**11)):
        if first <= ns < first * 1000:
            raise UsageError(
                f"{name}: expected ns since 1970, was {ns}, which looks like {unit}",
                remedy=f"Multiply by {10**17 // first:_}.",
                time=str(ns),
            )
    return _within(ns, str(ns), name)


def _within(ns: int, text: str, name: str) -> int:
    if not 0 <= ns < MAX_TS:
        raise UsageError(f"{name}: expected 1970 to 2261, was {text!r}", time=text)
    return ns


def iso(ts_ns: int, digits: int | None = None) -> str:
    """Format ns UTC as ISO 8601 with `digits` (0 to 9) fraction digits of the second, truncated.

    Without `digits`, uses as many as needed: 0, 3, 6 or 9.
    """
    seconds, fraction = divmod(ts_ns, SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    if digits is None:
        digits = next(count for count in (0, 3, 6, 9) if fraction % 10 ** (9 - count) == 0)
    return f"{text}.{fraction:09d}"[: len(text) + (1 + digits if digits else 0)] + "Z"
