"""All features of a bar, live and over a span, against the TA-Lib functions of those that TA-Lib has.

`live`: us for one closed bar, one call for the newest bar with its UTC day (1-minute bars at noon, 15-second bars at
the end of the day) and the 512 bars before. `span`: us a bar over 20,000 bars. The peer computes less: 28 calls for 33
of the 44 features, live over the same 513 bars. Ours and the peer take turns; figures are medians of the turns' means,
and `ratio` is the worse of the two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import talib
from numpy.typing import NDArray

from tapehouse.clock import DAY, INTERVALS, MINUTE, SECOND
from tapehouse.features.candle import FEATURES, WARM_UP, compute

# Turns of about a millisecond: other work on the machine interrupts few of them.
_TURNS = 101
_CALLS = 40
_SPAN = 20_000
_FIELDS = ("open", "high", "low", "close", "volume", "turnover", "buy_volume")
_BAR = np.dtype([("ts", "<i8"), ("trades", "<i8"), *((name, "<f8") for name in _FIELDS)])
_PATTERNS = (
    talib.CDLDOJI,
    talib.CDLHAMMER,
    talib.CDLHANGINGMAN,
    talib.CDLINVERTEDHAMMER,
    talib.CDLSHOOTINGSTAR,
    talib.CDLSPINNINGTOP,
    talib.CDLMARUBOZU,
    talib.CDLENGULFING,
    talib.CDLHARAMI,
    talib.CDLPIERCING,
    talib.CDLDARKCLOUDCOVER,
    talib.CDLMORNINGSTAR,
    talib.CDLEVENINGSTAR,
    talib.CDL3WHITESOLDIERS,
    talib.CDL3BLACKCROWS,
)


def measure() -> dict[str, Any]:
    """Medians in us; the four take turns."""
    minutes, quarters = INTERVALS["1m"], INTERVALS["15s"]
    span = _bars(_SPAN, MINUTE)
    noon = span[: 10 * 1440 + 720]
    late = _bars(2 * 5760 - 1, 15 * SECOND)
    columns = [span[name].copy() for name in ("open", "high", "low", "close", "volume")]
    recent = [noon[name][-WARM_UP - 1 :].copy() for name in ("open", "high", "low", "close", "volume")]

    day, long_day = noon[-720 - WARM_UP :], late[-5759:]
    ways: dict[str, tuple[Callable[[], object], int, int]] = {
        "live_us": (lambda: compute(day, minutes, len(day) - 1), _CALLS, 1),
        "live_15s_us": (lambda: compute(long_day, quarters, len(long_day) - 1), _CALLS, 1),
        "peer_live_us": (lambda: _talib(*recent), _CALLS, 1),
        "span_us": (lambda: compute(span, minutes), 1, _SPAN),
        "peer_span_us": (lambda: _talib(*columns), 1, _SPAN),
    }
    # The first call of each compiles or loads kernels.
    for way, _, _ in ways.values():
        way()
    turns: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_TURNS):
        for name, (way, calls, candles) in ways.items():
            turns[name].append(_us(way, calls) / candles)
    medians = {name: statistics.median(taken) for name, taken in turns.items()}
    ratios = medians["live_us"] / medians["peer_live_us"], medians["span_us"] / medians["peer_span_us"]
    return {
        "features": len(FEATURES),
        **{name: round(us, 3 if "span" in name else 1) for name, us in medians.items()},
        "peer": f"TA-Lib {talib.__version__}, 28 functions",
        "ratio_live": round(ratios[0], 3),
        "ratio_span": round(ratios[1], 3),
        "ratio": round(max(ratios), 3),
    }


def _talib(
    open_: NDArray[np.float64],
    high: NDArray[np.float64],
    low: NDArray[np.float64],
    close: NDArray[np.float64],
    volume: NDArray[np.float64],
) -> None:
    talib.ROCP(close, 1)
    talib.TRANGE(high, low, close)
    talib.BBANDS(close, 20, 2, 2)
    # The default averages are plain means, like ours.
    talib.STOCH(high, low, close, 14, 3, slowd_period=3)
    talib.ATR(high, low, close, 14)
    talib.RSI(close, 14)
    talib.EMA(close, 20)
    talib.EMA(close, 50)
    talib.MACD(close, 12, 26, 9)
    talib.PLUS_DI(high, low, close, 14)
    talib.MINUS_DI(high, low, close, 14)
    talib.ADX(high, low, close, 14)
    talib.OBV(close, volume)
    for pattern in _PATTERNS:
        pattern(open_, high, low, close)


def _bars(count: int, step: int) -> NDArray[np.void]:
    """A random walk of bars from midnight on."""
    random = np.random.default_rng(1)
    bars = np.zeros(count, _BAR)
    bars["ts"] = 19_945 * DAY + np.arange(count) * step
    bars["close"] = 60_000 * np.exp(np.cumsum(random.normal(0, 5e-4, count)))
    bars["open"] = bars["close"] * np.exp(random.normal(0, 5e-4, count))
    bars["high"] = np.maximum(bars["open"], bars["close"]) * np.exp(random.exponential(2e-4, count))
    bars["low"] = np.minimum(bars["open"], bars["close"]) / np.exp(random.exponential(2e-4, count))
    bars["volume"] = random.exponential(5, count)
    bars["turnover"] = bars["volume"] * bars["close"]
    bars["buy_volume"] = bars["volume"] * random.random(count)
    bars["trades"] = random.integers(1, 500, count)
    return bars


def _us(call: Callable[[], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) * 1e6 / calls
