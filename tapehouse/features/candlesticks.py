"""Sixteen classic candlestick patterns, computed by one compiled function.

Whether a body is long or a shadow short is relative to means over the 10 (or 5) bars before a bar. These are summed
anew for each bar, so that a pattern depends on at most 13 bars before it whatever the span.

Definitions and thresholds are those of TA-Lib's CDL functions, which go back to Nison, Japanese Candlestick Charting
Techniques (1991) and Morris, Candlestick Charting Explained (1995); its 80, for bodies with one end in common, is 1
here like its 100. Tweezers, which it lacks, are Nison's. No pattern considers the trend before it. A bar that closes
where it opened is white. The 13 bars after a bar with invalid prices have no patterns.
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

NEEDS: Final = 13
WIDTH: Final = 16
(
    DOJI, HAMMER, HANGING_MAN, INVERTED_HAMMER, SHOOTING_STAR, SPINNING_TOP, MARUBOZU,
    ENGULFING, HARAMI, PIERCING_LINE, DARK_CLOUD_COVER, TWEEZER,
    MORNING_STAR, EVENING_STAR, THREE_WHITE_SOLDIERS, THREE_BLACK_CROWS,
) = range(WIDTH)  # fmt: skip

_F = types.Array(types.float64, 1, "A", readonly=True, aligned=False)
_OUT = types.Array(types.float64, 2, "C")

# Columns of the traits: measures of a bar, and thresholds from the bars before it.
_TRAITS = 11
_BODY, _TOP, _BOTTOM, _UPPER, _LOWER, _COLOUR, _USUAL, _TINY, _EQUAL, _NEAR, _FAR = range(_TRAITS)


@numba.njit(nogil=True, error_model="numpy")
def _has_valid_prices(open_: float, high: float, low: float, close: float) -> bool:
    return (
        abs(open_) <= PRICE_MAX
        and abs(high) <= PRICE_MAX
        and abs(low) <= PRICE_MAX
        and abs(close) <= PRICE_MAX
    )


@numba.njit(nogil=True, error_model="numpy")
def _describe(open_: Doubles, high: Doubles, low: Doubles, close: Doubles, i: int, bar: Doubles) -> None:
    """The traits of bar `i`, which has 10 bars before it."""
    bar[_BODY] = abs(close[i] - open_[i])
    bar[_TOP] = max(open_[i], close[i])
    bar[_BOTTOM] = min(open_[i], close[i])
    bar[_UPPER] = high[i] - bar[_TOP]
    bar[_LOWER] = bar[_BOTTOM] - low[i]
    bar[_COLOUR] = 1.0 if close[i] >= open_[i] else -1.0
    bodies = ranges = late_ranges = 0.0
    for j in range(i - 10, i):
        bodies += abs(close[j] - open_[j])
        ranges += high[j] - low[j]
    for j in range(i - 5, i):
        late_ranges += high[j] - low[j]
    # A body above it is long, one below it short.
    bar[_USUAL] = bodies / 10
    # A doji's body and a very short shadow have one bound.
    bar[_TINY] = 0.1 * (ranges / 10)
    bar[_EQUAL] = 0.05 * (late_ranges / 5)
    bar[_NEAR] = 0.2 * (late_ranges / 5)
    bar[_FAR] = 0.6 * (late_ranges / 5)


@numba.njit(nogil=True, error_model="numpy")
def _single_bar_patterns(bar: Doubles, row: Doubles) -> None:
    """Patterns of a single bar."""
    row[DOJI] = 1.0 if bar[_BODY] <= bar[_TINY] else 0.0
    if bar[_BODY] < bar[_USUAL] and bar[_UPPER] > bar[_BODY] and bar[_LOWER] > bar[_BODY]:
        row[SPINNING_TOP] = bar[_COLOUR]
    if bar[_BODY] > bar[_USUAL] and bar[_UPPER] < bar[_TINY] and bar[_LOWER] < bar[_TINY]:
        row[MARUBOZU] = bar[_COLOUR]


@numba.njit(nogil=True, error_model="numpy")
def _long_shadow(before: Doubles, bar: Doubles, high: float, low: float, row: Doubles) -> None:
    """A small body with one long shadow, by its place relative to the bar before, whose high and low are given."""
    if bar[_BODY] >= bar[_USUAL]:
        return
    if bar[_LOWER] > bar[_BODY] and bar[_UPPER] < bar[_TINY]:
        row[HAMMER] = 1.0 if bar[_BOTTOM] <= low + before[_NEAR] else 0.0
        row[HANGING_MAN] = -1.0 if bar[_BOTTOM] >= high - before[_NEAR] else 0.0
    if bar[_UPPER] > bar[_BODY] and bar[_LOWER] < bar[_TINY]:
        row[INVERTED_HAMMER] = 1.0 if bar[_TOP] < before[_BOTTOM] else 0.0
        row[SHOOTING_STAR] = -1.0 if bar[_BOTTOM] > before[_TOP] else 0.0


@numba.njit(nogil=True, error_model="numpy")
def _body_patterns(before: Doubles, bar: Doubles, row: Doubles) -> None:
    """Engulfing: of the other colour and around the body before; harami: a short body inside a long one.

    One end may be equal; for a harami both.
    """
    covers = bar[_TOP] >= before[_TOP] and bar[_BOTTOM] <= before[_BOTTOM]
    within = bar[_TOP] <= before[_TOP] and bar[_BOTTOM] >= before[_BOTTOM]
    if covers and not within and bar[_COLOUR] != before[_COLOUR]:
        row[ENGULFING] = bar[_COLOUR]
    if within and before[_BODY] > before[_USUAL] and bar[_BODY] <= bar[_USUAL]:
        row[HARAMI] = -before[_COLOUR]


@numba.njit(nogil=True, error_model="numpy")
def _reversal_patterns(
    before: Doubles, bar: Doubles, high: Doubles, low: Doubles, i: int, row: Doubles
) -> None:
    """Piercing line and dark cloud cover: opens beyond the bar of a long body, closes beyond its middle.

    Tweezer: two bars of opposite colours with equal lows (1) or equal highs (-1).
    """
    if before[_COLOUR] == bar[_COLOUR]:
        return
    if bar[_COLOUR] > 0:
        row[TWEEZER] = 1.0 if abs(low[i] - low[i - 1]) <= before[_EQUAL] else 0.0
    else:
        row[TWEEZER] = -1.0 if abs(high[i] - high[i - 1]) <= before[_EQUAL] else 0.0
    if before[_BODY] <= before[_USUAL]:
        return
    if bar[_COLOUR] > 0:
        beyond = bar[_BOTTOM] < low[i - 1] and bar[_BODY] > bar[_USUAL]
        middle = before[_BOTTOM] + before[_BODY] * 0.5
        row[PIERCING_LINE] = 1.0 if beyond and middle < bar[_TOP] < before[_TOP] else 0.0
    else:
        middle = before[_TOP] - before[_BODY] * 0.5
        beyond = bar[_TOP] > high[i - 1]
        row[DARK_CLOUD_COVER] = -1.0 if beyond and before[_BOTTOM] < bar[_BOTTOM] < middle else 0.0


@numba.njit(nogil=True, error_model="numpy")
def _stars(first: Doubles, star: Doubles, bar: Doubles, row: Doubles) -> None:
    """A long body, a short one beyond a gap, and one of the other colour back over 0.3 of the first."""
    large = first[_BODY] > first[_USUAL] and bar[_BODY] > bar[_USUAL]
    if not large or star[_BODY] > star[_USUAL] or first[_COLOUR] == bar[_COLOUR]:
        return
    if bar[_COLOUR] > 0:
        back = bar[_TOP] > first[_BOTTOM] + first[_BODY] * 0.3
        row[MORNING_STAR] = 1.0 if star[_TOP] < first[_BOTTOM] and back else 0.0
    else:
        back = bar[_BOTTOM] < first[_TOP] - first[_BODY] * 0.3
        row[EVENING_STAR] = -1.0 if star[_BOTTOM] > first[_TOP] and back else 0.0


@numba.njit(nogil=True, error_model="numpy")
def _advances(before: Doubles, bar: Doubles) -> bool:
    """A white bar that opened in or near the white body before, closed higher, and is not far shorter."""
    return bool(
        bar[_COLOUR] > 0
        and bar[_UPPER] < bar[_TINY]
        and bar[_TOP] > before[_TOP]
        and before[_BOTTOM] < bar[_BOTTOM] <= before[_TOP] + before[_NEAR]
        and bar[_BODY] > before[_BODY] - before[_FAR]
    )


@numba.njit(nogil=True, error_model="numpy")
def _declines(before: Doubles, bar: Doubles) -> bool:
    """A black bar that opened in the black body before and closed lower."""
    return bool(
        bar[_COLOUR] < 0
        and bar[_LOWER] < bar[_TINY]
        and bar[_BOTTOM] < before[_BOTTOM]
        and before[_BOTTOM] < bar[_TOP] < before[_TOP]
    )


@numba.njit(nogil=True, error_model="numpy")
def _three_bar_runs(bars: Doubles, k: int, high_before: float, row: Doubles) -> None:
    """Three white soldiers, and three black crows after a white bar whose high is given."""
    one, two, three = bars[k - 2], bars[k - 1], bars[k]
    if one[_COLOUR] > 0:
        soldiers = one[_UPPER] < one[_TINY] and _advances(one, two) and _advances(two, three)
        row[THREE_WHITE_SOLDIERS] = 1.0 if soldiers and three[_BODY] > three[_USUAL] else 0.0
    elif bars[k - 3, _COLOUR] > 0:
        crows = one[_LOWER] < one[_TINY] and _declines(one, two) and _declines(two, three)
        row[THREE_BLACK_CROWS] = -1.0 if crows and high_before > one[_BOTTOM] else 0.0


@numba.njit(nogil=True, error_model="numpy")
def _run(
    open_: Doubles, high: Doubles, low: Doubles, close: Doubles,
    first: int, end: int, start: int, out: Doubles,
) -> None:  # fmt: skip
    begin = max(start, first + NEEDS)
    lead = begin - 3
    bars = np.empty((max(end - lead, 0), _TRAITS))
    for i in range(lead, end):
        _describe(open_, high, low, close, i, bars[i - lead])
    for i in range(begin, end):
        row, k = out[i - start], i - lead
        row[:] = 0.0
        _single_bar_patterns(bars[k], row)
        _long_shadow(bars[k - 1], bars[k], high[i - 1], low[i - 1], row)
        _body_patterns(bars[k - 1], bars[k], row)
        _reversal_patterns(bars[k - 1], bars[k], high, low, i, row)
        _stars(bars[k - 2], bars[k - 1], bars[k], row)
        _three_bar_runs(bars, k, high[i - 3], row)


@numba.njit(
    types.void(_F, _F, _F, _F, types.int64, _OUT),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def fill(open_: Doubles, high: Doubles, low: Doubles, close: Doubles, start: int, out: Doubles) -> None:
    """Write the last WIDTH columns of `out`, a row for each bar from `start` on: 1 bullish, -1 bearish, 0 none.

    A doji is 1 and has no direction. NaN where fewer than NEEDS bars are before. All inputs have one length.
    """
    found = out[:, out.shape[1] - WIDTH :]
    found[:] = math.nan
    first = max(0, start - NEEDS)
    for i in range(first, len(close) + 1):
        if i == len(close) or not _has_valid_prices(open_[i], high[i], low[i], close[i]):
            if i - first > NEEDS:
                _run(open_, high, low, close, first, i, start, found)
            first = i + 1
