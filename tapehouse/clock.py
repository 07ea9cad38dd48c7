"""Time: nanoseconds since 1970 in UTC, half-open spans, and the intervals of bars.

`INTERVALS` is the one table of intervals. Weeks start on Monday, 4h at 00:00 UTC, months on the 1st.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

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
MAX_TS = 9_214_646_400_000_000_000
"""2262-01-01 UTC, exclusive: the last whole year that 64-bit nanoseconds hold."""


def now_ns() -> int:
    """The wall clock, ns UTC."""
    return time.time_ns()


@dataclass(frozen=True)
class Interval:
    """A bar's length: `bucket` gives each ts the start of its bar, `following` the start of the next bar."""

    name: str
    questdb: str
    """The unit in QuestDB's SAMPLE BY, calendar aligned."""
    bucket: Callable[[Nanos], Nanos]
    """int64 ns of any shape -> int64 ns of the same shape, start inclusive."""
    following: Callable[[Nanos], Nanos]
    """Bar starts -> starts of the following bars, which are the exclusive ends."""
    length: int
    """ns; of a month the shortest."""

    def start_of(self, ts: int) -> int:
        """The start of the bar that holds `ts`."""
        # Plain numbers go the same way as arrays.
        return int(self.bucket(ts))  # type: ignore[arg-type]

    def end_of(self, ts: int) -> int:
        """The end, exclusive, of the bar that holds `ts`."""
        return int(self.following(self.start_of(ts)))  # type: ignore[arg-type]


def _fixed(name: str, length: int, origin: int = 0) -> Interval:
    def bucket(ts: Nanos) -> Nanos:
        return (ts - origin) // length * length + origin

    return Interval(name, name, bucket, lambda ts: ts + length, length)


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
        Interval("1M", "1M", _month_start, _next_month, 28 * DAY),
    )
}
NAMES = tuple(INTERVALS)
"""The intervals by their place in the table."""


def interval_named(name: str) -> Interval:
    """The interval called `name`; UsageError lists the valid names."""
    try:
        return INTERVALS[name]
    except KeyError:
        raise UsageError(
            f"interval: expected one of {' '.join(INTERVALS)}, was {name!r}", interval=name
        ) from None


def day_of(ts_ns: int) -> str:
    """The UTC day that holds `ts_ns`, as YYYY-MM-DD."""
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[D]"))


_ISO = re.compile(
    r"(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<clock>\d{2}:\d{2}(?::\d{2})?)"
    # A fraction is of a second: there must be one.
    r"(?:(?<=:\d{2}:\d{2})\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?"
)


def parse_ns(text: str) -> int:
    """An instant as ns UTC from ISO 8601 with a zone (up to 9 fraction digits), a date alone (UTC midnight),
    or a whole number of ns (9 digits or more, for fewer could be a year or a date).

    Raises NaiveTimeError for a time of day without a zone, UsageError for anything else unreadable or
    outside 1970 to 2261.
    """
    if re.fullmatch(r"-?\d{9,19}", text):
        return _within(int(text), text)
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"time: expected ISO 8601 such as 2024-08-09T00:00:00Z, a date, or ns since 1970, was {text!r}",
            time=text,
        )
    clock, zone = match["clock"], match["zone"]
    if clock and not zone:
        raise NaiveTimeError(
            f"time: {text!r} has no zone",
            remedy=f"Write it in UTC as {text.strip()}Z, or with an offset.",
            time=text,
        )
    try:
        whole = datetime.fromisoformat(f"{match['date']}T{clock or '00:00'}{zone or '+00:00'}")
    except ValueError as reason:
        raise UsageError(f"time: {text!r} is no instant: {reason}", time=text) from None
    since = whole - datetime(1970, 1, 1, tzinfo=UTC)
    fraction = int((match["fraction"] or "0").ljust(9, "0"))
    return _within((since.days * 86_400 + since.seconds) * SECOND + fraction, text)


def to_ns(when: str | int | datetime | date) -> int:
    """Any way to write an instant as ns UTC: text as `parse_ns`, ns as int, aware datetime, or date."""
    if isinstance(when, str):
        return parse_ns(when)
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise NaiveTimeError(
                f"time: {when!r} has no zone",
                remedy="Give it one: datetime(..., tzinfo=timezone.utc).",
                time=str(when),
            )
        since = when - datetime(1970, 1, 1, tzinfo=UTC)
        # A pandas Timestamp is a datetime, and has more to it.
        nanos = int(getattr(when, "nanosecond", 0))
        return _within((since // timedelta(microseconds=1)) * MICROSECOND + nanos, str(when))
    if isinstance(when, date):
        return parse_ns(when.isoformat())
    return _within(int(when), str(when))


def _within(ns: int, text: str) -> int:
    if not 0 <= ns < MAX_TS:
        raise UsageError(f"time: expected 1970 to 2261, was {text!r}", time=text)
    return ns


def iso(ts_ns: int) -> str:
    """ns UTC as ISO 8601 with as many fraction digits as it needs (0, 3, 6 or 9)."""
    seconds, fraction = divmod(ts_ns, SECOND)
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    if fraction == 0:
        return text + "Z"
    for digits, unit in ((3, MILLISECOND), (6, MICROSECOND), (9, 1)):
        if fraction % unit == 0:
            return f"{text}.{fraction // unit:0{digits}d}Z"
    raise AssertionError("unreachable: every ns is a multiple of 1")
