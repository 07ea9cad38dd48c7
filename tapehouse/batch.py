"""Rows of one kind and venue as columns: feeds build them, the stream carries them, the writer commits them.

Columns by logical type: numbers, times and flags are numpy arrays of the model's dtype; symbols and texts are
`Strings`; lists of doubles are `Lists`; decimals are `V16` arrays. There is no column `venue`: it is an attribute
of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.model import Kind


@dataclass(frozen=True)
class Strings:
    """A dictionary-encoded column: `codes[i]` (any integer dtype) indexes `values`; -1 is null."""

    values: tuple[str, ...]
    codes: NDArray[Any]

    def take(self, rows: NDArray[Any]) -> Strings:
        """The rows selected by a mask or by indices; the dictionary is not reduced."""
        return Strings(self.values, self.codes[rows])

    def slice(self, start: int, stop: int) -> Strings:
        """Rows start (inclusive) to stop (exclusive)."""
        return Strings(self.values, self.codes[start:stop])

    def compact(self) -> Strings:
        """The same rows with a dictionary of only the used values, in the order of their codes."""
        places = np.add(self.codes, 1, dtype=np.int64)  # narrow codes would overflow
        used = np.flatnonzero(np.bincount(places, minlength=len(self.values) + 1)[1:])
        if len(used) == len(self.values):
            return self
        lookup = np.full(len(self.values) + 1, -1, np.int32)
        lookup[used] = np.arange(len(used), dtype=np.int32)
        return Strings(tuple(self.values[code] for code in used), lookup[self.codes])

    def to_list(self) -> list[str | None]:
        """One value for each row."""
        return [None if code < 0 else self.values[code] for code in self.codes.tolist()]

    @staticmethod
    def of(rows: Iterable[str | None]) -> Strings:
        """Encode one value for each row."""
        known: dict[str, int] = {}
        codes = [-1 if value is None else known.setdefault(value, len(known)) for value in rows]
        return Strings(tuple(known), np.array(codes, np.int32))

    @staticmethod
    def constant(value: str | None, rows: int) -> Strings:
        """A column of `rows` equal values."""
        if value is None:
            return Strings((), np.full(rows, -1, np.int32))
        return Strings((value,), np.zeros(rows, np.int32))


@dataclass(frozen=True)
class Lists:
    """A column of lists of doubles: row i is `values[ends[i - 1]:ends[i]]` (from 0 for the first row)."""

    values: NDArray[np.float64]
    ends: NDArray[np.int64]

    def row(self, index: int) -> NDArray[np.float64]:
        """The values of row `index`."""
        start = int(self.ends[index - 1]) if index else 0
        return self.values[start : int(self.ends[index])]

    @property
    def starts(self) -> NDArray[np.int64]:
        """The index in `values` at which each row begins, int64 [rows]."""
        starts = np.empty_like(self.ends)
        starts[:1] = 0
        starts[1:] = self.ends[:-1]
        return starts

    def take(self, rows: NDArray[Any]) -> Lists:
        """The rows selected by a mask or by indices."""
        starts, ends = self.starts[rows], self.ends[rows]
        lengths = ends - starts
        new_ends = np.cumsum(lengths, dtype=np.int64)
        # The source index of each value: its index in the result plus the offset of its row.
        offsets = np.repeat(starts - (new_ends - lengths), lengths)
        return Lists(self.values[np.arange(len(offsets)) + offsets], new_ends)

    def slice(self, start: int, stop: int) -> Lists:
        """Rows start (inclusive) to stop (exclusive)."""
        first = int(self.ends[start - 1]) if start else 0
        ends = self.ends[start:stop]
        last = int(ends[-1]) if len(ends) else first
        return Lists(self.values[first:last], ends - first)

    @staticmethod
    def of(rows: Sequence[Sequence[float] | NDArray[np.float64]]) -> Lists:
        """Pack one sequence for each row."""
        ends = np.cumsum([len(row) for row in rows], dtype=np.int64)
        values = np.concatenate([np.asarray(row, np.float64) for row in rows]) if rows else np.empty(0)
        return Lists(values, ends)


ColumnData = NDArray[Any] | Strings | Lists


@dataclass(frozen=True)
class Batch:
    """`rows` records of one kind and venue; `columns` has every column of the kind but `venue`.

    It may be made without the kind's optional columns, which are then null.
    """

    kind: Kind
    venue: str
    rows: int
    columns: dict[str, ColumnData]

    def __post_init__(self) -> None:
        for name in self.kind.optional:
            if name not in self.columns:
                columns = {**self.columns, name: Strings.constant(None, self.rows)}
                object.__setattr__(self, "columns", columns)

    def array(self, name: str) -> NDArray[Any]:
        """A column that is a numpy array."""
        data = self.columns[name]
        assert isinstance(data, np.ndarray), name
        return data

    def strings(self, name: str) -> Strings:
        """A column of symbols or texts."""
        data = self.columns[name]
        assert isinstance(data, Strings), name
        return data

    def lists(self, name: str) -> Lists:
        """A column of lists of doubles."""
        data = self.columns[name]
        assert isinstance(data, Lists), name
        return data

    def take(self, rows: NDArray[Any]) -> Batch:
        """The rows selected by a mask or by indices, in that order."""
        count = int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows)
        columns: dict[str, ColumnData] = {
            name: data[rows] if isinstance(data, np.ndarray) else data.take(rows)
            for name, data in self.columns.items()
        }
        return Batch(self.kind, self.venue, count, columns)

    def slice(self, start: int, stop: int) -> Batch:
        """Rows start (inclusive) to stop (exclusive), as views."""
        stop = min(stop, self.rows)
        columns: dict[str, ColumnData] = {
            name: data[start:stop] if isinstance(data, np.ndarray) else data.slice(start, stop)
            for name, data in self.columns.items()
        }
        return Batch(self.kind, self.venue, stop - start, columns)

    @staticmethod
    def concat(batches: Sequence[Batch]) -> Batch:
        """The rows of batches of one kind and venue, in order."""
        if len(batches) == 1:
            return batches[0]
        first = batches[0]
        columns = {name: _concat([batch.columns[name] for batch in batches]) for name in first.columns}
        return Batch(first.kind, first.venue, sum(batch.rows for batch in batches), columns)


def _concat(parts: Sequence[ColumnData]) -> ColumnData:
    if isinstance(parts[0], Strings):
        known: dict[str, int] = {}
        codes = []
        for part in parts:
            assert isinstance(part, Strings)
            lookup = np.array([known.setdefault(value, len(known)) for value in part.values] + [-1], np.int32)
            codes.append(lookup[part.codes])
        return Strings(tuple(known), np.concatenate(codes))
    if isinstance(parts[0], Lists):
        lists = [part for part in parts if isinstance(part, Lists)]
        offsets = np.cumsum([0] + [len(part.values) for part in lists[:-1]])
        ends = [part.ends + offset for part, offset in zip(lists, offsets, strict=True)]
        return Lists(np.concatenate([part.values for part in lists]), np.concatenate(ends))
    return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
