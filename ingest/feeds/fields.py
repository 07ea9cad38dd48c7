"""Whole columns of decoded JSON, checked and made into arrays; `Fault` says what was wrong with a value.

Each check runs over the column as a whole, so that sound columns cost little. A column that holds one
unsound value fails as a whole: the caller halves its rows until the unsound ones stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isinf
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tapehouse.batch import Strings
from tapehouse.model import SEQ_MAX

_DECIMALS = b"0123456789.-,"
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_NAME_MAX = 64
_FEW = 40


class Fault(ValueError):  # noqa: N818 - it never leaves the feeds
    """A column with a value that cannot be read; the message is the reason."""


def expect_types(name: str, what: str, values: Sequence[Any], kind: type) -> None:
    """Fault unless every value is exactly of type `kind` (a bool is no int)."""
    found = set(map(type, values))
    if found - {kind}:
        odd = next(value for value in values if type(value) is not kind)
        raise Fault(f"{name}: expected {what}, was {shown(odd)}")


def shown(value: Any) -> str:
    """A value for a reason: short, and safe however deep it is nested."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def longs(name: str, values: Sequence[Any], high: int = SEQ_MAX) -> NDArray[np.int64]:
    """Whole numbers from 0 to high, inclusive."""
    expect_types(name, "a whole number", values, int)
    try:
        numbers = np.array(values, np.int64)
    except OverflowError:
        numbers = None
    lowest, highest = (0, 0) if numbers is None or not len(numbers) else ends(numbers)
    if numbers is None or lowest < 0 or highest > high:
        odd = next(value for value in values if not 0 <= value <= high)
        raise Fault(f"{name}: expected 0 to {high}, was {odd}")
    return numbers


def ends(numbers: NDArray[Any]) -> tuple[Any, Any]:
    """The lowest and the highest of at least one number."""
    if len(numbers) > _FEW:
        return numbers.min(), numbers.max()
    # What a live feed calls with, where numpy takes ten times as long.
    few = numbers.tolist()
    return min(few), max(few)


def doubles(name: str, values: Sequence[Any], low: float, high: float) -> NDArray[np.float64]:
    """The doubles nearest to decimal strings, from low to high, inclusive."""
    try:
        text = ",".join(values).encode()
    except TypeError:
        expect_types(name, "a decimal in a string", values, str)
        raise
    # One JSON list of numbers is read much faster than each string by itself.
    decoded = None if text.translate(None, _DECIMALS) else numbers_in(text)
    if decoded is None or len(decoded) != len(values):
        odd = next(value for value in values if not _DECIMAL.fullmatch(value) or isinf(float(value)))
        raise Fault(f"{name}: expected a decimal, was {shown(odd)}")
    numbers = np.array(decoded, np.float64)
    lowest, highest = ends(numbers) if len(numbers) else (low, high)
    if lowest < low or highest > high:
        odd = values[int(np.flatnonzero(~((numbers >= low) & (numbers <= high)))[0])]
        raise Fault(f"{name}: expected {low:g} to {high:g}, was {shown(odd)}")
    return numbers


def numbers_in(text: bytes) -> list[float] | None:
    """The numbers of a text with commas between; None when it holds anything else."""
    try:
        numbers: list[float] = orjson.loads(b"[%b]" % text)
    except orjson.JSONDecodeError:
        return None
    return numbers


def is_name(value: Any) -> bool:
    """A name as venues give them: upper case, printable, at most 64 characters."""
    return (
        type(value) is str and 0 < len(value) <= _NAME_MAX and value.isprintable() and value == value.upper()
    )


def names(name: str, values: Sequence[Any]) -> Strings:
    """Names, see `is_name`."""
    expect_types(name, "a name", values, str)
    distinct = set(values)
    for value in distinct:
        if not is_name(value):
            raise Fault(f"{name}: expected a name in upper case, was {shown(value)}")
    return Strings.constant(values[0], len(values)) if len(distinct) == 1 else Strings.of(values)


def truths(name: str, values: Sequence[Any]) -> NDArray[np.bool_]:
    """true or false."""
    expect_types(name, "true or false", values, bool)
    return np.array(values, np.bool_)
