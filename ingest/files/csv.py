"""Reads CSV with a header, a block of lines at a time.

Plain lines (the expected number of delimiters, no NUL, no complex quotes) are parsed together; each other line
is parsed alone, with those after it that its quotes enclose, and is either a row or rejected.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.files.blocks import Block, Position, SourceColumns, Values
from ingest.files.csv_rows import read_row
from ingest.files.lines import BLOCK_BYTES, FileStream, LineBlock, LineReader, open_stream
from tapehouse.errors import SourceError, UsageError

_DELIMITERS = ",;\t|"
_BOM = b"\xef\xbb\xbf"
_LOOKS_LIKE_A_VALUE = re.compile(r"\s*([+-]?\.?\d[\d.,eE+-]*|\d{4}-\d\d-\d\d.*)\s*")
_MAX_QUOTED = 200
_REMEDY = (
    "Put the columns' names in the first line, such as: ts,price,size; or name columns by their places: "
    "--map ts=#1,price=#2,size=#3"
)

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


class CsvReader:
    """A CSV file whose first line that is neither blank nor a comment names its columns, delimited by , ; tab or |.

    Lines before it that begin with # are comments; the last of them is the header where what follows is a row.
    """

    unit = "line"

    def __init__(self, path: Path, gzipped: bool, by_place: bool = False) -> None:
        """With `by_place` there is no header: the columns are called #1, #2, ..."""
        self._path = path
        self._gzipped = gzipped
        with open_stream(path, gzipped) as stream:
            found, first = _find_header(stream)
        if by_place:
            self._line, self._start, header = first.number, first.start, first.text
        else:
            self._line, self._start, header = found.number + 1, found.end, found.text
        self.header = "" if by_place else header
        """The line that names the columns; empty where none does."""
        if "\r" in header:
            raise SourceError(
                f"{path.name}: expected lines that end with a newline, was carriage returns alone",
                remedy="Convert it: tr '\\r' '\\n' < FILE > NEW",
            )
        self._delimiter = max(_DELIMITERS, key=header.count)
        try:
            names = next(csv.reader([header], delimiter=self._delimiter, strict=True))
        except csv.Error as reason:
            raise UsageError(f"{path.name}: unreadable header: {reason}: {header[:_MAX_QUOTED]!r}") from None
        self.names = tuple(name.strip() for name in names)
        if by_place:
            self.names = tuple(f"#{place}" for place in range(1, len(names) + 1))
            return
        if len(names) < 2 or any(_LOOKS_LIKE_A_VALUE.fullmatch(name) for name in names):
            raise UsageError(
                f"{path.name}: expected a header that names the columns, was {header[:_MAX_QUOTED]!r}",
                remedy=_REMEDY,
            )

    def blocks(self, wanted: SourceColumns, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on, as text."""
        chosen = {column.name: self.names.index(source) for column, source in wanted}
        position = start or {"offset": self._start, "line": self._line, "rows": 0}
        rows = position["rows"]
        with open_stream(self._path, self._gzipped) as stream:
            stream.skip(position["offset"])
            reader = LineReader(stream, position["offset"], position["line"])
            for block in reader:
                found = self._find_rows(block)
                lines = block
                if found.lines < len(block.starts):
                    lines = reader.give_back(block, found.lines)
                columns, record_numbers = self._columns(lines, found, chosen)
                rows += len(record_numbers) + len(found.rejected)
                following = {
                    "offset": lines.next_offset,
                    "line": lines.first_line + len(lines.starts),
                    "rows": rows,
                }
                yield Block(
                    columns,
                    record_numbers,
                    found.rejected,
                    partial(_original, lines, found.last_lines),
                    following,
                    rows,
                    stream.fraction,
                )

    def _find_rows(self, lines: LineBlock) -> _Rows:
        if lines.overlong:
            found = _Rows(np.zeros(1, np.bool_), 1)
            found.rejected[lines.first_line] = (
                f"line: expected at most {BLOCK_BYTES} bytes, was {lines.overlong}"
            )
            return found
        plain, blank = self._classify_lines(lines)
        found = _Rows(plain, len(plain))
        following = 0
        for index in np.flatnonzero(~plain & ~blank).tolist():
            if index < following:
                continue
            row = read_row(lines, index, self._delimiter, len(self.names))
            if row.unfinished and index:
                # The next block begins with it, and has all of it.
                found.lines, found.plain = index, plain[:index]
                break
            number = lines.first_line + index
            if row.reason:
                found.rejected[number] = row.reason
            elif row.fields:
                found.others[number] = row.fields
            if row.lines > 1:
                following = index + row.lines
                plain[index:following] = False
                found.last_lines[number] = lines.first_line + following - 1
        return found

    def _columns(
        self, lines: LineBlock, found: _Rows, chosen: dict[str, int]
    ) -> tuple[dict[str, Values], Places]:
        """(the chosen columns of the rows as text, the line number of each row)."""
        indexes = sorted(set(chosen.values()))
        frame = self._parse_plain_lines(lines, found.plain, indexes)
        record_numbers = lines.first_line + np.flatnonzero(found.plain)
        if found.others:
            alone = {
                _column_label(index): pl.Series(
                    [fields[index] or None for fields in found.others.values()], dtype=pl.String
                )
                for index in indexes
            }
            record_numbers = np.concatenate((record_numbers, np.array(list(found.others))))
            order = np.argsort(record_numbers)
            frame, record_numbers = frame.vstack(pl.DataFrame(alone))[order], record_numbers[order]
        return {name: frame[_column_label(index)] for name, index in chosen.items()}, record_numbers

    def _classify_lines(self, lines: LineBlock) -> tuple[Mask, Mask]:
        """(mask of lines that can be split at every delimiter, mask of blank lines)."""
        data = np.frombuffer(lines.data, np.uint8)
        starts, ends = lines.starts, lines.ends
        delimiters = np.flatnonzero(data == ord(self._delimiter))
        found = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts)
        blank = starts == ends
        plain = (found == len(self.names) - 1) & ~blank
        if b'"' in lines.data:
            plain[_lines_with_complex_quotes(data, lines, delimiters)] = False
        for mark in b"\0\r":
            if mark in lines.data:
                record_numbers = np.flatnonzero(data == mark)
                holds = np.searchsorted(starts, record_numbers, side="right") - 1
                plain[holds[record_numbers < ends[holds]]] = False
        if not lines.data.isascii():
            record_numbers = np.flatnonzero(data >= 0x80)
            for index in np.unique(np.searchsorted(starts, record_numbers, side="right") - 1).tolist():
                plain[index] &= _is_text(lines.data[starts[index] : ends[index]])
        return plain, blank

    def _parse_plain_lines(self, lines: LineBlock, plain: Mask, indexes: list[int]) -> pl.DataFrame:
        """The fields `indexes` of the plain lines as text; an empty field is null."""
        if not plain.any():
            return pl.DataFrame(schema={_column_label(index): pl.String for index in indexes})
        if plain.all():
            text = lines.data
        else:
            changes = np.flatnonzero(np.diff(plain, prepend=False, append=False))
            runs = zip(lines.starts[changes[::2]], lines.ends[changes[1::2] - 1], strict=True)
            text = b"\n".join([lines.data[start:end] for start, end in runs]) + b"\n"
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        if b'"' in text:
            text = text.translate(None, b'"')
        return pl.read_csv(
            text,
            has_header=False,
            separator=self._delimiter,
            quote_char=None,
            schema={_column_label(index): pl.String for index in range(len(self.names))},
            columns=indexes,
        )


@dataclass
class _Rows:
    """The rows of a block of lines. Line numbers are those of the file."""

    plain: Mask
    """Lines that are rows, and can be split at every delimiter."""
    lines: int
    """How many lines of the block they are; the others begin the next block."""
    others: dict[int, list[str]] = field(default_factory=dict)
    """Line number -> the fields of each other row."""
    last_lines: dict[int, int] = field(default_factory=dict)
    """Line number -> the last line of each row of several lines."""
    rejected: dict[int, str] = field(default_factory=dict)
    """Line number -> why it is not a row."""


def _original(lines: LineBlock, last_lines: dict[int, int], number: int) -> bytes:
    """The bytes of the row that begins at a line."""
    return lines.line(number, last_lines.get(number))


def _lines_with_complex_quotes(
    data: NDArray[np.uint8], lines: LineBlock, delimiters: Places
) -> NDArray[np.int64]:
    """The lines whose quotes do more than enclose whole fields without delimiters or quotes in them.

    In all other lines the quotes can be removed.
    """
    quotes = np.flatnonzero(data == ord('"'))
    holds = np.searchsorted(lines.starts, quotes, side="right") - 1
    # Where a line has an odd number of quotes, the pairs of its neighbours would slip.
    count = np.bincount(holds, minlength=len(lines.starts))
    odd = count % 2 == 1
    quotes, holds = quotes[~odd[holds]], holds[~odd[holds]]
    opening, closing, holds = quotes[::2], quotes[1::2], holds[::2]
    edge = np.zeros(len(data) + 2, np.bool_)
    edge[delimiters + 1] = edge[lines.starts] = edge[lines.ends + 1] = True
    before, after = edge[opening], edge[closing + 2]
    inside = np.searchsorted(delimiters, closing) > np.searchsorted(delimiters, opening)
    return np.concatenate((np.flatnonzero(odd), holds[~before | ~after | inside]))


def _column_label(index: int) -> str:
    return f"column_{index + 1}"


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class _Line:
    """A line of the head of a file."""

    text: str
    number: int
    start: int
    """Its byte offset."""
    end: int
    """The byte offset of the next line."""


def _head(stream: FileStream) -> Iterator[_Line]:
    """The lines that are not blank."""
    for lines in LineReader(stream, 0, 1):
        block = lines.next_offset - len(lines.data)
        following = [*lines.starts[1:].tolist(), len(lines.data)]
        spans = zip(lines.starts.tolist(), lines.ends.tolist(), following, strict=True)
        for number, (start, end, after) in enumerate(spans, lines.first_line):
            line = lines.data[start:end]
            if number == 1 and line.startswith(_BOM):
                line, start = line.removeprefix(_BOM), start + len(_BOM)
            if not line.strip():
                continue
            if lines.overlong or b"\0" in line or not _is_text(line):
                raise SourceError(
                    f"{stream.name}: expected CSV with a header, was binary or not UTF-8: {line[:40]!r}",
                    remedy="Give CSV in UTF-8, Parquet, or JSON lines.",
                )
            yield _Line(line.decode(), number, block + start, block + after)


def _find_header(stream: FileStream) -> tuple[_Line, _Line]:
    """(the line that names the columns, the first line that is no comment); the former may be a comment."""
    comment: _Line | None = None
    for line in _head(stream):
        if not line.text.startswith("#"):
            return (comment if comment is not None and _names_fields(comment, line) else line), line
        comment = replace(line, text=line.text[1:].strip())
    if comment is None:
        raise SourceError(f"{stream.name}: expected a header, was blank")
    return comment, comment


def _names_fields(comment: _Line, line: _Line) -> bool:
    """Whether a line is a row whose fields the comment before it names."""
    delimiter = max(_DELIMITERS, key=line.text.count)
    row = line.text.split(delimiter)
    is_row = any(_LOOKS_LIKE_A_VALUE.fullmatch(field.strip('" ')) for field in row)
    return is_row and len(comment.text.split(delimiter)) == len(row) > 1
