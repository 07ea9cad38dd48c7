"""Instants and the buckets of bars, against the calendar of the standard library."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.clock import (
    DAY,
    INTERVALS,
    MAX_TS,
    SECOND,
    Interval,
    day_of,
    interval_named,
    is_interval,
    iso,
    now_ns,
    parse_interval,
    parse_ns,
    to_ns,
)
from tapehouse.errors import NaiveTimeError, UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTHS = {
    "15s": timedelta(seconds=15),
    "30s": timedelta(seconds=30),
    "1m": timedelta(minutes=1),
    "3m": timedelta(minutes=3),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}
_instants = st.integers(0, MAX_TS - 1)
_zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def _moment(ts: int) -> datetime:
    """The second that holds `ts`."""
    return _EPOCH + timedelta(seconds=ts // SECOND)


def _ns(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND


def _bar(ts: int, name: str) -> tuple[int, int]:
    """Start and end of the bar that holds `ts`, by the calendar."""
    moment = _moment(ts)
    midnight = moment.replace(hour=0, minute=0, second=0)
    if name == "1M":
        start = midnight.replace(day=1)
        following = (start + timedelta(days=31)).replace(day=1)
        return _ns(start), _ns(following)
    if name == "1w":
        start = midnight - timedelta(days=moment.weekday())
    else:
        start = midnight + (moment - midnight) // _LENGTHS[name] * _LENGTHS[name]
    return _ns(start), _ns(start + _LENGTHS[name])


_EDGES = [
    parse_ns(text)
    for text in (
        "1970-01-01T00:00:00.000000001Z",
        "1970-01-04T23:59:59.999999999Z",
        "2024-02-29T23:59:59.999999999Z",
        "2024-12-31T23:59:59.999999999Z",
        "2100-02-28T23:59:59Z",
        "2261-12-31T23:59:59.999999999Z",
    )
]


@given(instants=st.lists(_instants, min_size=1, max_size=5), interval=st.sampled_from([*INTERVALS.values()]))
def test_a_bar_is_the_one_of_the_calendar(instants: list[int], interval: Interval) -> None:
    _compare(interval, instants)


@pytest.mark.parametrize("interval", INTERVALS.values(), ids=INTERVALS)
def test_a_bar_is_the_one_of_the_calendar_at_every_turn_of_the_month(interval: Interval) -> None:
    turns = [
        _ns(datetime(year, month, 1, tzinfo=UTC)) for year in range(1970, 2262) for month in range(1, 13)
    ]
    _compare(interval, [*turns, *(turn - 1 for turn in turns[1:]), *_EDGES])


def _compare(interval: Interval, instants: list[int]) -> None:
    ts = np.array(instants, np.int64)
    starts = interval.bucket(ts)
    ends = interval.following(starts)
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [
        _bar(one, interval.name) for one in instants
    ]
    assert starts.dtype == ends.dtype == np.int64
    assert ((starts <= ts) & (ts < ends)).all()
    # The bounds of a bar are half-open: its start is in it, its end is in the next.
    assert (interval.bucket(starts) == starts).all()
    assert (interval.bucket(ends - 1) == starts).all()
    assert (interval.bucket(ends) == ends).all()


@pytest.mark.parametrize("name", INTERVALS)
def test_buckets_take_any_shape(name: str) -> None:
    ts = np.arange(12, dtype=np.int64).reshape(3, 4) * 11 * DAY
    starts = INTERVALS[name].bucket(ts)
    assert starts.shape == (3, 4)
    assert starts.ravel().tolist() == INTERVALS[name].bucket(ts.ravel()).tolist()


def test_there_are_twelve_intervals_and_each_divides_the_next_calendar_unit() -> None:
    assert list(INTERVALS) == [*_LENGTHS, "1M"]
    assert all(interval_named(name) is INTERVALS[name] for name in INTERVALS)
    with pytest.raises(UsageError, match=r"expected one of 15s .* 1M, was '2m'\nCustom intervals are"):
        interval_named("2m")
    with pytest.raises(UsageError, match=r"expected one of 15s .* 1M, was 'x'$"):
        interval_named("x")


@pytest.mark.parametrize(
    ("name", "seconds", "part"),
    [
        ("45s", 45, "15s"), ("75s", 75, "15s"), ("90s", 90, "30s"), ("2m", 120, "1m"), ("7m", 420, "1m"),
        ("25m", 1500, "5m"), ("90m", 5400, "30m"), ("1439m", 86340, "1m"), ("2h", 7200, "1h"), ("6h", 21600, "1h"),
        ("12h", 43200, "4h"), ("23h", 82800, "1h"), ("86385s", 86385, "15s"),
    ],
)  # fmt: skip
def test_a_custom_interval_is_made_of_the_longest_standard_one_that_divides_it(
    name: str, seconds: int, part: str
) -> None:
    found = parse_interval(name)
    assert (found.name, found.length, found.part) == (name, seconds * SECOND, part)
    assert found.length % INTERVALS[part].length == 0
    for ts in (0, 1, found.length - 1, found.length, parse_ns("2024-02-29T23:59:59.999999999Z"), MAX_TS - 1):
        start = ts // found.length * found.length
        assert (found.start_of(ts), found.end_of(ts)) == (start, start + found.length)


@pytest.mark.parametrize(
    ("name", "standard"), [("60s", "1m"), ("60m", "1h"), ("240m", "4h"), ("24h", "1d"), ("1440m", "1d")]
)
def test_one_as_long_as_a_standard_interval_is_that_one(name: str, standard: str) -> None:
    assert parse_interval(name) is INTERVALS[standard]


@pytest.mark.parametrize(
    "name",
    ["", "m", "0m", "-1m", "01m", "1.5h", "10s", "20s", "1s", "25h", "1441m", "99999999m", "2d", "3w", "2M", "7M",
     "7 m", "٧m", "7m\n", "m7", "1H", "x" * 5000],
)  # fmt: skip
def test_what_is_no_interval_is_refused_with_what_is(name: str) -> None:
    assert not is_interval(name)
    with pytest.raises(
        UsageError, match=r"expected one of 15s .* 1M, or a whole number of minutes"
    ) as refused:
        parse_interval(name)
    assert len(refused.value.message) < 400


def test_every_standard_interval_is_one_of_queries() -> None:
    assert all(parse_interval(name) is INTERVALS[name] for name in INTERVALS)
    assert all(interval.part == name for name, interval in INTERVALS.items())


@given(_instants)
def test_text_of_an_instant_reads_back_as_the_instant(ts: int) -> None:
    assert parse_ns(iso(ts)) == ts
    assert iso(ts)[:19] == _moment(ts).isoformat()[:19]
    assert day_of(ts) == _moment(ts).date().isoformat()
    assert to_ns(iso(ts)) == ts


@given(st.integers(10**14, MAX_TS - 1))
def test_a_number_of_nanoseconds_reads_as_the_instant(ts: int) -> None:
    assert parse_ns(str(ts)) == to_ns(ts) == ts


@given(_instants, st.integers(0, 9))
def test_any_number_of_fraction_digits_is_read(ts: int, digits: int) -> None:
    unit = 10 ** (9 - digits)
    whole, fraction = divmod(ts // unit * unit, SECOND)
    text = _moment(ts).strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction // unit:0{digits}}" if digits else "")
    assert parse_ns(f"{text}Z") == whole * SECOND + fraction


@given(st.datetimes(datetime(1970, 1, 2), datetime(2261, 12, 30), timezones=_zones))
def test_an_aware_datetime_is_its_instant_in_any_zone(moment: datetime) -> None:
    since = moment - _EPOCH
    expected = (since // timedelta(microseconds=1)) * 1000
    assert to_ns(moment) == expected
    assert parse_ns(moment.isoformat()) == expected
    assert parse_ns(moment.isoformat(" ").replace("+00:00", "Z")) == expected


def test_a_timestamp_with_nanoseconds_keeps_them() -> None:
    assert to_ns(pd.Timestamp(1_700_000_000_123_456_789, tz="UTC")) == 1_700_000_000_123_456_789
    assert to_ns(pd.Timestamp(1_700_000_000_123_456_789, tz="Asia/Tokyo")) == 1_700_000_000_123_456_789


@given(st.dates(date(1970, 1, 1), date(2261, 12, 31)))
def test_a_date_is_its_midnight_in_utc(day: date) -> None:
    expected = _ns(datetime(day.year, day.month, day.day, tzinfo=UTC))
    assert to_ns(day) == parse_ns(day.isoformat()) == parse_ns(f" {day.isoformat()} ") == expected


class _NoOffset(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    "when",
    [
        "2024-08-09T12:30",
        "2024-08-09 12:30:15",
        "2024-08-09T12:30:15.123456789",
        datetime(2024, 8, 9),
        datetime(2024, 8, 9, tzinfo=_NoOffset()),
        pd.Timestamp("2024-08-09"),
    ],
)
def test_a_time_without_a_zone_is_refused_with_the_way_to_write_it(when: str | datetime) -> None:
    with pytest.raises(NaiveTimeError, match="has no zone") as refusal:
        to_ns(when)
    assert "Z" in refusal.value.remedy or "tzinfo" in refusal.value.remedy
    assert refusal.value.exit_status == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024",
        "20240809",
        "2024-8-9",
        "2024-02-30",
        "2023-02-29T00:00Z",
        "2024-08-09T24:00Z",
        "2024-08-09T12:60Z",
        "2024-08-09T12:30:60Z",
        "2024-08-09T12:30.5Z",  # of a minute, by ISO 8601
        "2024-08-09T12:30:00.1234567890Z",
        "2024-08-09T12:30:00,5Z",
        "2024-08-09T12:30:00 UTC",
        "2024-08-09T12:30+24:00",
        "2024-08-09T12:30+1",
        "1e18",
        "-1",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="time: "):
        parse_ns(text)


@pytest.mark.parametrize("when", [-1, MAX_TS, 2**63, "1969-12-31", "2262-01-01", "-1000000000", str(MAX_TS)])
def test_an_instant_outside_1970_to_2261_is_refused(when: int | str) -> None:
    with pytest.raises(UsageError, match="expected 1970 to 2261"):
        to_ns(when)


@pytest.mark.parametrize(
    "text", ["1970-01-01T00:00:00+00:01", "2261-12-31T23:59-00:01", "0001-01-01T00:00+14:00"]
)
def test_an_offset_does_not_lead_out_of_the_bounds(text: str) -> None:
    with pytest.raises(UsageError, match="expected 1970 to 2261"):
        parse_ns(text)
    assert parse_ns("1970-01-01T00:01+00:01") == 0
    assert parse_ns("2261-12-31T23:59:59.999999999Z") == MAX_TS - 1


@given(st.text(alphabet="0123456789-:T Z+.٣²", max_size=32))
def test_no_text_leads_to_another_error(text: str) -> None:
    try:
        assert 0 <= parse_ns(text) < MAX_TS
    except UsageError:
        return


def test_now_is_between_then_and_then() -> None:
    before = datetime.now(UTC)
    assert to_ns(before) <= now_ns() <= to_ns(datetime.now(UTC)) + 1000


@pytest.mark.parametrize(
    "when",
    [
        1704067203.5,
        True,
        timedelta(days=1),
        None,
        np.datetime64("2024-01-01T00:00:03"),
        np.datetime64("2024-01-01"),
        np.datetime64("2024-01-01T00:00:03", "ns"),
        np.datetime64("NaT"),
        pd.NaT,
        float("nan"),
        1_704_067_203,
        1_704_067_203_000,
    ],
)
def test_what_may_not_be_a_time_in_ns_is_refused_by_the_name_of_its_argument(when: object) -> None:
    with pytest.raises(UsageError, match="start: expected") as caught:
        to_ns(when, "start")  # type: ignore[arg-type]
    assert caught.value.remedy
