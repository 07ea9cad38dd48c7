"""Times of queries that refer to now."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from tapehouse.clock import parse_ns
from tapehouse.errors import NaiveTimeError, UsageError
from tapehouse.query_times import Time, query_ns

_NOW = parse_ns("2024-03-01T13:45:10.5Z")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("now", "2024-03-01T13:45:10.5Z"),
        ("today", "2024-03-01"),
        (" Yesterday ", "2024-02-29"),
        ("-90s", "2024-03-01T13:43:40.5Z"),
        ("-15m", "2024-03-01T13:30:10.5Z"),
        ("-1h", "2024-03-01T12:45:10.5Z"),
        ("-5d", "2024-02-25T13:45:10.5Z"),
        ("-2w", "2024-02-16T13:45:10.5Z"),
        ("2024-02-01", "2024-02-01"),
        (date(2024, 2, 1), "2024-02-01"),
        (datetime(2024, 2, 1, tzinfo=UTC), "2024-02-01"),
        (parse_ns("2024-02-01"), "2024-02-01"),
    ],
)
def test_a_time_may_refer_to_now(when: Time, expected: str) -> None:
    assert query_ns(when, "start", _NOW) == parse_ns(expected)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("-1M", "start: expected -N with s, m"),
        ("-1y", "start: expected -N with s, m"),
        ("-999999w", "start: expected 1970 or later"),
        ("1h", "start: expected ISO 8601"),
        ("- 1h", "start: expected ISO 8601"),
        ("tomorrow", "start: expected ISO 8601"),
    ],
)
def test_what_is_no_time_is_refused(when: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        query_ns(when, "start", _NOW)


def test_a_time_of_day_still_needs_a_zone() -> None:
    with pytest.raises(NaiveTimeError):
        query_ns("2024-03-01T12:00:00", "start", _NOW)
