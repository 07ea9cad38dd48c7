from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.feeds.times import DIGITS, UNITS, Reading, Unit, survey, to_ns, unit_named
from tapehouse.clock import iso, parse_ns
from tapehouse.errors import NaiveTimeError, UsageError

NS = 1_723_161_256_172_216_566
EXACT = "2024-08-08T23:54:16.172216566"
stamps = st.integers(parse_ns("1970-01-01"), parse_ns("2261-12-31"))


def ns_of(values: list[object], reading: Reading, dtype: pl.DataType | None = None) -> list[int | str]:
    """Each value's ns, or what was expected instead."""
    ns, wrong = to_ns(pl.Series(values, dtype=dtype, strict=False), reading)
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
    assert ns_of([text], Reading()) == [ns]


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
    (found,) = ns_of([text], Reading())
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
    assert ns_of([*texts], Reading()) == [parse_ns(text) for text in texts]


@given(st.lists(st.text("0123456789-T:.Z+ ", max_size=30) | stamps.map(iso), max_size=20))
def test_a_text_is_read_the_same_alone_and_among_others(texts: list[str]) -> None:
    reading = Reading("s", naive_as_utc=True)
    alone = [found for text in texts for found in ns_of([text], reading, pl.String())]
    assert ns_of([*texts], reading, pl.String()) == alone


@given(stamps, st.sampled_from(UNITS))
def test_numbers_with_a_point_are_exact_to_the_ns(stamp: int, unit: Unit) -> None:
    digits = DIGITS[unit]
    whole, below = divmod(stamp, 10**digits)
    text = f"{whole}.{below:0{digits}d}" if digits else str(whole)
    assert ns_of([text, f" +{text} "], Reading(unit)) == [stamp, stamp]


def test_numbers_with_exponents_or_more_digits_than_ns_are_floored() -> None:
    texts = ["1.723161256172216566e9", "1723161256.1722165669", "1723161256.", "1.723161256e+09"]
    assert ns_of([*texts], Reading("s")) == [NS, NS, NS // 10**9 * 10**9, NS // 10**9 * 10**9]


def test_floats_mean_the_shortest_number_that_they_are() -> None:
    assert ns_of([1381132800.464, 1381132800.0], Reading("s")) == [1381132800464000000, 1381132800000000000]


@pytest.mark.parametrize(
    "value", ["1e99", "99999999999999999999", "-1.5", ".5", "1.5.5", "1.2e3x", "nan", "inf"]
)
def test_numbers_that_are_no_time_are_none(value: str) -> None:
    assert ns_of([value], Reading("s")) == ["a time"]


def test_numbers_that_would_wrap_round_are_none() -> None:
    assert ns_of([2**63 - 1, -(2**63)], Reading("s")) == ["a time", "a time"]
    assert ns_of([2**64 - 1], Reading("ns"), pl.UInt64()) == ["a time"]
    assert ns_of([2**62], Reading(), pl.Datetime("ms")) == ["a time"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("text", [False, True])
def test_the_unit_is_guessed_where_it_is_clear_and_said(unit: Unit, text: bool) -> None:
    numbers = [NS // 10 ** DIGITS[unit], NS // 10 ** DIGITS[unit] + 1]
    values = pl.Series([str(number) for number in numbers] if text else numbers)
    reading, notes = survey("ts_event", "time", values, None, False)
    assert (reading.unit, reading.guessed) == (unit, True)
    assert notes[0].startswith("ts_event: column time read as ")
    assert survey("ts_event", "time", values, "us", False)[0] == Reading("us")


def test_numbers_outside_the_years_of_a_guessed_unit_are_no_times() -> None:
    reading, _ = survey("ts_event", "ts", pl.Series([NS // 10**6, 5]), None, False)
    first, second = ns_of([NS // 10**6, 5], reading)
    assert first == NS // 10**6 * 10**6
    assert "from 1990 to 2099 in milliseconds, as guessed" in str(second)
    assert ns_of([5], Reading("ms")) == [5_000_000]


def test_numbers_of_two_units_are_refused() -> None:
    with pytest.raises(UsageError, match="s or ms") as caught:
        survey("ts_event", "ts", pl.Series([NS // 10**6, NS // 10**9]), None, False)
    assert "--time-unit s" in caught.value.remedy


def test_times_without_a_zone_are_refused_before_anything_is_read() -> None:
    with pytest.raises(NaiveTimeError, match="column time") as caught:
        survey("ts_event", "time", pl.Series([EXACT]), None, False)
    assert "--naive-as-utc" in caught.value.remedy
    reading, notes = survey("ts_event", "time", pl.Series([EXACT]), None, True)
    assert ns_of([EXACT], reading) == [NS]
    assert notes == ("ts_event: column time has no zone, taken as UTC",)


def test_one_time_without_a_zone_among_others_is_rejected_alone() -> None:
    reading, _ = survey("ts_event", "time", pl.Series([EXACT, EXACT + "Z"]), None, False)
    found = ns_of([EXACT, EXACT + "Z"], reading)
    assert found == ["a time with a zone (--naive-as-utc takes it as UTC)", NS]


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(UsageError, match="s ms us ns"):
        unit_named("min")
