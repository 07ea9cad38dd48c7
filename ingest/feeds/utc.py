"""Times as sockets write them, `2026-08-25T03:35:57.198335Z`, as ns since 1970: columns of one or of thousands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ingest.feeds.fields import Fault, expect_types, shown
from tapehouse.clock import MAX_TS, MICROSECOND, Nanos

_DIGITS = b"0123456789"
_MAX = MAX_TS // MICROSECOND
_SECONDS = len("2026-08-25T03:35:57Z")
_LENGTHS = {_SECONDS, *range(_SECONDS + 2, _SECONDS + 11)}
"""Without digits behind the second, and with one to nine."""
_MARKS = ((4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":"))


def utc(name: str, values: Sequence[Any], unit_ns: int) -> Nanos:
    """ISO 8601 in UTC with seconds, up to nine digits behind them and a Z, floored to `unit_ns`, 1 us or more."""
    try:
        microseconds = _read(values)
    except (TypeError, ValueError):
        microseconds = None
    if microseconds is None or (
        len(microseconds) and not 0 <= microseconds.min() <= microseconds.max() < _MAX
    ):
        expect_types(name, "a time", values, str)
        odd = next((value for value in values if not _sound(value)), None)
        raise Fault(f"{name}: expected a time such as 2026-08-25T03:35:57.198335Z, was {shown(odd)}")
    ns = microseconds * MICROSECOND
    return ns if unit_ns == MICROSECOND else ns // unit_ns * unit_ns


def _read(values: Sequence[str]) -> Nanos | None:
    """us since 1970; None or ValueError where some value is no time of this form."""
    lengths = set(map(len, values))
    if len(lengths) == 1:
        return _read_alike(values, lengths.pop())
    found = np.zeros(len(values), np.int64)
    for length in lengths:
        places = [place for place, value in enumerate(values) if len(value) == length]
        alike = _read_alike([values[place] for place in places], length)
        if alike is None:
            return None
        found[places] = alike
    return found


def _read_alike(values: Sequence[str], length: int) -> Nanos | None:
    """The same for values of one length."""
    text = "".join(values)
    data = text.encode()
    marks = (*_MARKS, (length - 1, b"Z"), *(((19, b"."),) if length > _SECONDS else ()))
    # Shown to be of one form before numpy reads them: it knows many others, and warns of some.
    if (
        length not in _LENGTHS
        or len(data) != length * len(values)
        or len(data.translate(None, _DIGITS)) != len(marks) * len(values)
        or any(data[at::length] != mark * len(values) for at, mark in marks)
    ):
        return None
    return np.array(text[:-1].split("Z"), "datetime64[us]").astype(np.int64)


def _sound(value: str) -> bool:
    try:
        read = _read([value])
    except ValueError:
        return False
    return read is not None and 0 <= int(read[0]) < _MAX
