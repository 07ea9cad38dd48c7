"""Indicators: returns, averages, oscillators and flows of bars, computed by one compiled function.

`fill` writes a row of `WIDTH` numbers for every bar from `start` on, in the order of `candle.FEATURES`, which has the
formulas. Three rules make live bars, history and any span of it agree:

- An indicator with a window is computed for each row from the bars of its window, never from the row before.
- An exponential average starts at most `WARM_UP` bars before `start`, as in TA-Lib with a plain mean, which is an
  average with gain 1/count. After these bars the start of the slowest one (50 bars) has a weight below 1e-8.
- A bar with invalid prices ends a run: the bars after it are treated as if the series started with them.

In a market without moves, ratios of decaying sums would depend on bars before the warm-up. So a mean move below 1e-8
of the close counts as no move (`_least_move`).
"""

from __future__ import annotations

import math
from typing import Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from tapehouse.model import PRICE_MAX

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]

WARM_UP: Final = 512
WIDTH: Final = 28
(
    RETURN, LOG_RETURN, TRUE_RANGE, REALISED_VOLATILITY_20,
    BOLLINGER_POSITION, BOLLINGER_WIDTH, STOCHASTIC_K, STOCHASTIC_D,
    ORDER_FLOW_IMBALANCE, TRADE_INTENSITY, AVERAGE_TRADE_SIZE,
    ATR_14, RSI_14, EMA_20, EMA_50, MACD, MACD_SIGNAL, MACD_HISTOGRAM, PLUS_DI_14, MINUS_DI_14, ADX_14,
    VWAP_DAY, VWAP_DEVIATION, OBV_DAY, CVD_DAY,
    MID, SPREAD, SPREAD_BPS,
) = range(WIDTH)  # fmt: skip

_DAY = 86_400 * 1_000_000_000
_WINDOW = 20
_STOCHASTIC = 14
_WILDER = 14

# Types that accept the fields of any structured array, read-only ones too: one compilation for all layouts.
_F = types.Array(types.float64, 1, "A", readonly=True, aligned=False)
_I = types.Array(types.int64, 1, "A", readonly=True, aligned=False)
_OUT = types.Array(types.float64, 2, "C")


def _gain(count: int, alpha: float, mean_of: int) -> float:
    """The weight of the newest of `count` values: a plain mean of the first `mean_of`, `alpha` from then on."""
    return alpha if count > mean_of else 1 / max(count, 1)


def _gains() -> Doubles:
    """By the number of bars before in the run (the last row: that many or more), the gain of each average."""
    wilder = 1 / _WILDER
    return np.array(
        [
            (
                _gain(k + 1, 2 / 21, 20),
                _gain(k + 1, 2 / 51, 50),
                # The fast average starts late, so that both have their first value at the same bar.
                _gain(k - 13, 2 / 13, 12),
                _gain(k + 1, 2 / 27, 26),
                _gain(k - 24, 2 / 10, 9),
                _gain(k, wilder, _WILDER),
                # Wilder's directional movements are plain sums at first.
                1.0 if k < _WILDER else 1 - wilder,
                _gain(k - 13, wilder, _WILDER),
            )
            for k in range(52)
        ]
    )


_GAINS = _gains()
# Bars that must be before a bar in its run, for each of the ten from ATR_14 to ADX_14.
_NEEDS = np.array([14, 14, 19, 49, 33, 33, 33, 14, 14, 27])


@numba.njit(nogil=True, error_model="numpy")
def _has_valid_prices(open_: float, high: float, low: float, close: float) -> bool:
    return (
        abs(open_) <= PRICE_MAX
        and abs(high) <= PRICE_MAX
        and abs(low) <= PRICE_MAX
        and abs(close) <= PRICE_MAX
    )


@numba.njit(nogil=True, error_model="numpy")
def _ratio(a: float, b: float) -> float:
    return a / b if b != 0 else math.nan


@numba.njit(nogil=True, error_model="numpy")
def _least_move(close: float) -> float:
    return max(1e-8 * abs(close), 1e-300)


@numba.njit(nogil=True, error_model="numpy")
def _log_return(before: float, now: float) -> float:
    return math.log(now / before) if before > 0 and now > 0 else math.nan


@numba.njit(nogil=True, error_model="numpy")
def _true_range(high: float, low: float, before: float) -> float:
    return max(high - low, abs(high - before), abs(low - before))


@numba.njit(nogil=True, error_model="numpy")
def _fast_k(high: Doubles, low: Doubles, close: Doubles, i: int) -> float:
    """The close's place in the range of 14 bars, 0 to 100; 0 for an empty range, as in TA-Lib."""
    highest, lowest = high[i], low[i]
    for j in range(i - _STOCHASTIC + 1, i):
        highest = max(highest, high[j])
        lowest = min(lowest, low[j])
    return 100 * (close[i] - lowest) / (highest - lowest) if highest > lowest else 0.0


@numba.njit(nogil=True, error_model="numpy")
def _bollinger(close: Doubles, i: int, row: Doubles) -> None:
    # Sum distances from the close: they are exactly 0 where nothing moved.
    mean = 0.0
    for j in range(i - _WINDOW + 1, i + 1):
        mean += close[j] - close[i]
    mean /= _WINDOW
    variance = 0.0
    for j in range(i - _WINDOW + 1, i + 1):
        variance += (close[j] - close[i] - mean) ** 2
    deviation = math.sqrt(variance / _WINDOW)
    row[BOLLINGER_POSITION] = 0.5 - _ratio(mean, 4 * deviation)
    row[BOLLINGER_WIDTH] = _ratio(4 * deviation, close[i] + mean)


@numba.njit(nogil=True, error_model="numpy")
def _fill_windowed(
    high: Doubles, low: Doubles, close: Doubles, first: int, end: int, start: int, out: Doubles
) -> None:
    """Indicators with a window, of the run of bars from `first` to `end`, exclusive."""
    begin = max(start, first + 1)
    lead = max(first + 1, start - _WINDOW)
    logs = np.empty(max(end - lead, 0))
    for i in range(lead, end):
        logs[i - lead] = _log_return(close[i - 1], close[i])
    fast_lead = max(first + _STOCHASTIC - 1, start - 4)
    fast = np.empty(max(end - fast_lead, 0))
    for i in range(fast_lead, end):
        fast[i - fast_lead] = _fast_k(high, low, close, i)
    for i in range(begin, end):
        row = out[i - start]
        row[RETURN] = _ratio(close[i] - close[i - 1], close[i - 1])
        row[LOG_RETURN] = logs[i - lead]
        row[TRUE_RANGE] = _true_range(high[i], low[i], close[i - 1])
        if i - first >= _WINDOW - 1:
            _bollinger(close, i, row)
        if i - first >= _WINDOW:
            squares = 0.0
            for j in range(i - _WINDOW + 1, i + 1):
                squares += logs[j - lead] ** 2
            row[REALISED_VOLATILITY_20] = math.sqrt(squares)
        if i - first >= _STOCHASTIC + 3:
            k = i - fast_lead
            slow_before = (fast[k - 4] + fast[k - 3] + fast[k - 2]) / 3
            slow_previous = (fast[k - 3] + fast[k - 2] + fast[k - 1]) / 3
            slow = (fast[k - 2] + fast[k - 1] + fast[k]) / 3
            row[STOCHASTIC_K] = slow
            row[STOCHASTIC_D] = (slow_before + slow_previous + slow) / 3


@numba.njit(nogil=True, error_model="numpy")
def _fill_exponential(
    high: Doubles, low: Doubles, close: Doubles, first: int, end: int, start: int, out: Doubles
) -> None:
    """Exponential averages of the run from `first` to `end`, exclusive, in one pass so that latencies overlap."""
    ema_20 = ema_50 = fast = slow = close[first]
    signal = atr = rise = fall = moved = up = down = adx = 0.0
    for i in range(first + 1, end):
        gain = _GAINS[min(i - first, 51)]
        now, before, floor = close[i], close[i - 1], _least_move(close[i])
        ema_20 += (now - ema_20) * gain[0]
        ema_50 += (now - ema_50) * gain[1]
        fast += (now - fast) * gain[2]
        slow += (now - slow) * gain[3]
        signal += (fast - slow - signal) * gain[4]
        ranged = _true_range(high[i], low[i], before)
        atr += (ranged - atr) * gain[5]
        rise += (max(now - before, 0.0) - rise) * gain[5]
        fall += (max(before - now, 0.0) - fall) * gain[5]
        higher, lower = max(high[i] - high[i - 1], 0.0), max(low[i - 1] - low[i], 0.0)
        moved = moved * gain[6] + ranged
        up = up * gain[6] + (higher if higher > lower else 0.0)
        down = down * gain[6] + (lower if lower > higher else 0.0)
        directed = 100 * abs(up - down) / max(up + down, _WILDER * floor)
        adx += (directed - adx) * gain[7]
        if i >= start:
            moves = 100 / max(moved, _WILDER * floor)
            rsi = 50 + 50 * (rise - fall) / max(rise + fall, floor)
            out[i - start, ATR_14] = atr
            out[i - start, RSI_14] = rsi
            out[i - start, EMA_20] = ema_20
            out[i - start, EMA_50] = ema_50
            out[i - start, MACD] = fast - slow
            out[i - start, MACD_SIGNAL] = signal
            out[i - start, MACD_HISTOGRAM] = fast - slow - signal
            out[i - start, PLUS_DI_14] = up * moves
            out[i - start, MINUS_DI_14] = down * moves
            out[i - start, ADX_14] = adx
    for i in range(max(first, start), min(first + 50, end)):
        for number in range(len(_NEEDS)):
            if i - first < _NEEDS[number]:
                out[i - start, ATR_14 + number] = math.nan


@numba.njit(nogil=True, error_model="numpy")
def _add_to_sums(
    sums: tuple[float, float, float, float], before: float,
    close: float, volume: float, turnover: float, buy: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Volume, turnover, OBV and CVD with one more bar; `before` is the close before it."""
    # Two selections without a branch: a three-way branch would be mispredicted every other time.
    signed = (volume if close > before else 0.0) - (volume if close < before else 0.0)
    return sums[0] + volume, sums[1] + turnover, sums[2] + signed, sums[3] + (2 * buy - volume)


@numba.njit(nogil=True, error_model="numpy")
def _fill_day(
    ts: Longs, close: Doubles, volume: Doubles, turnover: Doubles, buy: Doubles,
    start: int, starts_day: bool, out: Doubles,
) -> None:  # fmt: skip
    """Sums from the first bar of the UTC day on; nothing is written where that bar is not known to be present."""
    midnight = ts[start] - ts[start] % _DAY
    first = np.searchsorted(ts[:start], midnight)
    known = first > 0 or starts_day or ts[first] == midnight
    past = slice(first, start)
    sums, before = (0.0, 0.0, volume[first], 0.0), close[first]
    for now, size, money, bought in zip(close[past], volume[past], turnover[past], buy[past]):  # noqa: B905
        sums = _add_to_sums(sums, before, now, size, money, bought)
        before = now
    for i in range(start, len(ts)):
        if ts[i] >= midnight + _DAY:
            known = True
            midnight = ts[i] - ts[i] % _DAY
            sums, before = (0.0, 0.0, volume[i], 0.0), close[i]
        sums = _add_to_sums(sums, before, close[i], volume[i], turnover[i], buy[i])
        before = close[i]
        if known:
            vwap = _ratio(sums[1], sums[0])
            out[i - start, VWAP_DAY] = vwap
            out[i - start, VWAP_DEVIATION] = _ratio(close[i] - vwap, vwap)
            out[i - start, OBV_DAY] = sums[2]
            out[i - start, CVD_DAY] = sums[3]


@numba.njit(
    types.void(_I, _I, _F, _F, _F, _F, _F, _F, _I, _F, _F, _F, types.int64, types.boolean, _OUT),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def fill(
    ts: Longs, ends: Longs, open_: Doubles, high: Doubles, low: Doubles, close: Doubles,
    volume: Doubles, turnover: Doubles, trades: Longs, buy: Doubles, bid: Doubles, ask: Doubles,
    start: int, starts_day: bool, out: Doubles,
) -> None:  # fmt: skip
    """Write the first WIDTH columns of `out`, a row for each bar from `start` on; undefined values are NaN.

    All inputs have one length but `ends` (ns, exclusive ends of the bars from `start` on), and `bid` and `ask`, which
    are empty when there are no quotes.
    """
    out[:, :WIDTH] = math.nan
    for i in range(start, len(ts)):
        row = out[i - start]
        row[ORDER_FLOW_IMBALANCE] = _ratio(2 * buy[i] - volume[i], volume[i])
        row[TRADE_INTENSITY] = trades[i] / ((ends[i - start] - ts[i]) * 1e-9)
        row[AVERAGE_TRADE_SIZE] = _ratio(volume[i], trades[i])
        if len(bid) > 0:
            row[MID] = (bid[i] + ask[i]) / 2
            row[SPREAD] = ask[i] - bid[i]
            row[SPREAD_BPS] = 1e4 * _ratio(row[SPREAD], row[MID])
    if start < len(ts):
        _fill_day(ts, close, volume, turnover, buy, start, starts_day, out)
    first = max(0, start - WARM_UP)
    for i in range(first, len(ts) + 1):
        if i == len(ts) or not _has_valid_prices(open_[i], high[i], low[i], close[i]):
            if i > first:
                _fill_windowed(high, low, close, first, i, start, out)
                _fill_exponential(high, low, close, first, i, start, out)
            first = i + 1
    for i in range(len(out)):
        for number in range(WIDTH):
            if not math.isfinite(out[i, number]):
                out[i, number] = math.nan
