from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.files.options import UNIT_DIGITS, UNITS, ReadOptions, TimeUnit
from ingest.files.times import TimeFormat, convert_times, detect_time_format
from tapehouse.clock import iso, parse_ns
from tapehouse.errors import NaiveTimeError, UsageError

NS = 1_723_161_256_172_216_566
EXACT = "2024-08-08T23:54:16.172216566"
stamps = st.integers(parse_ns("1970-01-01"), parse_ns("2261-12-31"))


def ns_of(values: list[object], reading: TimeFormat, dtype: pl.DataType | None = None) -> list[int | str]:
    """Each value's ns, or what was expected instead."""
    ns, wrong = convert_times(pl.Series(values, dtype=dtype, strict=False), reading)
    found: list[int | str] = [*ns.tolist()]
    for bad, expected in reversed(wrong):
        for row in bad.nonzero()[0].tolist():
            found[row] = expected
    return found


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        (f"{EXACT}Z", NS),
        (f"{EXACT}z", NS),
        (f"{EXACT}+00:00", NS),
        (f"{EXACT}+0000", NS),
        (f"{EXACT} +00", NS),
        (f"{EXACT} UTC", NS),
        (f" {EXACT}Z ", NS),
        ("2024-08-09 01:54:16.172216566+02:00", NS),
        ("2024-08-08T18:24:16.172216566-05:30", NS),
        ("2024-08-08t23:54Z", NS // (60 * 10**9) * 60 * 10**9),
        ("2024-08-08T23:54:16.1Z", NS // 10**9 * 10**9 + 10**8),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * 10**9),
    ],
)
def test_iso_text_is_exact_to_the_ns(text: str, ns: int) -> None:
    assert ns_of([text], TimeFormat()) == [ns]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2024-08-08",
        "20240808T235416Z",
        "2023-02-29T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T00:00:60Z",
        "2024-01-01T00:00:00.1234567891Z",
        "2024-01-01T00:00:00+00:60",
        "9999-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T00:00:00ZZ",
        "２０２４-01-01T00:00:00Z",
        f"{EXACT}",
    ],
)
def test_what_is_no_instant_is_no_time(text: str) -> None:
    (found,) = ns_of([text], TimeFormat())
    assert isinstance(found, str)


@given(st.lists(stamps, min_size=1, max_size=30), st.integers(-14 * 60, 14 * 60), st.data())
def test_columns_of_many_layouts_agree_with_the_clock(
    stamps: list[int], offset: int, data: st.DataObject
) -> None:
    zone = timezone(timedelta(minutes=offset))
    texts = []
    for stamp in stamps:
        fraction = data.draw(st.integers(0, 9))
        whole = datetime.fromtimestamp(stamp // 10**9, UTC).astimezone(zone)
        digits = f".{stamp % 10**9:09d}"[: fraction + 1] if fraction else ""
        texts.append(whole.strftime("%Y-%m-%dT%H:%M:%S") + digits + whole.strftime("%z"))
    assert ns_of([*texts], TimeFormat()) == [parse_ns(text) for text in texts]


@given(st.lists(st.text("0123456789-T:.Z+ ", max_size=30) | stamps.map(iso), max_size=20))
def test_a_text_is_read_the_same_alone_and_among_others(texts: list[str]) -> None:
    reading = TimeFormat("s", zone="UTC")
    alone = [found for text in texts for found in ns_of([text], reading, pl.String())]
    assert ns_of([*texts], reading, pl.String()) == alone


@given(stamps, st.sampled_from(UNITS))
def test_numbers_with_a_point_are_exact_to_the_ns(stamp: int, unit: TimeUnit) -> None:
    digits = UNIT_DIGITS[unit]
    whole, below = divmod(stamp, 10**digits)
    text = f"{whole}.{below:0{digits}d}" if digits else str(whole)
    assert ns_of([text, f" +{text} "], TimeFormat(unit)) == [stamp, stamp]


def test_numbers_with_exponents_or_more_digits_than_ns_are_floored() -> None:
    texts = ["1.723161256172216566e9", "1723161256.1722165669", "1723161256.", "1.723161256e+09"]
    assert ns_of([*texts], TimeFormat("s")) == [NS, NS, NS // 10**9 * 10**9, NS // 10**9 * 10**9]


def test_floats_mean_the_shortest_number_that_they_are() -> None:
    assert ns_of([1381132800.464, 1381132800.0], TimeFormat("s")) == [
        1381132800464000000,
        1381132800000000000,
    ]


@pytest.mark.parametrize(
    "value", ["1e99", "99999999999999999999", "-1.5", ".5", "1.5.5", "1.2e3x", "nan", "inf"]
)
def test_numbers_that_are_no_time_are_none(value: str) -> None:
    assert ns_of([value], TimeFormat("s")) == ["a time"]


def test_numbers_that_would_wrap_round_are_none() -> None:
    assert ns_of([2**63 - 1, -(2**63)], TimeFormat("s")) == ["a time", "a time"]
    assert ns_of([2**64 - 1], TimeFormat("ns"), pl.UInt64()) == ["a time"]
    assert ns_of([2**62], TimeFormat(), pl.Datetime("ms")) == ["a time"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("text", [False, True])
def test_the_unit_is_guessed_where_it_is_clear_and_said(unit: TimeUnit, text: bool) -> None:
    numbers = [NS // 10 ** UNIT_DIGITS[unit], NS // 10 ** UNIT_DIGITS[unit] + 1]
    values = pl.Series([str(number) for number in numbers] if text else numbers)
    reading, notes = detect_time_format("ts_event", "time", values, ReadOptions())
    assert (reading.unit, reading.guessed) == (unit, True)
    assert notes[0].startswith("ts_event: column time read as ")
    assert detect_time_format("ts_event", "time", values, ReadOptions(time_unit=unit))[0] == TimeFormat(unit)


def test_numbers_outside_the_years_of_a_guessed_unit_are_no_times() -> None:
    reading, _ = detect_time_format("ts_event", "ts", pl.Series([NS // 10**6, 5]), ReadOptions())
    first, second = ns_of([NS // 10**6, 5], reading)
    assert first == NS // 10**6 * 10**6
    assert "from 1990 to 2099 in milliseconds, as guessed" in str(second)
    assert ns_of([5], TimeFormat("ms")) == [5_000_000]


def test_numbers_of_two_units_are_refused() -> None:
    with pytest.raises(UsageError, match="s or ms") as caught:
        detect_time_format("ts_event", "ts", pl.Series([NS // 10**6, NS // 10**9]), ReadOptions())
    assert "--time-unit s" in caught.value.remedy


def test_times_without_a_zone_are_refused_before_anything_is_read() -> None:
    with pytest.raises(NaiveTimeError, match="column time") as caught:
        detect_time_format("ts_event", "time", pl.Series([EXACT]), ReadOptions())
    assert "--naive-as-utc" in caught.value.remedy
    reading, notes = detect_time_format("ts_event", "time", pl.Series([EXACT]), ReadOptions(timezone="UTC"))
    assert ns_of([EXACT], reading) == [NS]
    assert notes == ("ts_event: column time has no zone, taken as UTC",)


def test_one_time_without_a_zone_among_others_is_rejected_alone() -> None:
    reading, _ = detect_time_format("ts_event", "time", pl.Series([EXACT, EXACT + "Z"]), ReadOptions())
    found = ns_of([EXACT, EXACT + "Z"], reading)
    assert found == ["a time with a zone (--naive-as-utc or --timezone says which)", NS]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(UsageError, match="s ms us ns"):
        ReadOptions(time_unit="min")  # type: ignore[arg-type]


def of_day(values: list[Any], **how: Any) -> list[int | str]:
    """What a column of times of day is read as, after its format was detected."""
    column = pl.Series(values)
    reading, _ = detect_time_format("ts_event", "time", column, ReadOptions(**how))
    return ns_of(values, reading)


@pytest.mark.parametrize(
    ("values", "how"),
    [
        (["09:30:00.123", "9:30:00.123", " 09:30:00.123000000"], {}),
        ([34200123, 34200123], {}),
        (["34200123", "34200.123e3"], {}),
        ([34200.123], {}),
        (["34200.123"], {"time_unit": "s"}),
        ([34200123000], {}),
        ([34200123000000], {"time_unit": "ns"}),
        (["15:30:00.123+06:00"], {"timezone": "America/New_York"}),
        (["04:30:00.123"], {"timezone": "America/New_York"}),
        ([16200123], {"timezone": "America/New_York", "time_unit": "ms"}),
    ],
)
def test_times_of_day_are_of_the_date_and_the_zone_and_refused_without_a_date(
    values: list[Any], how: dict[str, Any]
) -> None:
    expected = parse_ns("2024-01-02T09:30:00.123Z")
    assert of_day(values, date="2024-01-02", **how) == [expected] * len(values)
    with pytest.raises(UsageError, match="expected times with a date in column time") as caught:
        of_day(values, **how)
    assert "--date YYYY-MM-DD" in caught.value.remedy


def test_numbers_of_the_day_of_two_units_are_refused() -> None:
    with pytest.raises(UsageError, match=r"one unit in column time, was 1000.0 to 80000.0") as caught:
        of_day([1_000, 80_000], date="2024-01-02")
    assert "--time-unit s or --time-unit ms" in caught.value.remedy


def test_rows_beyond_the_day_or_with_their_own_date_among_times_of_day() -> None:
    found = of_day(
        ["34200123", "86400000", "-1", "24:00:00", "2024-01-05T00:00:00Z", *["36000000"] * 2],
        date="2024-01-02",
    )
    assert found == [
        parse_ns("2024-01-02T09:30:00.123Z"),
        "a time of day in milliseconds since midnight",
        "a time of day in milliseconds since midnight",
        "a time",
        parse_ns("2024-01-05T00:00:00Z"),
        *[parse_ns("2024-01-02T10:00:00Z")] * 2,
    ]


def test_a_time_of_day_among_others_is_rejected_alone() -> None:
    reading, _ = detect_time_format(
        "ts_event", "time", pl.Series([EXACT + "Z"] * 3 + ["09:30:00"]), ReadOptions()
    )
    assert ns_of([EXACT + "Z", "09:30:00"], reading) == [
        NS,
        "a time such as 2024-01-02T10:00:00Z (--time-unit gives the unit of numbers)",
    ]


@given(
    st.lists(st.datetimes(datetime(2023, 1, 1), datetime(2025, 1, 1)), min_size=1, max_size=20),
    st.sampled_from(["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
)
def test_times_of_a_zone_are_those_of_its_clock(clock: list[datetime], zone: str) -> None:
    expected = []
    for time in clock:
        first, second = (time.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
        shown = first.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == time
        once = shown and first.utcoffset() == second.utcoffset()
        expected.append(parse_ns(first.astimezone(UTC).isoformat()) if once else None)
    for values in ([time.isoformat(timespec="microseconds") for time in clock], clock):
        reading, _ = detect_time_format("ts_event", "time", pl.Series(values), ReadOptions(timezone=zone))
        found = ns_of([*values], reading)
        assert [None if isinstance(one, str) else one for one in found] == expected


def test_times_that_a_clock_shows_twice_or_never_are_rejected_with_the_reason() -> None:
    texts = ["2024-10-27T02:30:00", "2024-03-31T02:30:00", "2024-10-27T02:30:00+02:00", "2024-10-27T03:00:00"]
    reading, (note,) = detect_time_format(
        "ts_event", "time", pl.Series(texts), ReadOptions(timezone="Europe/Berlin")
    )
    assert note == "ts_event: column time has no zone, taken as Europe/Berlin"
    assert ns_of([*texts], reading) == [
        "a time that the clock of Europe/Berlin shows once (it goes back here)",
        "a time that the clock of Europe/Berlin shows (it goes forward here)",
        parse_ns("2024-10-27T00:30:00Z"),
        parse_ns("2024-10-27T02:00:00Z"),
    ]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "--timezone: expected the name of a zone"),
        ({"date": "2024-1-2"}, "--date: expected YYYY-MM-DD, was '2024-1-2'"),
        ({"date": "20240102"}, "--date: expected YYYY-MM-DD"),
    ],
)
def test_a_zone_or_a_date_that_is_none_is_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ReadOptions(**how)
