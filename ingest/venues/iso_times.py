"""ISO 8601 times of sockets, such as 2026-08-25T03:35:57.198335Z -> ns UTC, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ingest.venues.fields import FieldError, describe, expect_types
from tapehouse.clock import MAX_TS, MICROSECOND, Nanos

_DIGITS = b"0123456789"
_MAX = MAX_TS // MICROSECOND
_SECONDS = len("2026-08-25T03:35:57Z")
_LENGTHS = {_SECONDS, *range(_SECONDS + 2, _SECONDS + 11)}
"""Without a fraction of the second, and with one of one to nine digits."""
_SEPARATORS = ((4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":"))


def parse_iso_times(name: str, values: Sequence[Any], unit_ns: int) -> Nanos:
    """ISO 8601 in UTC with seconds, a fraction of up to nine digits and a Z, as ns UTC floored to `unit_ns`.

    `unit_ns` is 1 us or more. Raises FieldError where a value has another form or lies outside 1970 to 2261.
    """
    try:
        microseconds = _parse(values)
    except (TypeError, ValueError):
        microseconds = None
    if microseconds is None or (
        len(microseconds) and not 0 <= microseconds.min() <= microseconds.max() < _MAX
    ):
        expect_types(name, "a time", values, str)
        odd = next((value for value in values if not _is_valid(value)), None)
        raise FieldError(f"{name}: expected a time as YYYY-MM-DDThh:mm:ss[.fraction]Z, was {describe(odd)}")
    ns = microseconds * MICROSECOND
    return ns if unit_ns == MICROSECOND else ns // unit_ns * unit_ns


def _parse(values: Sequence[str]) -> Nanos | None:
    """us since 1970; None or ValueError where a value has another form."""
    lengths = set(map(len, values))
    if len(lengths) == 1:
        return _parse_same_length(values, lengths.pop())
    parsed = np.zeros(len(values), np.int64)
    for length in lengths:
        indices = [index for index, value in enumerate(values) if len(value) == length]
        part = _parse_same_length([values[index] for index in indices], length)
        if part is None:
            return None
        parsed[indices] = part
    return parsed


def _parse_same_length(values: Sequence[str], length: int) -> Nanos | None:
    """As `_parse`, for values of one length."""
    text = "".join(values)
    data = text.encode()
    separators = (*_SEPARATORS, (length - 1, b"Z"), *(((19, b"."),) if length > _SECONDS else ()))
    # Checked before numpy parses them: it accepts many other forms, and warns of some.
    if (
        length not in _LENGTHS
        or len(data) != length * len(values)
        or len(data.translate(None, _DIGITS)) != len(separators) * len(values)
        or any(data[at::length] != separator * len(values) for at, separator in separators)
    ):
        return None
    return np.array(text[:-1].split("Z"), "datetime64[us]").astype(np.int64)


def _is_valid(value: str) -> bool:
    try:
        parsed = _parse([value])
    except ValueError:
        return False
    return parsed is not None and 0 <= int(parsed[0]) < _MAX
