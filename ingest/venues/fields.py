"""Columns of decoded JSON, checked and converted to arrays; FieldError says what is wrong with a value.

Each check runs over the whole column, so that well-formed columns cost little. A column with one malformed value
fails as a whole: the caller halves its rows until the malformed ones are alone.
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
_FEW_VALUES = 40


class FieldError(ValueError):
    """A column has a malformed value; the message is the reason of its rejection."""


def expect_types(name: str, what: str, values: Sequence[Any], kind: type) -> None:
    """Raise FieldError unless every value is exactly of type `kind` (a bool is no int)."""
    found = set(map(type, values))
    if found - {kind}:
        odd = next(value for value in values if type(value) is not kind)
        raise FieldError(f"{name}: expected {what}, was {describe(odd)}")


def describe(value: Any) -> str:
    """A value as text for a reason: short, and safe however deep it is nested."""
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def parse_integers(name: str, values: Sequence[Any], high: int = SEQ_MAX) -> NDArray[np.int64]:
    """Whole numbers from 0 to `high`, inclusive, as int64."""
    expect_types(name, "a whole number", values, int)
    try:
        numbers = np.array(values, np.int64)
    except OverflowError:
        numbers = None
    lowest, highest = (0, 0) if numbers is None or not len(numbers) else min_max(numbers)
    if numbers is None or lowest < 0 or highest > high:
        odd = next(value for value in values if not 0 <= value <= high)
        raise FieldError(f"{name}: expected 0 to {high}, was {odd}")
    return numbers


def min_max(numbers: NDArray[Any]) -> tuple[Any, Any]:
    """The lowest and the highest of one or more numbers."""
    if len(numbers) > _FEW_VALUES:
        return numbers.min(), numbers.max()
    # Live feeds pass a few numbers at a time, where numpy takes ten times as long.
    few = numbers.tolist()
    return min(few), max(few)


def parse_decimals(name: str, values: Sequence[Any], low: float, high: float) -> NDArray[np.float64]:
    """Decimal strings as the nearest doubles, from `low` to `high`, inclusive."""
    try:
        text = ",".join(values).encode()
    except TypeError:
        expect_types(name, "a decimal in a string", values, str)
        raise
    # Decoding one JSON list of numbers is much faster than converting each string.
    decoded = None if text.translate(None, _DECIMALS) else parse_number_list(text)
    if decoded is None or len(decoded) != len(values):
        odd = next(value for value in values if not _DECIMAL.fullmatch(value) or isinf(float(value)))
        raise FieldError(f"{name}: expected a decimal, was {describe(odd)}")
    numbers = np.array(decoded, np.float64)
    lowest, highest = min_max(numbers) if len(numbers) else (low, high)
    if lowest < low or highest > high:
        odd = values[int(np.flatnonzero(~((numbers >= low) & (numbers <= high)))[0])]
        raise FieldError(f"{name}: expected {low:g} to {high:g}, was {describe(odd)}")
    return numbers


def parse_number_list(text: bytes) -> list[float] | None:
    """The numbers of a comma-separated text; None where it holds anything else."""
    try:
        numbers: list[float] = orjson.loads(b"[%b]" % text)
    except orjson.JSONDecodeError:
        return None
    return numbers


def is_valid_name(value: Any) -> bool:
    """Whether a value is a name: text, upper case, printable, of 1 to 64 characters."""
    return (
        type(value) is str and 0 < len(value) <= _NAME_MAX and value.isprintable() and value == value.upper()
    )


def parse_names(name: str, values: Sequence[Any]) -> Strings:
    """Names, see `is_name`."""
    expect_types(name, "a name", values, str)
    distinct = set(values)
    for value in distinct:
        if not is_valid_name(value):
            raise FieldError(f"{name}: expected a name in upper case, was {describe(value)}")
    return Strings.constant(values[0], len(values)) if len(distinct) == 1 else Strings.of(values)


def parse_booleans(name: str, values: Sequence[Any]) -> NDArray[np.bool_]:
    """true and false as a bool array."""
    expect_types(name, "true or false", values, bool)
    return np.array(values, np.bool_)
