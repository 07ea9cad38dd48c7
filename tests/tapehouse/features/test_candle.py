"""Features: equal for any span, never infinite, and available as a frame or a document."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tapehouse.clock import DAY, HOUR, INTERVALS, MINUTE, SECOND, Interval
from tapehouse.errors import UsageError
from tapehouse.features.candle import FEATURES, ROW, WARM_UP, BarArray, compute, document, features_frame
from tests.candles import MIDNIGHT, flat, walk

MINUTES = INTERVALS["1m"]
STEPS = {"15s": 15 * SECOND, "1m": MINUTE, "1h": HOUR, "1d": DAY}
WILD = [0.0, -0.0, 5e-324, 1e-9, -1.0, 1.0, 1e12, -1e12, 1e15, 1e308, math.inf, -math.inf, math.nan]


def assert_same(found: BarArray, expected: BarArray, close: BarArray) -> None:
    """Equal; the exponential ones to 1e-6, of the price where they may be near 0."""
    for feature in FEATURES:
        a, b = found[feature.name], expected[feature.name]
        if feature.kind == "exponential":
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=feature.name)
            scale = np.abs(close) if feature.unit == "price" else 1
            assert np.nanmax(np.abs(a - b) / scale, initial=0) <= 1e-6, feature.name
        else:
            np.testing.assert_array_equal(a, b, err_msg=feature.name)


def market(
    seed: int, interval: Interval, begin: int, still: slice, empty: int, broken: int | None
) -> BarArray:
    """1,400 bars: those in `still` have one price, one in `empty` is missing, and `broken` has no prices."""
    bars = walk(1_400, seed, MIDNIGHT + begin, STEPS[interval.name])
    for name in ("open", "high", "low", "close"):
        bars[name][still] = bars["close"][still.start]
    bars["volume"][still] = bars["turnover"][still] = bars["buy_volume"][still] = bars["trades"][still] = 0
    if broken is not None:
        bars["low"][broken] = np.nan
    kept = np.random.default_rng(seed).random(len(bars)) > 1 / empty
    return bars[kept]


@given(
    seed=st.integers(0, 2**32 - 1),
    interval=st.sampled_from([INTERVALS[name] for name in STEPS]),
    begin=st.integers(0, 5_759).map(lambda number: number * 15 * SECOND),
    still=st.tuples(st.integers(0, 1_200), st.integers(0, 700)),
    empty=st.integers(2, 50),
    broken=st.none() | st.integers(0, 1_399),
    cut=st.tuples(st.floats(0, 1), st.integers(1, 60)),
)
@settings(max_examples=60)
# The 512 bars before the span have one price, and the last move is just before them.
@example(1, INTERVALS["1m"], 0, (300, 700), 50, None, (0.6, 60))
def test_a_span_has_the_features_of_the_whole(
    seed: int,
    interval: Interval,
    begin: int,
    still: tuple[int, int],
    empty: int,
    broken: int | None,
    cut: tuple[float, int],
) -> None:
    bars = market(seed, interval, begin, slice(still[0], still[0] + still[1]), empty, broken)
    bid = bars["close"] - 1 / 64
    ask = bars["close"] + 1 / 64
    whole = compute(bars, interval, bid=bid, ask=ask, starts_day=True)
    start = int(cut[0] * (len(bars) - 1))
    end = min(start + cut[1], len(bars))
    first_of_day = int(np.searchsorted(bars["ts"], bars["ts"][start] // DAY * DAY))
    lead = max(0, min(start - WARM_UP, first_of_day))
    span = compute(
        bars[lead:end], interval, start - lead, bid[lead:end], ask[lead:end], starts_day=lead == first_of_day
    )
    assert_same(span, whole[start:end], bars["close"][start:end])


def test_live_is_history_bar_by_bar() -> None:
    bars = walk(1_000, start=MIDNIGHT + 20 * HOUR)
    whole = compute(bars, MINUTES, starts_day=True)
    for end in range(600, 1_000, 7):
        day = int(np.searchsorted(bars["ts"], bars["ts"][end - 1] // DAY * DAY))
        lead = max(0, min(end - 1 - WARM_UP, day))
        live = compute(bars[lead:end], MINUTES, end - 1 - lead, starts_day=lead == 0)
        assert_same(live, whole[end - 1 : end], bars["close"][end - 1 : end])


def test_what_accumulates_waits_for_a_day_that_is_known_to_be_whole() -> None:
    bars = walk(3 * 1440)[700:]
    found = compute(bars, MINUTES)
    assert np.isnan(found["vwap_day"][:740]).all()
    assert not np.isnan(found["vwap_day"][740:]).any()
    assert not np.isnan(compute(bars, MINUTES, starts_day=True)["vwap_day"]).any()
    assert np.isnan(compute(bars, MINUTES, 739)["cvd_day"][0])
    assert not np.isnan(compute(bars, MINUTES, 740)["cvd_day"][0])


def test_a_day_begins_with_its_first_bar_even_where_midnight_has_none() -> None:
    bars = np.delete(walk(2 * 1440), slice(1430, 1450))
    found = compute(bars, MINUTES)
    assert found["cvd_day"][1430] == 2 * bars["buy_volume"][1430] - bars["volume"][1430]


@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.integers(0, 80))
def test_nothing_raises_and_nothing_is_infinite_whatever_the_bars(seed: int, count: int, start: int) -> None:
    random = np.random.default_rng(seed)
    bars = walk(count, seed)
    for name in ("open", "high", "low", "close", "volume", "turnover", "buy_volume"):
        wild = random.random(count) < random.choice([0.05, 0.5, 1])
        bars[name][wild] = random.choice(WILD, count)[wild]
    bars["trades"] *= random.integers(0, 2, count)
    quotes = random.choice(WILD, count), random.choice(WILD, count)
    found = compute(bars, MINUTES, min(start, count), *quotes)
    assert len(found) == count - min(start, count)
    for feature in FEATURES:
        assert not np.isinf(found[feature.name]).any(), feature.name


def test_a_month_is_as_long_as_it_is() -> None:
    bars = walk(2)
    bars["ts"] = [19_754 * DAY, 19_783 * DAY]
    found = compute(bars, INTERVALS["1M"])["trade_intensity"]
    np.testing.assert_allclose(found, bars["trades"] / np.array([29 * 86_400, 31 * 86_400]), rtol=1e-12)


def test_any_layout_of_bars_gives_the_same() -> None:
    bars = walk(100)
    packed = np.zeros(100, [("flag", "i1"), *reversed(bars.dtype.descr), ("seq_last", "i8")])
    for name in bars.dtype.names or ():
        packed[name] = bars[name]
    packed.flags.writeable = False
    np.testing.assert_array_equal(
        compute(packed, MINUTES).view(np.float64), compute(bars, MINUTES).view(np.float64)
    )


def test_a_row_has_a_float_a_feature_and_each_is_described() -> None:
    assert ROW.names == tuple(feature.name for feature in FEATURES)
    assert len(set(ROW.names)) == len(FEATURES) == 44
    for feature in FEATURES:
        assert all((feature.unit, feature.formula, feature.source, feature.group))
        assert feature.needs <= WARM_UP


def test_reading_the_list_does_not_import_the_compiler() -> None:
    code = "import sys, tapehouse.features.candle; print([name for name in ('numba', 'polars') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_start_outside_the_bars_is_rejected() -> None:
    with pytest.raises(UsageError, match="expected 0 to 5, was 6"):
        compute(walk(5), MINUTES, 6)


def test_quotes_of_another_length_are_rejected() -> None:
    with pytest.raises(UsageError, match="expected 5 of each, was 5 and 4"):
        compute(walk(5), MINUTES, bid=np.ones(5), ask=np.ones(4))


def test_no_bars_have_no_features() -> None:
    assert len(compute(walk(0), MINUTES)) == 0
    assert len(compute(walk(3), MINUTES, 3)) == 0


def test_a_frame_has_a_time_and_null_for_what_is_undefined() -> None:
    bars = walk(40)
    found = features_frame(bars, MINUTES, 10)
    assert found.columns == ["ts", *(feature.name for feature in FEATURES)]
    assert found.schema["ts"] == pl.Datetime("ns", "UTC")
    assert found["ts"].cast(pl.Int64).to_list() == bars["ts"][10:].tolist()
    assert found["ema_20"].null_count() == 9
    assert found["doji"].dtype == pl.Int8
    assert found["doji"].null_count() == 3
    assert found["rsi_14"][-1] == compute(bars, MINUTES)["rsi_14"][-1]


def test_a_document_describes_a_bar_in_two_kilobytes() -> None:
    bars = walk(600)
    quote = bars["close"].copy()
    row = compute(bars, MINUTES, 599, bid=quote - 0.5, ask=quote + 0.5)[0]
    row["engulfing"], row["doji"], row["hammer"] = -1, 1, 0
    found = document(bars[599], row, "binance", "BTCUSDT", MINUTES)
    text = json.dumps(found, allow_nan=False)
    assert len(text) < 2_048
    assert (found["start"], found["end"]) == ("2024-08-10T09:59:00Z", "2024-08-10T10:00:00Z")
    assert found["candle"]["trades"] == int(bars[599]["trades"])
    assert found["momentum"]["rsi_14"] == pytest.approx(row["rsi_14"], rel=1e-7)
    assert found["quote"]["spread"] == 1
    assert {"name": "engulfing", "direction": "bearish"} in found["patterns"]
    assert {"name": "doji", "direction": "neutral"} in found["patterns"]
    assert "hammer" not in text
    named = {name for names in found["units"].values() for name in names.split()}
    assert named == {feature.name for feature in FEATURES if feature.kind != "pattern"}


def test_a_document_of_a_first_bar_has_null_for_what_is_not_known_yet() -> None:
    bars = flat(1)
    found = document(bars[0], compute(bars, MINUTES)[0], "binance", "BTCUSDT", MINUTES)
    json.dumps(found, allow_nan=False)
    assert found["patterns"] is None
    assert found["returns"] == {"return": None, "log_return": None}


def test_a_document_of_a_month_ends_with_it() -> None:
    bars = walk(1)
    bars["ts"] = 19_754 * DAY
    months = INTERVALS["1M"]
    assert document(bars[0], compute(bars, months)[0], "v", "s", months)["end"] == "2024-03-01T00:00:00Z"
