"""Deterministic pseudo-random numbers: pure functions of keys and integers, without state.

Only integer arithmetic and exactly rounded floating-point operations are used, so that every machine and release of
numpy gives the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RandomWords = NDArray[np.uint64]

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ROUNDS = 4


def make_key(*parts: int) -> int:
    """A 64-bit key of whole numbers."""
    value = 0
    for part in parts:
        value = _mix(value ^ (part & _MASK))
    return value


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def random_words(of: NDArray[Any], salt: int | RandomWords) -> RandomWords:
    """A 64-bit word for each whole number in `of`; other words for another `salt`."""
    value = of.astype(np.uint64)
    value *= np.uint64(_GOLDEN)
    value = value + (np.uint64(salt) if isinstance(salt, int) else salt)
    value ^= value >> np.uint64(30)
    value *= np.uint64(_FIRST)
    value ^= value >> np.uint64(27)
    value *= np.uint64(_SECOND)
    value ^= value >> np.uint64(31)
    return value


def to_uniform(of: RandomWords) -> NDArray[np.float64]:
    """Words as doubles uniform in [0, 1)."""
    found = (of >> np.uint64(11)).astype(np.float64)
    found *= 2.0**-53
    return found


def to_normal(of: RandomWords) -> NDArray[np.float64]:
    """Words as doubles of nearly the standard normal distribution, within +-3.5."""
    quarter = np.uint64(0xFFFF)
    total = of & quarter
    for shift in (16, 32, 48):
        total = total + ((of >> np.uint64(shift)) & quarter)
    # The sum of four uniform numbers has a variance of a third.
    return (total.astype(np.float64) * (1 / 65536) - 2 + 2 / 65536) * 1.7320508075688772


def approximate_exp(exponent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Approximately e**exponent; always positive, increasing for exponents within +-3.4."""
    square = exponent * exponent + 12
    six = exponent * 6
    return (square + six) / (square - six)


def permutation(size: int, seed: int) -> NDArray[np.int64]:
    """The numbers 0 to size - 1 in an order given by `seed`; `size` is a power of two."""
    mask = np.uint64(size - 1)
    shift = np.uint64((size.bit_length() - 1) // 2 + 1)
    value = np.arange(size, dtype=np.uint64)
    for number in range(_ROUNDS):
        word = make_key(seed, number)
        # Each step is invertible, so the numbers stay distinct.
        value = (value * np.uint64(word | 1) + np.uint64(word >> 32)) & mask
        value ^= value >> shift
    return value.astype(np.int64)
