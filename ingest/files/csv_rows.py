"""Reads one row of CSV: such as have quotes around delimiters, quotes or line breaks, or are broken.

A quote that nothing closes would make one row of all that follows. So a field with line breaks has at most as many
characters as the model's texts, a row with such fields has at most `ROW_BYTES`, and no line in it begins like a row and
has as many fields; else the line with the open quote alone is rejected.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.files.lines import OVERLONG_KEPT_BYTES, LineBlock
from tapehouse.model import NAME_MAX

FIELD_CHARACTERS = NAME_MAX
"""The most characters of a field with line breaks."""
ROW_BYTES = OVERLONG_KEPT_BYTES
"""The most bytes of a row with line breaks: all of it can be kept in quarantine."""


@dataclass(frozen=True)
class Row:
    """What begins at a line."""

    fields: list[str]
    """Empty where the line is blank or rejected."""
    reason: str = ""
    """Why the line is rejected; else empty."""
    lines: int = 1
    """How many lines it has."""
    unfinished: bool = False
    """Whether the row may go on after the block."""


def read_row(lines: LineBlock, index: int, delimiter: str, columns: int) -> Row:
    """The row that begins at line `index` of a block, counted from 0; it has so many `columns`."""
    line = lines.data[lines.starts[index] : lines.ends[index]]
    if not line.strip(b" "):
        return Row([])
    if b"\0" in line:
        return Row([], "line: expected text, was a NUL byte in it")
    try:
        fields = next(csv.reader([line.decode()], delimiter=delimiter, strict=True))
    except UnicodeDecodeError as reason:
        return Row(
            [], f"line: expected UTF-8, was {line[reason.start : reason.start + 1]!r} at {reason.start}"
        )
    except csv.Error as reason:
        return _read_broken_row(lines, index, delimiter, columns) or Row(
            [], f"line: unreadable quotes or line ends: {reason}"
        )
    if len(fields) != columns:
        return Row([], f"line: expected {columns} fields, was {len(fields)}")
    return Row(fields)


def _read_broken_row(lines: LineBlock, index: int, delimiter: str, columns: int) -> Row | None:
    """The row of a line that is none by itself; None where it has no open quote."""
    texts = _Texts(lines, index)
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    try:
        fields = next(reader)
    except (UnicodeDecodeError, csv.Error):
        fields = []
    if len(texts.taken) == 1 and not texts.ended:
        return None
    long = any("\n" in field and len(field) > FIELD_CHARACTERS for field in fields)
    if len(fields) == columns and not long and not texts.holds_rows(delimiter, columns):
        return Row(fields, lines=len(texts.taken))
    reason = f"line: expected a closing quote within {FIELD_CHARACTERS} characters, was none"
    return Row([], reason, unfinished=texts.ended)


class _Texts(Iterator[str]):
    """The lines of a block from one on, with their line ends, as the CSV parser takes them: up to `ROW_BYTES`."""

    def __init__(self, lines: LineBlock, index: int) -> None:
        self._lines = lines
        self._index = index
        self._bytes = 0
        self.taken: list[str] = []
        """The lines that were taken."""
        self.ended = False
        """Whether more were wanted than the block has."""

    def __next__(self) -> str:
        starts, data = self._lines.starts, self._lines.data
        place = self._index + len(self.taken)
        if place == len(starts):
            self.ended = True
            raise StopIteration
        start = int(starts[place])
        end = int(starts[place + 1]) if place + 1 < len(starts) else len(data)
        self._bytes += end - start
        if self.taken and (self._bytes > ROW_BYTES or b"\0" in data[start:end]):
            raise StopIteration
        self.taken.append(data[start:end].decode())
        return self.taken[-1]

    def holds_rows(self, delimiter: str, columns: int) -> bool:
        """Whether a line after the first begins like it, with other digits, and has as many fields."""
        first, *others = self.taken
        return any(
            text.count(delimiter) == columns - 1
            and _beginning(text, delimiter) == _beginning(first, delimiter)
            for text in others
        )


def _beginning(line: str, delimiter: str) -> str:
    """The first field, its numbers all alike."""
    return re.sub("[0-9]+", "0", line.partition(delimiter)[0])
