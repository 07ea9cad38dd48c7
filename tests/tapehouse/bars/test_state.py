"""The bar kernel's bucket numbers, compared with the clock's over all valid times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.bars import state
from tapehouse.bars.state import INTERVAL_COUNT, LENGTHS, MONTH, PART_OF
from tapehouse.clock import DAY, INTERVALS, MAX_TS, Interval

TIMES = st.integers(0, MAX_TS - 1)
# Midnights, where every interval may turn.
MIDNIGHTS = st.builds(
    lambda day, off: min(max(day * DAY + off, 0), MAX_TS - 1),
    st.integers(0, MAX_TS // DAY),
    st.integers(-1, 1),
)
EACH = pytest.mark.parametrize(
    ("place", "interval"), tuple(enumerate(INTERVALS.values())), ids=list(INTERVALS)
)


@EACH
@given(ts=TIMES | MIDNIGHTS)
def test_the_bucket_of_a_time_is_the_clocks(place: int, interval: Interval, ts: int) -> None:
    numbered = state.bucket_number(place, ts)
    bucket = int(interval.bucket(np.array(ts)))
    assert state.bucket_start(place, numbered) == bucket
    assert state.bucket_start(place, numbered + 1) == int(interval.following(np.array(bucket)))


@EACH
@given(ts=TIMES | MIDNIGHTS)
def test_buckets_are_numbered_one_by_one(place: int, interval: Interval, ts: int) -> None:
    numbered = state.bucket_number(place, ts)
    begins, ends = state.bucket_start(place, numbered), state.bucket_start(place, numbered + 1)
    assert state.bucket_number(place, begins) == state.bucket_number(place, ends - 1) == numbered
    assert state.bucket_number(place, ends) == numbered + 1


def test_every_month_begins_where_numpy_says() -> None:
    months = np.arange(0, (2262 - 1970) * 12 + 1)
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    assert [state.month_start(month) for month in months.tolist()] == days.tolist()
    assert [state.month_of(day) for day in days.tolist()] == months.tolist()


@given(ts=TIMES | MIDNIGHTS)
def test_a_bucket_is_whole_buckets_of_what_it_is_made_of(ts: int) -> None:
    for place in range(1, INTERVAL_COUNT):
        begins = state.bucket_start(place, state.bucket_number(place, ts))
        ends = state.bucket_start(place, state.bucket_number(place, ts) + 1)
        below = int(PART_OF[place])
        for edge in (begins, ends):
            assert edge < 0 or state.bucket_start(below, state.bucket_number(below, edge)) == edge


def test_lengths_are_the_clocks_but_for_months() -> None:
    assert LENGTHS[MONTH] == 0
    assert (LENGTHS[:-1] > 0).all()
    assert MONTH == INTERVAL_COUNT - 1
    assert PART_OF.tolist() == [-1, 0, 1, 2, 2, 4, 5, 6, 7, 8, 9, 9]
    assert all(PART_OF[place] < place for place in range(INTERVAL_COUNT))
