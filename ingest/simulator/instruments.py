"""The simulator's instruments: names, trading frequencies, and the price of each at any time, by `noise`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.noise import FAST, SLOW, Doubles, fast_noise, noise_bounds, slow_noise
from ingest.simulator.pseudo_random import (
    RandomWords,
    approximate_exp,
    make_key,
    random_words,
    to_normal,
    to_uniform,
)
from tapehouse.clock import SECOND, Nanos

Codes = NDArray[np.int32]
Ticks = NDArray[np.int64]
"""Prices as multiples of the instruments' price steps."""

_WELL_KNOWN = {
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

_ROUNDING = 1e-12
"""Relative error of a computed price, at most; far below half a price step of any price."""
_START, _VOLATILITY, _SPREAD, _SIZE, _LEVEL = 11, 12, 13, 14, 15


class Instruments:
    """`count` instruments, a function of `seed`."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.names = tuple(_name(index) for index in range(count))
        places = np.arange(count)
        starts = np.array([_start_price(index, seed) for index in range(count)])
        for index, price in enumerate(_WELL_KNOWN.values()):
            if index < count:
                starts[index] = price
        self._starts = starts
        self._volatility = 0.01 + 0.04 * to_uniform(random_words(places, make_key(seed, _VOLATILITY)))
        self._half_spread = 0.00002 + 0.0002 * to_uniform(random_words(places, make_key(seed, _SPREAD)))
        digits = np.array([len(str(int(start))) if start >= 1 else 0 for start in starts])
        self._price_steps = 10.0 ** np.clip(6 - digits, 0, 8)
        self.level_gaps = np.maximum(np.rint(2 * self._half_spread * starts * self._price_steps), 1).astype(
            np.int64
        )
        """Distance of two levels of a book in price steps, by instrument."""
        self._typical_sizes = 500 / starts
        self._size_steps = 10.0 ** np.clip(digits, 0, 8)
        self._slow_keys = np.stack([random_words(places, make_key(seed, _LEVEL, period)) for period in SLOW])
        self._fast_keys = random_words(places, make_key(seed, _LEVEL, -FAST))
        self._first_second = 0
        self._levels_by_second = np.empty((0, count))

    @property
    def codes(self) -> Codes:
        """The codes of all instruments: their places among `names`."""
        return np.arange(self.count, dtype=np.int32)

    def weights(self, total: int) -> NDArray[np.int64]:
        """The number of ticks of each instrument among `total`, one or more, falling like Zipf's law."""
        share = 1 / (np.arange(self.count) + 5)
        spare = total - self.count
        counts = 1 + np.floor(share * (spare / share.sum())).astype(np.int64)
        counts[: total - int(counts.sum())] += 1
        return np.asarray(counts)

    def prices(self, codes: Codes, times: Nanos, sides: NDArray[np.int8]) -> Doubles:
        """Trade prices on the instruments' price grids, above 0; `times` in ns UTC, rising."""
        move = self._slow(codes, times)
        move += fast_noise(times, self._fast_keys[codes])
        move *= self._volatility[codes]
        traded = self._starts[codes] * approximate_exp(move) * (1 + sides * self._half_spread[codes])
        return self._on_grid(traded, self._price_steps[codes])

    def sizes(self, codes: Codes, random: RandomWords, typical: float = 1) -> Doubles:
        """Sizes on the instruments' size grids, above 0, nearly lognormal; `typical` is in sizes of a typical trade."""
        return self._on_grid(
            self._typical_sizes[codes] * typical * approximate_exp(to_normal(random)), self._size_steps[codes]
        )

    def best_ticks(self, codes: Codes, starts: Nanos, ends: Nanos) -> tuple[Ticks, Ticks]:
        """(best bids, best asks) that no trade is outside of from `starts` to `ends`, both inclusive, ns UTC.

        They are where trades of both sides are made, further apart the further the price moves meanwhile.
        """
        low, high = noise_bounds(starts, ends, self._slow_keys[:, codes], self._fast_keys[codes])
        volatility, half_spread = self._volatility[codes], self._half_spread[codes]
        scale = self._starts[codes] * self._price_steps[codes]
        bids = scale * approximate_exp(low * volatility) * (1 - half_spread) * (1 - _ROUNDING)
        asks = scale * approximate_exp(high * volatility) * (1 + half_spread) * (1 + _ROUNDING)
        best_bids = np.maximum(np.rint(bids), 1).astype(np.int64)
        return best_bids, np.maximum(np.rint(asks).astype(np.int64), best_bids + 1)

    def prices_of(self, codes: Codes, ticks: Ticks) -> Doubles:
        """Ticks as prices, the same doubles as those of trades."""
        prices: Doubles = ticks / self._price_steps[codes]
        return prices

    @staticmethod
    def _on_grid(values: Doubles, steps: Doubles) -> Doubles:
        """The nearest multiple of 1 / step above 0, as the nearest double."""
        counts = values * steps
        np.rint(counts, out=counts)
        np.maximum(counts, 1, out=counts)
        counts /= steps
        return counts

    def _slow(self, codes: Codes, times: Nanos) -> Doubles:
        """The sum of the slow periods, interpolated linearly between whole seconds."""
        seconds = times // SECOND
        part = (times - seconds * SECOND) * (1 / SECOND)
        first, last = int(seconds[0]), int(seconds[-1])
        if (last - first + 2) * self.count <= 2 * len(codes):
            levels = self._every_second(first, last + 2).ravel()
            at = (seconds - first) * self.count + codes
            before, after = levels[at], levels[at + self.count]
        else:
            keys = self._slow_keys[:, codes]
            before, after = slow_noise(seconds, keys), slow_noise(seconds + 1, keys)
        moving: Doubles = after - before
        moving *= part
        moving += before
        return moving

    def _every_second(self, start: int, stop: int) -> Doubles:
        """Levels of all instruments at seconds `start` to `stop` (exclusive); reuses those of the last call."""
        known = self._levels_by_second[max(start - self._first_second, 0) :][: stop - start]
        if start < self._first_second:
            known = known[:0]
        missing = np.arange(start + len(known), stop, dtype=np.int64)[:, None]
        if len(missing):
            known = np.concatenate((known, slow_noise(missing, self._slow_keys[:, None, :])))
            self._first_second, self._levels_by_second = start, known
        return known


def _name(index: int) -> str:
    if index < len(_WELL_KNOWN):
        return list(_WELL_KNOWN)[index]
    number = index * _STRIDE % _SYLLABLES**3
    name = ""
    for _ in range(3):
        number, syllable = divmod(number, _SYLLABLES)
        name += _CONSONANTS[syllable // len(_VOWELS)] + _VOWELS[syllable % len(_VOWELS)]
    return name + "USDT"


def _start_price(index: int, seed: int) -> float:
    """A price of four digits from 0.01 to 1,000; all orders of magnitude are equally likely."""
    power, digits = divmod(make_key(seed, _START, index) % (5 * 9_000), 9_000)
    return float((1_000 + digits) * 10.0 ** (power - 5))
