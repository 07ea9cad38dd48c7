"""Value noise: smooth random functions of time, and their least and greatest values over spans.

A price's noise is a sum over several periods, from half a second to a year: random values at multiples of the period,
interpolated smoothly; the amplitude grows with the square root of the period, as in real prices. It needs no history.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.pseudo_random import RandomWords, random_words, to_uniform
from tapehouse.clock import DAY, SECOND, Nanos

Doubles = NDArray[np.float64]

SLOW = tuple(2 * 4**octave for octave in range(13))
"""Periods in s, evaluated at whole seconds and interpolated linearly between them."""
FAST = SECOND // 2
"""Period in ns, evaluated at any time."""
_CALIBRATION = 1.1
"""Scales the standard deviation of a day's change to 1."""
_CELLS_SEARCHED = 2
"""Multiples of a period within a span that are looked at; with more of them the bounds of the noise are taken."""


def fast_noise(times: Nanos, keys: RandomWords) -> Doubles:
    """The noise of the fast period at `times`, ns UTC."""
    return _noise(times, FAST, keys) * _amplitude(FAST)


def slow_noise(seconds: NDArray[np.int64], keys: RandomWords) -> Doubles:
    """The sum of the slow periods at whole seconds; `keys` has a row for each period."""
    total = _noise(seconds, SLOW[0], keys[0]) * _amplitude(SLOW[0] * SECOND)
    for period, period_keys in zip(SLOW[1:], keys[1:], strict=True):
        total += _noise(seconds, period, period_keys) * _amplitude(period * SECOND)
    return total


def noise_bounds(
    starts: Nanos, ends: Nanos, slow_keys: NDArray[np.uint64], fast_keys: RandomWords
) -> tuple[Doubles, Doubles]:
    """Bounds of the whole noise over the spans [start, end], both inclusive, ns UTC.

    Never within the true extremes, but for rounding; near them where a span is short. Between two multiples of its
    period the noise of one period rises or falls throughout, so its extremes are at these and at the span's ends.
    """
    spans = np.stack((starts, ends))
    cells, parts = _places(spans, FAST)
    low, high = (bound * _amplitude(FAST) for bound in _period_bounds(cells, _smooth(parts), fast_keys))
    seconds = spans // SECOND
    within = (spans - seconds * SECOND) * (1 / SECOND)
    for period, keys in zip(SLOW, slow_keys, strict=True):
        cells, parts = _places(seconds, period)
        rises = _smooth(parts)
        rises += (_smooth(parts + 1 / period) - rises) * within
        least, greatest = _period_bounds(cells, rises, keys)
        low += least * _amplitude(period * SECOND)
        high += greatest * _amplitude(period * SECOND)
    return low, high


def _period_bounds(cells: NDArray[np.int64], rises: Doubles, keys: RandomWords) -> tuple[Doubles, Doubles]:
    """Bounds of one period's noise, from -1 to 1, over spans.

    A span starts in `cells[0]` and ends in `cells[1]`; `rises` says how far the noise has come there from the value
    at the multiple of the period before to that at the one after.
    """
    before, after = to_uniform(random_words(cells, keys)), to_uniform(random_words(cells + 1, keys))
    ends = before + (after - before) * rises
    low, high = np.minimum(ends[0], ends[1]), np.maximum(ends[0], ends[1])
    crossed = cells[1] - cells[0]
    rows = np.flatnonzero(crossed)
    if len(rows):
        # The first multiple of the period in the span, and the last.
        first, last = after[0, rows], before[1, rows]
        low[rows] = np.minimum(low[rows], np.minimum(first, last))
        high[rows] = np.maximum(high[rows], np.maximum(first, last))
        unknown = crossed > _CELLS_SEARCHED
        low[unknown], high[unknown] = 0, 1
    return 2 * low - 1, 2 * high - 1


def _noise(times: NDArray[np.int64], period: int, keys: RandomWords) -> Doubles:
    """Value noise from -1 to 1: random at multiples of the period, smooth between them."""
    cells, part = _places(times, period)
    before, after = to_uniform(random_words(cells, keys)), to_uniform(random_words(cells + 1, keys))
    after -= before
    after *= _smooth(part)
    after += before
    after *= 2
    after -= 1
    return after


def _places(times: NDArray[np.int64], period: int) -> tuple[NDArray[np.int64], Doubles]:
    """(number of the last multiple of the period, share of the period since then)."""
    cells = times // period
    parts = (times - cells * period).astype(np.float64)
    parts *= 1 / period
    return cells, parts


def _smooth(part: Doubles) -> Doubles:
    rise: Doubles = part * part * (3 - 2 * part)
    return rise


def _amplitude(period_ns: int) -> float:
    return _CALIBRATION * float(np.sqrt(period_ns / DAY))
