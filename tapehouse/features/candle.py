"""The features of a bar, by one function for live bars, history and any span of it.

`FEATURES` lists them with unit, formula and source. Each depends on at most the `WARM_UP` bars before its own, or on
its UTC day: `compute` over a span with its warm-up returns what it returns over all of history, exactly, but for
exponential averages, which agree to 1e-6. Windows count bars, not time: an empty interval has no bar.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import Interval, iso
from tapehouse.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

BarArray = NDArray[np.void]
Doubles = NDArray[np.float64]
FeatureKind = Literal["exact", "exponential", "day", "quote", "pattern"]

WARM_UP: Final = 512
"""Bars that `compute` needs before the first requested one, to return the same as with all of history."""


@dataclass(frozen=True)
class Feature:
    """One number of a bar. In formulas `p` is the bar before; sum and mean over n: of n bars, this one the last."""

    name: str
    unit: str
    formula: str
    source: str
    kind: FeatureKind
    needs: int
    """Bars that must be before it in the series; with fewer it is NaN."""
    group: str


# fmt: off
_NUMBERS = (
    Feature("return", "fraction", "close / p.close - 1",
            "TA-Lib ROCP(1)", "exact", 1, "returns"),
    Feature("log_return", "fraction", "ln(close / p.close); NaN unless both are above 0",
            "Campbell, Lo, MacKinlay 1997, 1.4", "exact", 1, "returns"),
    Feature("true_range", "price", "max(high - low, |high - p.close|, |low - p.close|)",
            "Wilder 1978; TA-Lib TRANGE", "exact", 1, "volatility"),
    Feature("realised_volatility_20", "fraction", "sqrt(sum over 20 of log_return^2), not annualised",
            "Andersen, Bollerslev 1998", "exact", 20, "volatility"),
    Feature("bollinger_position", "0 lower, 1 upper band",
            "(close - lower) / (upper - lower); the bands are mean over 20 of close -+ 2 population deviations",
            "Bollinger 2001, %b; TA-Lib BBANDS(20, 2, 2)", "exact", 19, "volatility"),
    Feature("bollinger_width", "fraction", "(upper - lower) / middle of the same bands",
            "Bollinger 2001, BandWidth; TA-Lib BBANDS(20, 2, 2)", "exact", 19, "volatility"),
    Feature("stochastic_k", "0..100",
            "mean over 3 of 100 (close - lowest 14) / (highest 14 - lowest 14), which is 0 where these are equal",
            "Lane 1984; TA-Lib STOCH(14, 3, 3)", "exact", 17, "momentum"),
    Feature("stochastic_d", "0..100", "mean over 3 of stochastic_k",
            "Lane 1984; TA-Lib STOCH(14, 3, 3)", "exact", 17, "momentum"),
    Feature("order_flow_imbalance", "-1..1",
            "(2 buy_volume - volume) / volume: volume that no buyer took counts as sold",
            "Chordia, Roll, Subrahmanyam 2002, of trades", "exact", 0, "flow"),
    Feature("trade_intensity", "trades/s", "trades / length of the bar",
            "Engle, Russell 1998, mean over the bar", "exact", 0, "flow"),
    Feature("average_trade_size", "size", "volume / trades",
            "Easley, O'Hara 1987", "exact", 0, "flow"),
    Feature("atr_14", "price", "Wilder mean over 14 of true_range",
            "Wilder 1978; TA-Lib ATR(14)", "exponential", 14, "volatility"),
    Feature("rsi_14", "0..100",
            "50 + 50 (u - d) / max(u + d, 1e-8 |close|); u, d: Wilder means over 14 of the closes' rises and falls",
            "Wilder 1978; TA-Lib RSI(14)", "exponential", 14, "momentum"),
    Feature("ema_20", "price", "e + 2/21 (close - e), starting with the mean of 20",
            "Brown 1959; TA-Lib EMA(20)", "exponential", 19, "trend"),
    Feature("ema_50", "price", "e + 2/51 (close - e), starting with the mean of 50",
            "Brown 1959; TA-Lib EMA(50)", "exponential", 49, "trend"),
    Feature("macd", "price", "EMA over 12 - EMA over 26 of close",
            "Appel 1979; TA-Lib MACD(12, 26, 9)", "exponential", 33, "trend"),
    Feature("macd_signal", "price", "EMA over 9 of macd",
            "Appel 1979; TA-Lib MACD(12, 26, 9)", "exponential", 33, "trend"),
    Feature("macd_histogram", "price", "macd - macd_signal",
            "Aspray 1986; TA-Lib MACD(12, 26, 9)", "exponential", 33, "trend"),
    Feature("plus_di_14", "0..100",
            "100 Wilder sum over 14 of the highs' rises where they exceed the lows' falls / that of true_range",
            "Wilder 1978; TA-Lib PLUS_DI(14)", "exponential", 14, "trend"),
    Feature("minus_di_14", "0..100",
            "100 Wilder sum over 14 of the lows' falls where they exceed the highs' rises / that of true_range",
            "Wilder 1978; TA-Lib MINUS_DI(14)", "exponential", 14, "trend"),
    Feature("adx_14", "0..100", "Wilder mean over 14 of 100 |plus_di - minus_di| / (plus_di + minus_di)",
            "Wilder 1978; TA-Lib ADX(14)", "exponential", 27, "trend"),
    Feature("vwap_day", "price", "sum of turnover / sum of volume since 00:00 UTC",
            "Berkowitz, Logue, Noser 1988", "day", 0, "day"),
    Feature("vwap_deviation", "fraction", "close / vwap_day - 1",
            "Berkowitz, Logue, Noser 1988", "day", 0, "day"),
    Feature("obv_day", "size", "volume of the day's first bar, then + or - volume as close is above or below p.close",
            "Granville 1963; TA-Lib OBV of the day", "day", 0, "day"),
    Feature("cvd_day", "size", "sum of 2 buy_volume - volume since 00:00 UTC",
            "cumulative volume delta; of trades, as order_flow_imbalance", "day", 0, "day"),
    Feature("mid", "price", "(bid + ask) / 2 at the bar's end",
            "Harris 2003, ch. 14", "quote", 0, "quote"),
    Feature("spread", "price", "ask - bid at the bar's end",
            "Harris 2003, ch. 14", "quote", 0, "quote"),
    Feature("spread_bps", "bp", "10,000 spread / mid",
            "Harris 2003, ch. 14", "quote", 0, "quote"),
)
_PATTERNS = (
    ("doji", "a body of at most a tenth of the usual range; 1, without direction", "CDLDOJI"),
    ("hammer", "a short body with a longer lower shadow and no upper one, near the low before", "CDLHAMMER"),
    ("hanging_man", "a hammer's shape near or above the high before", "CDLHANGINGMAN"),
    ("inverted_hammer", "a short body with a longer upper shadow and no lower one, below the body before",
     "CDLINVERTEDHAMMER"),
    ("shooting_star", "an inverted hammer's shape above the body before", "CDLSHOOTINGSTAR"),
    ("spinning_top", "a short body between two longer shadows", "CDLSPINNINGTOP"),
    ("marubozu", "a long body with hardly any shadows", "CDLMARUBOZU"),
    ("engulfing", "a body around the one before, of the other colour", "CDLENGULFING"),
    ("harami", "a short body inside the long one before", "CDLHARAMI"),
    ("piercing_line", "after a long black body a long white one, from below its low to above its middle",
     "CDLPIERCING"),
    ("dark_cloud_cover", "after a long white body a black one, from above its high to below its middle",
     "CDLDARKCLOUDCOVER"),
    ("tweezer", "black then white with equal lows: 1; white then black with equal highs: -1", ""),
    ("morning_star", "a long black body, a short one below it, a white one back over 0.3 of the first",
     "CDLMORNINGSTAR"),
    ("evening_star", "a long white body, a short one above it, a black one back over 0.3 of the first",
     "CDLEVENINGSTAR"),
    ("three_white_soldiers", "three white bars, each from in or near the body before to a higher close",
     "CDL3WHITESOLDIERS"),
    ("three_black_crows", "after a white bar three black ones, each from in the body before to a lower close",
     "CDL3BLACKCROWS"),
)
# fmt: on
FEATURES: Final = (
    *_NUMBERS,
    *(
        Feature(
            name,
            "-1 bearish, 0 none, 1 bullish",
            formula,
            f"Nison 1991; TA-Lib {peer}" if peer else "Nison 1991",
            "pattern",
            13,
            "patterns",
        )
        for name, formula, peer in _PATTERNS
    ),
)  # fmt: skip
ROW: Final = np.dtype([(feature.name, "<f8") for feature in FEATURES])
"""A row of features: a float64 each, also for patterns."""

_NONE = np.empty(0)


@functools.cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    # numba takes half a second to import: import it only to compute.
    from tapehouse.features import candlesticks, indicators

    return indicators.fill, candlesticks.fill


def compute(
    bars: BarArray,
    interval: Interval,
    start: int = 0,
    bid: Doubles | None = None,
    ask: Doubles | None = None,
    *,
    starts_day: bool = False,
) -> NDArray[np.void]:
    """The features of `bars[start:]`: ROW [len(bars) - start]; the bars before `start` are warm-up only.

    `bars`: one series, ascending by `ts` (ns UTC); any structured array with ts, open, high, low, close, volume,
    turnover, trades and buy_volume (ts and trades int64, the others float64). Pass NaN as `buy_volume` where the venue
    does not tell the aggressor's side. `bid`, `ask`: float64 [len(bars)], the best quote at each bar's end, NaN where
    there is none.

    Features that accumulate over the UTC day are NaN until the day's first bar is known to be among `bars`: the first
    one after a bar of an earlier day, one that starts at 00:00, or `bars[0]` with `starts_day`. Undefined values (too
    few bars before, no volume, no range) are NaN; none is infinite. A mean move below 1e-8 of the close counts as no
    move: RSI tends to 50, DI and ADX to 0. A bar with prices that are not finite or beyond the model's bounds has no
    price features, and bars after it are treated as if the series started with them.

    Raises UsageError when `start` is outside 0 to len(bars) or the quotes are of another length.
    """
    if not 0 <= start <= len(bars):
        raise UsageError(f"start: expected 0 to {len(bars)}, was {start}", start=start)
    if bid is None or ask is None:
        bid = ask = _NONE
    elif not len(bid) == len(ask) == len(bars):
        raise UsageError(f"bid, ask: expected {len(bars)} of each, was {len(bid)} and {len(ask)}")
    numbers, patterns = _kernels()
    out = np.empty((len(bars) - start, len(FEATURES)))
    ts = bars["ts"]
    prices = bars["open"], bars["high"], bars["low"], bars["close"]
    flows = bars["volume"], bars["turnover"], bars["trades"], bars["buy_volume"]
    numbers(ts, interval.following(ts[start:]), *prices, *flows, bid, ask, start, starts_day, out)
    patterns(*prices, start, out)
    return np.ndarray((len(out),), ROW, out)


def features_frame(
    bars: BarArray,
    interval: Interval,
    start: int = 0,
    bid: Doubles | None = None,
    ask: Doubles | None = None,
    *,
    starts_day: bool = False,
) -> pl.DataFrame:
    """`compute` as a polars frame: `ts` (ns, UTC) and a column a feature, null where undefined; patterns are Int8."""
    import polars as pl

    rows = compute(bars, interval, start, bid, ask, starts_day=starts_day)
    columns: list[pl.Series] = [pl.Series("ts", bars["ts"][start:]).cast(pl.Datetime("ns", "UTC"))]
    for feature in FEATURES:
        column = pl.Series(feature.name, rows[feature.name], nan_to_null=True)
        columns.append(column.cast(pl.Int8) if feature.kind == "pattern" else column)
    return pl.DataFrame(columns)


_BAR = ("open", "high", "low", "close", "volume", "turnover", "trades", "buy_volume")
_GROUPS = tuple(dict.fromkeys(feature.group for feature in _NUMBERS))


def document(bar: np.void, features: np.void, venue: str, symbol: str, interval: Interval) -> dict[str, Any]:
    """A self-contained description of one bar and its features, ready for JSON, at most about 2 KB.

    `bar` is a row of bars, `features` its `ROW`. The document has groups of numbers (8 significant digits, None where
    undefined), the features of each unit, and the patterns found with their direction; `patterns` is None where too
    few bars are before the bar.
    """
    ts = int(bar["ts"])
    found: dict[str, Any] = {
        "venue": venue,
        "symbol": symbol,
        "interval": interval.name,
        "start": iso(ts),
        "end": iso(int(interval.following(np.int64(ts)))),  # type: ignore[arg-type]
        "candle": {name: _number(bar[name].item()) for name in _BAR},
    }
    for group in _GROUPS:
        found[group] = {
            feature.name: _number(float(f"{features[feature.name]:.8g}"))
            for feature in _NUMBERS
            if feature.group == group
        }
    found["patterns"] = _patterns(features)
    units: dict[str, str] = {}
    for feature in _NUMBERS:
        units[feature.unit] = (
            f"{units[feature.unit]} {feature.name}" if feature.unit in units else feature.name
        )
    found["units"] = units
    return found


def _patterns(features: np.void) -> list[dict[str, str]] | None:
    signs = {name: float(features[name]) for name, _, _ in _PATTERNS}
    if any(math.isnan(sign) for sign in signs.values()):
        return None
    directions = {name: "bullish" if sign > 0 else "bearish" for name, sign in signs.items() if sign}
    if "doji" in directions:
        directions["doji"] = "neutral"
    return [{"name": name, "direction": direction} for name, direction in directions.items()]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
