"""Validates the rows of a batch against the model's bounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MAX_TS, MIN_TS, MINUTE
from tapehouse.model import NAME_MAX, NULL_LONG, Column


def invalid_rows(batch: Batch, now_ns: int) -> dict[int, str]:
    """The invalid rows, in row order: row index -> the first reason.

    A row is invalid when a required value is absent or not finite, a number is outside the model's bounds
    (inclusive), or a time is before 1970-01-05, or more than a minute after `now_ns`.
    """
    found: dict[int, str] = {}
    for column in batch.kind.columns:
        if column.name == "venue":
            continue
        for bad, what in _check_column(batch, column, now_ns):
            for row in np.flatnonzero(bad).tolist():
                shown = _format_value(batch, column.name, row)
                found.setdefault(row, f"{column.name}: expected {what}, was {shown}")
    return dict(sorted(found.items()))


def _check_column(batch: Batch, column: Column, now_ns: int) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """Yields (mask of invalid rows, what was expected) for each check of a column."""
    data = batch.columns[column.name]
    low, high = column.low, column.high
    if isinstance(data, Strings):
        # QuestDB takes no NUL.
        bad_value = ["\x00" in value or not (value or column.nullable) for value in data.values]
        yield np.array([*bad_value, not column.nullable])[data.codes], "a name"
        overlong = [len(value) > NAME_MAX for value in data.values]
        yield np.array([*overlong, False])[data.codes], f"a name of at most {NAME_MAX} characters"
    elif isinstance(data, Lists):
        assert low is not None
        assert high is not None
        bad_level = ~((data.values >= low) & (data.values <= high))  # NaN fails both
        bad = np.zeros(batch.rows, np.bool_)
        bad[np.searchsorted(data.ends, np.flatnonzero(bad_level), side="right")] = True
        yield bad, f"levels from {low:g} to {high:g}"
        if column.name.endswith("_sizes"):
            prices = column.name.replace("_sizes", "_prices")
            yield _list_lengths(data) != _list_lengths(batch.lists(prices)), f"as many as {prices}"
    elif column.type == "time":
        limit = min(now_ns + MINUTE, MAX_TS - 1)
        yield (data < MIN_TS) | (data > limit), "a time from 1970-01-05 to a minute from now"
    elif low is not None and high is not None:
        bad = ~((data >= low) & (data <= high))
        if column.nullable:
            bad &= ~(np.isnan(data) if column.type == "double" else data == NULL_LONG)
        yield bad, f"{low:g} to {high:g}"


def _list_lengths(lists: Lists) -> NDArray[np.int64]:
    return lists.ends - lists.starts


def _format_value(batch: Batch, name: str, row: int) -> str:
    data = batch.columns[name]
    if isinstance(data, Strings):
        code = int(data.codes[row])
        return repr(None if code < 0 else data.values[code])[:200]
    if isinstance(data, Lists):
        return repr(data.row(row).tolist())[:200]
    value: Any = data[row]
    if value != value or value == NULL_LONG:
        return "nothing"
    return f"{value.astype('datetime64[ns]')}Z" if batch.kind.column(name).type == "time" else str(value)
