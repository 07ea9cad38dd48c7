"""The simulator's instruments: names, how often each trades, and the price of each at any time.

A price is value noise: for each of a row of periods, from half a second to a year, random numbers at whole
multiples of the period with a smooth curve between them; longer periods move further, by the root of their
length, as prices do. So the price at a time needs no history.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.feeds.chance import Words, bell, fractions, grown, key, words
from tapehouse.clock import DAY, SECOND, Nanos

Codes = NDArray[np.int32]
Doubles = NDArray[np.float64]

_KNOWN = {
    "BTCUSDT": 61_800.0,
    "ETHUSDT": 2_680.0,
    "BNBUSDT": 512.0,
    "SOLUSDT": 154.0,
    "XRPUSDT": 0.6123,
    "ADAUSDT": 0.3391,
    "DOGEUSDT": 0.1056,
    "LTCUSDT": 61.4,
}
_CONSONANTS, _VOWELS = "BCDFGHJKLMNPRSTVWXYZ", "AEIOU"
_SYLLABLES = len(_CONSONANTS) * len(_VOWELS)
_STRIDE = 381_697
"""Shares no factor with the number of names of three syllables, so that no two indices have one name."""

_SLOW = tuple(2 * 4**octave for octave in range(13))
"""Periods in s, looked at on whole seconds."""
_FAST = SECOND // 2
"""Period in ns, looked at any time."""
_CALIBRATION = 1.1
"""Makes the standard deviation of a day's change an instrument's volatility."""
_START, _VOLATILITY, _SPREAD, _SIZE, _LEVEL = 11, 12, 13, 14, 15


class Instruments:
    """`count` instruments, the same for the same seed."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.names = tuple(_name(index) for index in range(count))
        places = np.arange(count)
        starts = np.array([_start(index, seed) for index in range(count)])
        for index, price in enumerate(_KNOWN.values()):
            if index < count:
                starts[index] = price
        self._starts = starts
        self._volatility = 0.01 + 0.04 * fractions(words(places, key(seed, _VOLATILITY)))
        self._half_spread = 0.00002 + 0.0002 * fractions(words(places, key(seed, _SPREAD)))
        digits = np.array([len(str(int(start))) if start >= 1 else 0 for start in starts])
        self._price_steps = 10.0 ** np.clip(6 - digits, 0, 8)
        self._typical_sizes = 500 / starts
        self._size_steps = 10.0 ** np.clip(digits, 0, 8)
        self._slow_keys = np.stack([words(places, key(seed, _LEVEL, period)) for period in _SLOW])
        self._fast_keys = words(places, key(seed, _LEVEL, -_FAST))
        self._first_second = 0
        self._levels_by_second = np.empty((0, count))

    def weights(self, total: int) -> NDArray[np.int64]:
        """How many of `total` ticks each instrument has, at least one: the first most, like Zipf's law."""
        share = 1 / (np.arange(self.count) + 5)
        spare = total - self.count
        counts = 1 + np.floor(share * (spare / share.sum())).astype(np.int64)
        counts[: total - int(counts.sum())] += 1
        return np.asarray(counts)

    def prices(self, codes: Codes, times: Nanos, sides: NDArray[np.int8]) -> Doubles:
        """Trade prices on the instruments' grids, above 0; `times` rising."""
        move = self._slow(codes, times)
        move += _noise(times, _FAST, self._fast_keys[codes]) * _amplitude(_FAST)
        move *= self._volatility[codes]
        traded = self._starts[codes] * grown(move) * (1 + sides * self._half_spread[codes])
        return self._on_grid(traded, self._price_steps[codes])

    def sizes(self, codes: Codes, chance: Words) -> Doubles:
        """Trade sizes on the instruments' grids, above 0, spread like the lognormal distribution."""
        return self._on_grid(self._typical_sizes[codes] * grown(bell(chance)), self._size_steps[codes])

    @staticmethod
    def _on_grid(values: Doubles, steps: Doubles) -> Doubles:
        """The multiple of 1 / step nearest to each value, as its nearest double, and above 0."""
        counts = values * steps
        np.rint(counts, out=counts)
        np.maximum(counts, 1, out=counts)
        counts /= steps
        return counts

    def _slow(self, codes: Codes, times: Nanos) -> Doubles:
        """The sum of the slow octaves: straight lines between whole seconds."""
        seconds = times // SECOND
        part = (times - seconds * SECOND) * (1 / SECOND)
        first, last = int(seconds[0]), int(seconds[-1])
        if (last - first + 2) * self.count <= 2 * len(codes):
            levels = self._every_second(first, last + 2).ravel()
            at = (seconds - first) * self.count + codes
            before, after = levels[at], levels[at + self.count]
        else:
            keys = self._slow_keys[:, codes]
            before, after = _levels(seconds, keys), _levels(seconds + 1, keys)
        moving: Doubles = after - before
        moving *= part
        moving += before
        return moving

    def _every_second(self, start: int, stop: int) -> Doubles:
        """Levels of all instruments at seconds start to stop (exclusive); the last call's are reused."""
        known = self._levels_by_second[max(start - self._first_second, 0) :][: stop - start]
        if start < self._first_second:
            known = known[:0]
        missing = np.arange(start + len(known), stop, dtype=np.int64)[:, None]
        if len(missing):
            known = np.concatenate((known, _levels(missing, self._slow_keys[:, None, :])))
            self._first_second, self._levels_by_second = start, known
        return known


def _levels(seconds: NDArray[np.int64], keys: Words) -> Doubles:
    total = _noise(seconds, _SLOW[0], keys[0]) * _amplitude(_SLOW[0] * SECOND)
    for period, period_keys in zip(_SLOW[1:], keys[1:], strict=True):
        total += _noise(seconds, period, period_keys) * _amplitude(period * SECOND)
    return total


def _noise(times: NDArray[np.int64], period: int, keys: Words) -> Doubles:
    """Value noise from -1 to 1: random at multiples of the period, smooth between."""
    cells = times // period
    part = (times - cells * period) * (1 / period)
    before, after = fractions(words(cells, keys)), fractions(words(cells + 1, keys))
    after -= before
    after *= part * part * (3 - 2 * part)
    after += before
    after *= 2
    after -= 1
    return after


def _amplitude(period_ns: int) -> float:
    return _CALIBRATION * float(np.sqrt(period_ns / DAY))


def _name(index: int) -> str:
    if index < len(_KNOWN):
        return list(_KNOWN)[index]
    number = index * _STRIDE % _SYLLABLES**3
    name = ""
    for _ in range(3):
        number, syllable = divmod(number, _SYLLABLES)
        name += _CONSONANTS[syllable // len(_VOWELS)] + _VOWELS[syllable % len(_VOWELS)]
    return name + "USDT"


def _start(index: int, seed: int) -> float:
    """A price from 0.01 to 1,000, each order of magnitude as likely, of four digits."""
    power, digits = divmod(key(seed, _START, index) % (5 * 9_000), 9_000)
    return float((1_000 + digits) * 10.0 ** (power - 5))
