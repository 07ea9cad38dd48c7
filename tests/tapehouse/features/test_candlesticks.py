"""Patterns: equal to TA-Lib's where it has them, by hand where it has none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import talib
from numpy.typing import NDArray

from tapehouse.clock import INTERVALS, MINUTE
from tapehouse.features.candle import FEATURES, compute
from tests.candles import BAR, MIDNIGHT, Bars, candles, flat, walk
from tests.market_data import DATA

MINUTES = INTERVALS["1m"]
PEERS = {
    "doji": talib.CDLDOJI,
    "hammer": talib.CDLHAMMER,
    "hanging_man": talib.CDLHANGINGMAN,
    "inverted_hammer": talib.CDLINVERTEDHAMMER,
    "shooting_star": talib.CDLSHOOTINGSTAR,
    "spinning_top": talib.CDLSPINNINGTOP,
    "marubozu": talib.CDLMARUBOZU,
    "engulfing": talib.CDLENGULFING,
    "harami": talib.CDLHARAMI,
    "piercing_line": talib.CDLPIERCING,
    "dark_cloud_cover": talib.CDLDARKCLOUDCOVER,
    "morning_star": talib.CDLMORNINGSTAR,
    "evening_star": talib.CDLEVENINGSTAR,
    "three_white_soldiers": talib.CDL3WHITESOLDIERS,
    "three_black_crows": talib.CDL3BLACKCROWS,
}
PRICES = ("open", "high", "low", "close")
PATTERNS = [feature.name for feature in FEATURES if feature.kind == "pattern"]
# Ten bars of range 10 and body 5: equal is within 0.5.
USUAL = [(100.0, 107.5, 97.5, 105.0)] * 13


def talib_patterns(name: str, bars: Bars) -> NDArray[np.float64]:
    """-1, 0 and 1 as TA-Lib finds the pattern in the bars from the 14th on."""
    found: NDArray[np.int32] = PEERS[name](*(bars[price].copy() for price in PRICES))
    signs: NDArray[np.float64] = np.sign(found[13:].astype(float))
    return signs


@pytest.fixture(scope="module")
def market() -> Bars:
    return walk(60_000)


@pytest.mark.parametrize("name", PEERS)
def test_a_pattern_is_found_where_talib_finds_it(name: str, market: Bars) -> None:
    theirs = talib_patterns(name, market)
    assert np.count_nonzero(theirs) > 10, "expected data that shows the pattern"
    np.testing.assert_array_equal(compute(market, MINUTES)[name][13:], theirs)


@pytest.mark.parametrize("source", ["binance_xrp_eth_2019", "comex_gold_2013"])
def test_on_market_bars_every_pattern_equals_talibs(source: str) -> None:
    path = DATA / source / "bars_1m.parquet"
    if not path.exists():
        pytest.skip(f"no {path.name} of {source} in ../shared/data")
    market_bars = pl.read_parquet(path)
    bars = np.zeros(len(market_bars), BAR)
    bars["ts"] = MIDNIGHT + np.arange(len(market_bars)) * MINUTE
    for name in PRICES:
        bars[name] = market_bars[name].to_numpy()
    found = compute(bars, MINUTES)
    for name in PEERS:
        np.testing.assert_array_equal(found[name][13:], talib_patterns(name, bars), err_msg=name)


def test_every_pattern_is_compared_with_talib_but_the_one_it_lacks() -> None:
    assert set(PATTERNS) - set(PEERS) == {"tweezer"}


@pytest.mark.parametrize(
    ("before", "bar", "sign"),
    [
        pytest.param((105, 106, 95, 96), (96, 104, 95, 103), 1, id="equal lows: bottom"),
        pytest.param((105, 106, 95, 96), (96, 104, 95.5, 103), 1, id="lows as near as is equal: bottom"),
        pytest.param((105, 106, 95, 96), (96, 104, 95.51, 103), 0, id="lows further apart: none"),
        pytest.param((105, 106, 95, 96), (103, 104, 95, 96), 0, id="both black: none"),
        pytest.param((96, 106, 95, 105), (105, 106, 97, 98), -1, id="equal highs: top"),
        pytest.param((96, 106, 95, 105), (105, 106.6, 97, 98), 0, id="highs further apart: none"),
        pytest.param((96, 106, 95, 105), (105, 108, 95, 98), 0, id="equal lows, white first: none"),
    ],
)
def test_tweezers_are_two_bars_of_opposite_colours_with_equal_ends(
    before: tuple[float, float, float, float], bar: tuple[float, float, float, float], sign: int
) -> None:
    assert compute(candles(*USUAL, before, bar), MINUTES)["tweezer"][-1] == sign


@pytest.mark.parametrize("name", PATTERNS)
def test_before_13_bars_a_pattern_is_unknown(name: str, market: Bars) -> None:
    found = compute(market[:40], MINUTES)[name]
    assert np.isnan(found[:13]).all()
    assert not np.isnan(found[13:]).any()


def test_after_a_bar_without_prices_patterns_are_unknown_for_13_bars(market: Bars) -> None:
    broken = market[:60].copy()
    broken["high"][30] = np.nan
    found = compute(broken, MINUTES)
    for name in PATTERNS:
        assert np.isnan(found[name][30:44]).all()
        np.testing.assert_array_equal(found[name][44:], compute(broken[31:], MINUTES)[name][13:])


def test_where_nothing_moves_every_bar_is_a_doji_and_no_more() -> None:
    found = compute(flat(30), MINUTES)[13:]
    # Equal lows under bars that are all white are no tweezers.
    assert {name for name in PATTERNS if found[name].any()} == {"doji"}
