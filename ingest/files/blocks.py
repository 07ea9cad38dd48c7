"""Blocks of rows as a file stores them, before conversion to the model's columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.batch import Strings
from tapehouse.model import Column

Position = dict[str, int]
"""Where to resume reading: JSON-serialisable, opaque to all but the reader that made it."""

UNREADABLE = "\0"
"""Prefix of the text of a value that no column accepts (a list, a map, bytes that are not UTF-8)."""


@dataclass(frozen=True)
class ListValues:
    """One list of numbers a row: row i is `numbers[ends[i - 1]:ends[i]]`; `missing` marks rows without a list."""

    numbers: pl.Series
    ends: NDArray[np.int64]
    missing: NDArray[np.bool_]


Values = pl.Series | Strings | ListValues
"""One value a row: `Strings` if dictionary-encoded, `ListValues` for lists, else a polars series."""

SourceColumns = Sequence[tuple[Column, str]]
"""(model column, name of its source column) of each model column that a source provides."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows. A record number is the number of a line or row in the file, from 1."""

    columns: dict[str, Values]
    """Model column name -> values."""
    record_numbers: NDArray[np.int64]
    """The record number of each row, ascending."""
    rejected: dict[int, str]
    """Record number -> why it is not a row."""
    original: Callable[[int], bytes]
    """The original bytes of a record number of this block."""
    position: Position
    """Where the next block starts."""
    rows_read: int
    """Rows so far since the start of the file, those in `rejected` included."""
    fraction: float
    """How much of the file is read so far, from 0 to 1."""


class FormatReader(Protocol):
    """An opened file of one format, whose column names are known."""

    unit: str
    """What its record numbers count: "line" or "row"."""
    names: tuple[str, ...]
    """The source's columns, in its order."""

    def blocks(self, wanted: SourceColumns, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on; the same file gives the same blocks each time.

        Raises SourceError where the file is damaged, after the rows that could be read.
        """
        ...
