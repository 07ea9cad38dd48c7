"""Start times of the mirror's runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.mirror.schedule import next_run_ns, next_time_of_day_ns
from tapehouse.clock import DAY, HOUR, MINUTE, SECOND, parse_ns

_NOON = parse_ns("2024-02-28T12:00:00Z")


@pytest.mark.parametrize(
    ("now", "at", "expected"),
    [
        (_NOON, "12:01", _NOON + MINUTE),
        (_NOON, "11:59", _NOON + DAY - MINUTE),
        # Not now again.
        (_NOON, "12:00", _NOON + DAY),
        (_NOON - 1, "12:00", _NOON),
        (_NOON + 1, "12:00", _NOON + DAY),
        (_NOON, "00:00", _NOON + 12 * HOUR),
        # Across 29 February.
        (parse_ns("2024-02-28T23:59:59Z"), "23:59", parse_ns("2024-02-29T23:59:00Z")),
        (parse_ns("2024-02-29T23:59:59Z"), "00:00", parse_ns("2024-03-01")),
        (_NOON, "", _NOON + 365 * DAY),
    ],
)
def test_a_time_of_day_is_the_next_one(now: int, at: str, expected: int) -> None:
    assert next_time_of_day_ns(now, at) == expected


@given(now=st.integers(0, 2**62), hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_time_of_day_comes_within_a_day(now: int, hour: int, minute: int) -> None:
    moment = next_time_of_day_ns(now, f"{hour:02}:{minute:02}")
    assert now < moment <= now + DAY
    assert moment % DAY == hour * HOUR + minute * MINUTE


@pytest.mark.parametrize(
    ("every_s", "at", "expected"),
    [
        (60, "", _NOON + MINUTE),
        (60, "12:01", _NOON + MINUTE),
        (120, "12:01", _NOON + MINUTE),
        (120, "11:59", _NOON + 2 * MINUTE),
        (0.5, "12:01", _NOON + SECOND // 2),
    ],
)
def test_a_run_begins_at_the_interval_or_at_the_time_of_day_whichever_is_sooner(
    every_s: float, at: str, expected: int
) -> None:
    assert next_run_ns(_NOON, every_s, at) == expected
