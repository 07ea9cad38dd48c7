"""Which rows of a batch may go on, and why the others may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MAX_TS, MINUTE
from tapehouse.model import NULL_LONG, Column


def faults(batch: Batch, now_ns: int) -> dict[int, str]:
    """The rows that must not go on, in their order: row number -> the first reason.

    A row is at fault when a required value is absent or not finite, a number is outside the model's bounds
    (inclusive), or a time is before 1970, or more than a minute after `now_ns`.
    """
    found: dict[int, str] = {}
    for column in batch.kind.columns:
        if column.name == "venue":
            continue
        for bad, what in _checks(batch, column, now_ns):
            for row in np.flatnonzero(bad).tolist():
                shown = _shown(batch, column.name, row)
                found.setdefault(row, f"{column.name}: expected {what}, was {shown}")
    return dict(sorted(found.items()))


def _checks(batch: Batch, column: Column, now_ns: int) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """(mask of the bad rows, what was expected) for each thing that a column must hold to."""
    data = batch.columns[column.name]
    low, high = column.low, column.high
    if isinstance(data, Strings):
        # QuestDB takes no NUL.
        bad_value = ["\x00" in value or not (value or column.nullable) for value in data.values]
        yield np.array([*bad_value, not column.nullable])[data.codes], "a name"
    elif isinstance(data, Lists):
        assert low is not None
        assert high is not None
        bad_level = ~((data.values >= low) & (data.values <= high))  # NaN fails both
        bad = np.zeros(batch.rows, np.bool_)
        bad[np.searchsorted(data.ends, np.flatnonzero(bad_level), side="right")] = True
        yield bad, f"levels from {low:g} to {high:g}"
        if column.name.endswith("_sizes"):
            prices = column.name.replace("_sizes", "_prices")
            yield _counts(data) != _counts(batch.lists(prices)), f"as many as {prices}"
    elif column.type == "time":
        limit = min(now_ns + MINUTE, MAX_TS - 1)
        yield (data < 0) | (data > limit), "a time from 1970 to a minute from now"
    elif low is not None and high is not None:
        bad = ~((data >= low) & (data <= high))
        if column.nullable:
            bad &= ~(np.isnan(data) if column.type == "double" else data == NULL_LONG)
        yield bad, f"{low:g} to {high:g}"


def _counts(lists: Lists) -> NDArray[np.int64]:
    return lists.ends - lists.starts


def _shown(batch: Batch, name: str, row: int) -> str:
    data = batch.columns[name]
    if isinstance(data, Strings):
        code = int(data.codes[row])
        return repr(None if code < 0 else data.values[code])[:200]
    if isinstance(data, Lists):
        return repr(data.row(row).tolist())[:200]
    value: Any = data[row]
    return "nothing" if value != value or value == NULL_LONG else str(value)
