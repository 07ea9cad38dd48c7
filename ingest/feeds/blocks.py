"""What a reader of one format hands on: rows as the file holds them, not yet the model's columns."""

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
"""Where to read on: goes through JSON unchanged; made by a reader and understood by the same one alone."""

UNREADABLE = "\0"
"""Begins the text of a value that no column may hold (a list, a map, bytes that are no text)."""


@dataclass(frozen=True)
class Levels:
    """A list of numbers a row: row i is `numbers[ends[i - 1]:ends[i]]`; `absent` marks rows without."""

    numbers: pl.Series
    ends: NDArray[np.int64]
    absent: NDArray[np.bool_]


Values = pl.Series | Strings | Levels
"""One value a row: `Strings` for names that come dictionary-encoded, `Levels` for lists, else a series."""

Wanted = Sequence[tuple[Column, str]]
"""The model's columns that a source has, each with the name of its source column."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows. A place is a line or row number in the file, from 1."""

    columns: dict[str, Values]
    """By the model's name."""
    places: NDArray[np.int64]
    """The place of each row, rising."""
    broken: dict[int, str]
    """Places that gave no row, and why."""
    original: Callable[[int], bytes]
    """What the file holds at a place of this block."""
    position: Position
    """Where the next block starts."""
    rows_read: int
    """Rows so far since the start of the file, those in `broken` included."""
    fraction: float
    """How much of the file is read so far, from 0 to 1."""


class Reader(Protocol):
    """A file of one format. Opening one checks that it can be read and learns its columns."""

    unit: str
    """What its places count: "line" or "row"."""
    names: tuple[str, ...]
    """The source's columns, in its order."""

    def blocks(self, wanted: Wanted, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on; the same file cut into the same blocks each time.

        Raises SourceError where the file is damaged, behind the rows that could be read.
        """
        ...
