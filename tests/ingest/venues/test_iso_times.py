from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.venues.fields import FieldError
from ingest.venues.iso_times import parse_iso_times
from tapehouse.clock import MAX_TS, MICROSECOND, MILLISECOND, parse_ns

MICROSECONDS = st.integers(0, MAX_TS // MICROSECOND - 1)


def written(us: int, digits: int) -> str:
    text = str(np.datetime64(us * 1_000, "ns"))
    return f"{text[: 20 + digits] if digits else text[:19]}Z"


@given(st.lists(st.tuples(MICROSECONDS, st.integers(0, 9)), max_size=20))
def test_times_of_any_number_of_digits_are_read_exactly(times: list[tuple[int, int]]) -> None:
    texts = [written(us, digits) for us, digits in times]
    expected = [parse_ns(text) // MICROSECOND * MICROSECOND for text in texts]
    assert parse_iso_times("time", texts, MICROSECOND).tolist() == expected
    assert parse_iso_times("time", texts, MILLISECOND).tolist() == [
        ns // MILLISECOND * MILLISECOND for ns in expected
    ]


@pytest.mark.parametrize(
    "odd",
    [
        "", "Z", "now", "NaT", "2026-08-25", "2026-08-25T03:35Z", "2026-08-25T03:35:57", "2026-08-25 03:35:57Z",
        "2026-08-25T03:35:57+00:00", "2026-08-25T03:35:57-0500Z", "2026-08-25T24:00:00Z", "2026-02-30T00:00:00Z",
        "2026-08-25T03:35:57.1234567890Z", "12026-08-25T03:35:57Z", "99999999999-08-25T03:35:57Z",
        "202-08-25T03:35:57Z", "1969-12-31T23:59:59.999999Z", "2262-01-01T00:00:00Z", "2026-08-25T03:35:57ZZ",
        "2026-08-25T03:35:57Z5", "2026-08-25T03:35:57000Z", "2026-08-25T03:35:5.Z", "2026-08-25T03:355:57Z",
        "2026-08-25T03:35:57.1.1Z", "2026-08-25T0.3:35:57Z", "2026-08-25T035:35:57Z", "2026-08-255T03:35:5Z",
        "2026-08-25T03:35:57Z,2026-08-25T03:35:57Z", "٢026-08-25T03:35:57Z",
        None, 1_787_628_957, 1.5, True, ["2026-08-25T03:35:57Z"], {},
    ],
)  # fmt: skip
def test_what_is_no_time_is_told(odd: Any) -> None:
    sound = "2026-08-25T03:35:57.198335Z"
    for values in ([odd], [sound, odd], [odd, sound]):
        with pytest.raises(FieldError, match="time: expected a time"):
            parse_iso_times("time", values, MICROSECOND)


def test_halves_of_two_values_do_not_make_one() -> None:
    for values in (
        ["2026-08-25T03:35:57.1Z5", "2026-08-25T03:35:57.1Z"],
        ["2026-08-25T03:35:57.1-0500Z", "2026-08T03:35:57.1Z"],
        ["2026-08-25T03:35:57Z,2026-08-25T03:35:57", ""],
    ):
        with pytest.raises(FieldError):
            parse_iso_times("time", values, MICROSECOND)


@given(st.lists(st.text(alphabet="0123456789-:.TZ,+ ", max_size=32), max_size=4))
def test_no_text_does_harm(values: list[str]) -> None:
    with suppress(FieldError):
        parse_iso_times("time", values, MICROSECOND)
