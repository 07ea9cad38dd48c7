"""Numbers that look random and are a function of what they are asked for: no state, the same everywhere.

Only integer arithmetic and the exactly rounded operations of floats are used, so that every machine and
release of numpy gives the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ROUNDS = 4


def key(*parts: int) -> int:
    """One 64-bit key of whole numbers."""
    value = 0
    for part in parts:
        value = _mixed(value ^ (part & _MASK))
    return value


def _mixed(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def words(of: NDArray[Any], salt: int | Words) -> Words:
    """A 64-bit word for each whole number in `of`, another for each salt."""
    value = of.astype(np.uint64)
    value *= np.uint64(_GOLDEN)
    value = value + (np.uint64(salt) if isinstance(salt, int) else salt)
    value ^= value >> np.uint64(30)
    value *= np.uint64(_FIRST)
    value ^= value >> np.uint64(27)
    value *= np.uint64(_SECOND)
    value ^= value >> np.uint64(31)
    return value


def fractions(of: Words) -> NDArray[np.float64]:
    """Words as doubles from 0 (inclusive) to 1 (exclusive)."""
    found = (of >> np.uint64(11)).astype(np.float64)
    found *= 2.0**-53
    return found


def bell(of: Words) -> NDArray[np.float64]:
    """Words as doubles spread nearly like the normal distribution, within 3.5 either side."""
    quarter = np.uint64(0xFFFF)
    total = of & quarter
    for shift in (16, 32, 48):
        total = total + ((of >> np.uint64(shift)) & quarter)
    # The sum of four uniform numbers has a variance of a third.
    return (total.astype(np.float64) * (1 / 65536) - 2 + 2 / 65536) * 1.7320508075688772


def grown(exponent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Near to e**exponent, always positive, rising where the exponent is within 3.4 either side."""
    square = exponent * exponent + 12
    six = exponent * 6
    return (square + six) / (square - six)


def shuffled(size: int, seed: int) -> NDArray[np.int64]:
    """The numbers 0 to size - 1, a power of two, in an order that depends on the seed."""
    mask = np.uint64(size - 1)
    shift = np.uint64((size.bit_length() - 1) // 2 + 1)
    value = np.arange(size, dtype=np.uint64)
    for number in range(_ROUNDS):
        word = key(seed, number)
        # Each step can be undone, so no two numbers meet.
        value = (value * np.uint64(word | 1) + np.uint64(word >> 32)) & mask
        value ^= value >> shift
    return value.astype(np.int64)
