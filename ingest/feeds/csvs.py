"""CSV with a header, read a block of lines at a time.

Lines with the right number of delimiters and nothing unusual in them are parsed together; each of the others
is read by itself, and is either a row all the same or broken.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.feeds.blocks import Block, Position, Wanted
from ingest.feeds.lines import BLOCK, Lines, Stream, open_stream, read_lines
from tapehouse.errors import SourceError, UsageError

_DELIMITERS = ",;\t|"
_BOM = b"\xef\xbb\xbf"
_VALUE = re.compile(r"\s*([+-]?\.?\d[\d.,eE+-]*|\d{4}-\d\d-\d\d.*)\s*")
_SHOWN = 200
_REMEDY = "Put the columns' names in the first line, such as: ts,price,size"

Mask = NDArray[np.bool_]
Places = NDArray[np.int64]


class CsvReader:
    """A CSV file whose first line that is not blank names its columns, delimited by , ; tab or |."""

    unit = "line"

    def __init__(self, path: Path, gzipped: bool) -> None:
        self._path = path
        self._gzipped = gzipped
        with open_stream(path, gzipped) as stream:
            self._line, self._start, header = _header(stream)
        self._delimiter = max(_DELIMITERS, key=header.count)
        try:
            names = next(csv.reader([header], delimiter=self._delimiter, strict=True))
        except csv.Error as reason:
            raise UsageError(f"{path.name}: unreadable header: {reason}: {header[:_SHOWN]!r}") from None
        self.names = tuple(name.strip() for name in names)
        if len(names) < 2 or any(_VALUE.fullmatch(name) for name in names):
            raise UsageError(
                f"{path.name}: expected a header that names the columns, was {header[:_SHOWN]!r}",
                remedy=_REMEDY,
            )

    def blocks(self, wanted: Wanted, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on, as text."""
        chosen = {column.name: self.names.index(source) for column, source in wanted}
        position = start or {"offset": self._start, "line": self._line, "rows": 0}
        rows = position["rows"]
        with open_stream(self._path, self._gzipped) as stream:
            stream.skip(position["offset"])
            for lines in read_lines(stream, position["offset"], position["line"]):
                columns, places, broken = self._parsed(lines, chosen)
                rows += len(places) + len(broken)
                following = {
                    "offset": lines.following,
                    "line": lines.first + len(lines.starts),
                    "rows": rows,
                }
                yield Block(dict(columns), places, broken, lines.line, following, rows, stream.fraction)

    def _parsed(
        self, lines: Lines, chosen: dict[str, int]
    ) -> tuple[dict[str, pl.Series], Places, dict[int, str]]:
        if lines.overlong:
            broken = {lines.first: f"line: expected at most {BLOCK} bytes, was {lines.overlong}"}
            return {}, np.array([], np.int64), broken
        plain, blank = self._plain(lines)
        numbers = lines.first + np.arange(len(plain))
        frame = self._together(lines, plain, sorted(set(chosen.values())))
        places = numbers[plain]
        broken = {}
        others: list[list[str]] = []
        other_places = []
        for place in numbers[~plain & ~blank].tolist():
            fields = self._alone(lines.line(place))
            if isinstance(fields, str):
                broken[place] = fields
            elif fields:
                others.append(fields)
                other_places.append(place)
        if others:
            alone = {
                _label(index): pl.Series([fields[index] or None for fields in others], dtype=pl.String)
                for index in sorted(set(chosen.values()))
            }
            places = np.concatenate((places, np.array(other_places)))
            order = np.argsort(places)
            frame, places = frame.vstack(pl.DataFrame(alone))[order], places[order]
        return {name: frame[_label(index)] for name, index in chosen.items()}, places, broken

    def _plain(self, lines: Lines) -> tuple[Mask, Mask]:
        """Which lines can be cut at every delimiter, and which are blank."""
        data = np.frombuffer(lines.data, np.uint8)
        starts, ends = lines.starts, lines.ends
        delimiters = np.flatnonzero(data == ord(self._delimiter))
        found = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts)
        blank = starts == ends
        plain = (found == len(self.names) - 1) & ~blank
        if b'"' in lines.data:
            plain[_not_just_around(data, lines, delimiters)] = False
        for mark in b"\0\r":
            if mark in lines.data:
                places = np.flatnonzero(data == mark)
                holds = np.searchsorted(starts, places, side="right") - 1
                plain[holds[places < ends[holds]]] = False
        if not lines.data.isascii():
            places = np.flatnonzero(data >= 0x80)
            for index in np.unique(np.searchsorted(starts, places, side="right") - 1).tolist():
                plain[index] &= _is_text(lines.data[starts[index] : ends[index]])
        return plain, blank

    def _together(self, lines: Lines, plain: Mask, indexes: list[int]) -> pl.DataFrame:
        """The fields `indexes` of the plain lines; an empty field is null."""
        if not plain.any():
            return pl.DataFrame(schema={_label(index): pl.String for index in indexes})
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
            schema={_label(index): pl.String for index in range(len(self.names))},
            columns=indexes,
        )

    def _alone(self, line: bytes) -> list[str] | str:
        """The fields of one line, none where it is blank, or why it has none."""
        if not line.strip(b" "):
            return []
        if b"\0" in line:
            return "line: expected text, was a NUL byte in it"
        try:
            fields = next(csv.reader([line.decode()], delimiter=self._delimiter, strict=True))
        except UnicodeDecodeError as reason:
            return f"line: expected UTF-8, was {line[reason.start : reason.start + 1]!r} at {reason.start}"
        except csv.Error as reason:
            return f"line: unreadable quotes or line ends: {reason}"
        if len(fields) != len(self.names):
            return f"line: expected {len(self.names)} fields, was {len(fields)}"
        return fields


def _not_just_around(data: NDArray[np.uint8], lines: Lines, delimiters: Places) -> NDArray[np.int64]:
    """The lines with quotes that do more than enclose whole fields without delimiters or quotes in them.

    The others say the same without their quotes.
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
    before, behind = edge[opening], edge[closing + 2]
    inside = np.searchsorted(delimiters, closing) > np.searchsorted(delimiters, opening)
    return np.concatenate((np.flatnonzero(odd), holds[~before | ~behind | inside]))


def _label(index: int) -> str:
    return f"column_{index + 1}"


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _header(stream: Stream) -> tuple[int, int, str]:
    """The line number and the offset behind the first line that is not blank, and that line."""
    for lines in read_lines(stream, 0, 1):
        for index, (start, end) in enumerate(zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)):
            line = lines.data[start:end]
            if index + lines.first == 1:
                line = line.removeprefix(_BOM)
            if not line.strip():
                continue
            if lines.overlong or b"\0" in line or not _is_text(line):
                raise SourceError(
                    f"{stream.name}: expected CSV with a header, was binary or no UTF-8: {line[:40]!r}",
                    remedy="Give CSV in UTF-8, Parquet, or JSON lines.",
                )
            following = lines.starts[index + 1] if index + 1 < len(lines.starts) else len(lines.data)
            return lines.first + index + 1, lines.following - len(lines.data) + int(following), line.decode()
    raise SourceError(f"{stream.name}: expected a header, was blank")
