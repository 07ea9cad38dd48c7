"""Indicators: equal to TA-Lib's where it has them, worked out by hand where it has none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import talib
from numpy.typing import NDArray

from tapehouse.clock import HOUR, INTERVALS
from tapehouse.features import indicators
from tapehouse.features.candle import FEATURES, compute
from tests.candles import MIDNIGHT, Bars, candles, flat, walk

MINUTES = INTERVALS["1m"]
Doubles = NDArray[np.float64]
NUMBERS = [feature for feature in FEATURES if feature.kind != "pattern"]


def talib_numbers(bars: Bars) -> dict[str, Doubles]:
    """What TA-Lib gives for the whole of `bars`."""
    high, low, close = (bars[name].copy() for name in ("high", "low", "close"))
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, slowd_period=3)
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    return {
        "return": talib.ROCP(close, 1),
        "log_return": np.log1p(talib.ROCP(close, 1)),
        "true_range": talib.TRANGE(high, low, close),
        "realised_volatility_20": np.sqrt(talib.SUM(np.log1p(talib.ROCP(close, 1)) ** 2, 20)),
        "bollinger_position": (close - lower) / (upper - lower),
        "bollinger_width": (upper - lower) / middle,
        "stochastic_k": slow_k,
        "stochastic_d": slow_d,
        "atr_14": talib.ATR(high, low, close, 14),
        "rsi_14": talib.RSI(close, 14),
        "ema_20": talib.EMA(close, 20),
        "ema_50": talib.EMA(close, 50),
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "plus_di_14": talib.PLUS_DI(high, low, close, 14),
        "minus_di_14": talib.MINUS_DI(high, low, close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
    }


@pytest.mark.parametrize("name", talib_numbers(walk(100)))
def test_a_number_is_talibs_from_the_first_bar_that_has_it(name: str) -> None:
    bars = walk(3_000)
    found: Doubles = compute(bars, MINUTES)[name]
    # TA-Lib's running sums of squares make its bands exact to about 1e-8.
    loose = 1e-6 if name.startswith("bollinger") else 1e-9
    np.testing.assert_allclose(found, talib_numbers(bars)[name], rtol=loose, atol=1e-9)


def test_on_balance_volume_of_a_day_is_talibs_of_its_bars() -> None:
    bars = walk(3 * 1440)
    found = compute(bars, MINUTES)["obv_day"].reshape(3, 1440)
    for day, of_day in enumerate(np.split(bars, 3)):
        np.testing.assert_array_equal(found[day], talib.OBV(of_day["close"].copy(), of_day["volume"].copy()))


def by_hand() -> Bars:
    """Four bars over midnight, whose features are worked out below."""
    bars = candles((10, 12, 9, 11), (11, 14, 10, 13), (13, 13, 12, 12), (12, 16, 12, 15))
    bars["ts"] = MIDNIGHT + np.array([22, 23, 24, 25]) * HOUR
    bars["volume"] = [10, 30, 5, 20]
    bars["turnover"] = [105, 375, 60, 290]
    bars["trades"] = [4, 10, 1, 36]
    bars["buy_volume"] = [5, 24, 0, 20]
    return bars


NAN = math.nan
BY_HAND: dict[str, list[float]] = {
    "return": [NAN, 2 / 11, -1 / 13, 3 / 12],
    "log_return": [NAN, math.log(13 / 11), math.log(12 / 13), math.log(15 / 12)],
    "true_range": [NAN, 4, 1, 4],
    "order_flow_imbalance": [0, 18 / 30, -1, 1],
    "trade_intensity": [4 / 3600, 10 / 3600, 1 / 3600, 36 / 3600],
    "average_trade_size": [2.5, 3, 5, 20 / 36],
    "vwap_day": [10.5, 12, 12, 14],
    "vwap_deviation": [0.5 / 10.5, 1 / 12, 0, 1 / 14],
    "obv_day": [10, 40, 5, 25],
    "cvd_day": [0, 18, -5, 15],
    "mid": [11, NAN, 12, 15],
    "spread": [2, NAN, 1, 0],
    "spread_bps": [1e4 * 2 / 11, NAN, 1e4 / 12, 0],
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_number_is_that_of_the_hand_worked_table(name: str) -> None:
    bid = np.array([10, 12, 11.5, 15])
    ask = np.array([12, NAN, 12.5, 15])
    found = compute(by_hand(), INTERVALS["1h"], bid=bid, ask=ask, starts_day=True)[name]
    np.testing.assert_allclose(found, BY_HAND[name], rtol=1e-13)


def test_every_number_is_compared_with_talib_or_the_table() -> None:
    tested: set[Any] = {*talib_numbers(walk(100)), *BY_HAND, "obv_day"}
    assert {feature.name for feature in NUMBERS} == tested


def test_the_kernel_writes_each_number_where_its_name_is() -> None:
    columns = [getattr(indicators, feature.name.upper()) for feature in NUMBERS]
    assert columns == list(range(indicators.WIDTH))


@pytest.mark.parametrize("feature", NUMBERS, ids=lambda feature: feature.name)
def test_a_number_is_there_as_soon_as_enough_bars_are_before(feature: Any) -> None:
    bars = walk(120)
    quote = bars["close"].copy()
    found = compute(bars, MINUTES, bid=quote, ask=quote)[feature.name]
    assert np.isnan(found[: feature.needs]).all()
    assert not np.isnan(found[feature.needs :]).any()


def test_a_long_standstill_has_no_direction_whatever_was_before() -> None:
    moved = walk(300)
    still = flat(600, price=float(moved["close"][-1]))
    found = compute(np.concatenate([moved, still]), MINUTES)[-1]
    assert found["rsi_14"] == pytest.approx(50, abs=1e-6)
    for name in ("atr_14", "plus_di_14", "minus_di_14", "adx_14", "macd", "true_range", "return"):
        assert found[name] == pytest.approx(0, abs=1e-6)
    assert found["ema_50"] == pytest.approx(still["close"][0], rel=1e-9)
    for name in ("bollinger_position", "order_flow_imbalance", "average_trade_size"):
        assert math.isnan(found[name])
    assert found["stochastic_k"] == 0
    assert found["trade_intensity"] == 0


def test_a_bar_of_one_trade_has_its_own_price_as_average() -> None:
    found = compute(candles((100, 100, 100, 100)), MINUTES)[0]
    assert (found["vwap_day"], found["vwap_deviation"], found["average_trade_size"]) == (100, 0, 1)
    assert found["trade_intensity"] == pytest.approx(1 / 60)
    assert math.isnan(found["return"])
    assert math.isnan(found["rsi_14"])


def test_a_bar_without_prices_breaks_the_run() -> None:
    broken = walk(400)
    broken["close"][100] = np.nan
    whole, after = compute(broken, MINUTES), compute(broken[101:], MINUTES)
    for feature in NUMBERS:
        if feature.kind == "exponential" or feature.name in (
            "return",
            "realised_volatility_20",
            "stochastic_k",
        ):
            assert np.isnan(whole[feature.name][100])
            np.testing.assert_array_equal(whole[feature.name][101:], after[feature.name])


def test_unknown_sides_leave_the_flow_undefined_and_the_rest_alone() -> None:
    bars = walk(100)
    silent = bars.copy()
    silent["buy_volume"] = np.nan
    found, known = compute(silent, MINUTES), compute(bars, MINUTES)
    for feature in FEATURES:
        if feature.name in ("order_flow_imbalance", "cvd_day"):
            assert np.isnan(found[feature.name]).all()
        else:
            np.testing.assert_array_equal(found[feature.name], known[feature.name])
