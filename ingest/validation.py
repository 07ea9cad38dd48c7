"""Which rows of a batch may go on, and why the others may not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MAX_TS, MINUTE
from tapehouse.model import Column

NULL_LONG = -(2**63)
"""An absent value in a nullable column of longs, as in QuestDB."""


def faults(batch: Batch, now_ns: int) -> dict[int, str]:
    """The rows that must not go on: row number -> the first reason.

    A row is at fault when a required value is absent or not finite, a number is outside the model's bounds
    (inclusive), or a time is before 1970, or more than a minute after `now_ns`.
    """
    found: dict[int, str] = {}
    for column in batch.kind.columns:
        if column.name == "venue":
            continue
        bad, what = _bad(batch, column, now_ns)
        for row in np.flatnonzero(bad).tolist() if bad is not None else ():
            found.setdefault(row, f"{column.name}: expected {what}, was {_shown(batch, column.name, row)}")
    return found


def _bad(batch: Batch, column: Column, now_ns: int) -> tuple[NDArray[np.bool_] | None, str]:
    data = batch.columns[column.name]
    low, high = column.low, column.high
    if isinstance(data, Strings):
        if column.nullable:
            return None, ""
        empty = np.array([not value or "\x00" in value for value in data.values] + [True])
        return empty[data.codes], "a name"
    if isinstance(data, Lists):
        assert low is not None
        assert high is not None
        bad_value = ~((data.values >= low) & (data.values <= high))  # NaN fails both
        if not bad_value.any():
            return None, ""
        rows = np.searchsorted(data.ends, np.flatnonzero(bad_value), side="right")
        bad = np.zeros(batch.rows, np.bool_)
        bad[rows] = True
        return bad, f"levels from {low:g} to {high:g}"
    if column.type == "time":
        limit = min(now_ns + MINUTE, MAX_TS)
        return (data < 0) | (data > limit), "a time from 1970 to a minute from now"
    if low is None or high is None:
        return None, ""
    bad = ~((data >= low) & (data <= high))
    if column.nullable:
        bad &= ~(np.isnan(data) if column.type == "double" else data == NULL_LONG)
    return bad, f"{low:g} to {high:g}"


def _shown(batch: Batch, name: str, row: int) -> str:
    data = batch.columns[name]
    if isinstance(data, Strings):
        code = int(data.codes[row])
        return repr(None if code < 0 else data.values[code])
    if isinstance(data, Lists):
        return repr(data.row(row).tolist())[:200]
    value: Any = data[row]
    return "nothing" if value != value or value == NULL_LONG else str(value)
