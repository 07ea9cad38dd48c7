"""Times as sockets write them, `2026-08-25T03:35:57.198335Z`, as ns since 1970: columns of one or of thousands."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from ingest.feeds.fields import Fault, expect_types, shown
from tapehouse.clock import MAX_TS, MICROSECOND, Nanos

_MAX = MAX_TS // MICROSECOND
_LENGTHS = set(range(len("2026-08-25T03:35:57"), len("2026-08-25T03:35:57.198335123") + 1))
_FORMS = {b"--T::Z", b"--T::.Z"}
"""What is left when the digits are taken out."""
_MARKS = {("-", "-", "T", ":", ":")}
_marks = itemgetter(4, 7, 10, 13, 16)
_behind_seconds = itemgetter(slice(19, 20))


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


def _read(values: Sequence[Any]) -> Nanos | None:
    """us since 1970; None or ValueError where some value is no time of this form."""
    if not values:
        return np.zeros(0, np.int64)
    text = ",".join(values) + ","
    # Shown to be of one form before numpy reads them: it knows many others, and warns of some.
    forms = text.encode().translate(None, b"0123456789").split(b",")
    if len(forms) != len(values) + 1 or not set(forms[:-1]) <= _FORMS or text.count("Z,") != len(values):
        return None
    parts = text[:-2].split("Z,")
    if not (set(map(len, parts)) <= _LENGTHS and set(map(_marks, parts)) == _MARKS):
        return None
    if not set(map(_behind_seconds, parts)) <= {"", "."}:
        return None
    return np.array(parts, "datetime64[us]").astype(np.int64)


def _sound(value: str) -> bool:
    try:
        read = _read([value])
    except ValueError:
        return False
    return read is not None and 0 <= int(read[0]) < _MAX
