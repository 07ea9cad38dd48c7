"""JSON lines: one object a line, its members the columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
import polars as pl

from ingest.feeds.blocks import UNREADABLE, Block, Levels, Position, Values, Wanted
from ingest.feeds.lines import BLOCK, Lines, open_stream, read_lines
from ingest.feeds.records import Fields, read_line
from tapehouse.errors import SourceError
from tapehouse.model import Column

_BOM = b"\xef\xbb\xbf"

Record = dict[str, Any]
_Taken = TypeVar("_Taken")


class JsonLinesReader:
    """A file of JSON objects, one a line. Its columns are the members of the objects in its first block.

    `strict` reads them by `ingest.feeds.records`.
    """

    unit = "line"

    def __init__(self, path: Path, gzipped: bool, strict: bool = False) -> None:
        self._path = path
        self._gzipped = gzipped
        self._columns = _strict_columns if strict else _columns
        with open_stream(path, gzipped) as stream:
            self._start = len(_BOM) if stream.read(len(_BOM)) == _BOM else 0
        names: dict[str, None] = {}
        with open_stream(path, gzipped) as stream:
            stream.skip(self._start)
            for lines in read_lines(stream, self._start, 1):
                records, _, _ = _records(lines, dict[str, Any].copy)
                for record in records:
                    names.update(dict.fromkeys(record))
                if names:
                    break
        if not names:
            raise SourceError(
                f"{path}: expected JSON objects, one a line, was none",
                remedy="Give JSON lines, CSV with a header, or Parquet.",
            )
        self.names = tuple(names)

    def blocks(self, wanted: Wanted, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on."""
        position = start or {"offset": self._start, "line": 1, "rows": 0}
        rows = position["rows"]
        with open_stream(self._path, self._gzipped) as stream:
            stream.skip(position["offset"])
            for lines in read_lines(stream, position["offset"], position["line"]):
                found, places, broken = self._columns(lines, wanted)
                rows += len(places) + len(broken)
                following = {"offset": lines.following, "line": lines.first + len(lines.starts), "rows": rows}
                columns = {
                    column.name: _values(column, values)
                    for (column, _), values in zip(wanted, found, strict=True)
                }
                yield Block(
                    columns, np.array(places, np.int64), broken, lines.line, following, rows, stream.fraction
                )


def _columns(lines: Lines, wanted: Wanted) -> tuple[list[Sequence[Any]], list[int], dict[int, str]]:
    """The values of each wanted column, the numbers of their lines, and why other lines have none."""
    sources = [source for _, source in wanted]

    def take(record: Record) -> tuple[Any, ...]:
        return tuple(map(record.get, sources))

    def separate(rows: Iterable[tuple[Any, ...]]) -> list[Sequence[Any]]:
        # One flat list: a list of tuples would keep the garbage collector busy.
        values = list(chain.from_iterable(rows))
        return [values[index :: len(sources)] for index in range(len(sources))]

    full = np.flatnonzero(lines.ends > lines.starts)
    places, broken = (full + lines.first).tolist(), dict[int, str]()
    try:
        # Twice as fast, where every line that is not blank is an object with all members.
        texts = filter(None, lines.data.split(b"\n")) if not lines.overlong else [b""]
        columns = separate(map(itemgetter(*sources), map(orjson.loads, texts)))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        rows, places, broken = _records(lines, take)
        columns = separate(rows)
    for (column, _), values in zip(wanted, columns, strict=True):
        if column.type == "time" and float in map(type, values):
            # A float would round them.
            return separate(take(_exact(lines.line(place))) for place in places), places, broken
    return columns, places, broken


def _strict_columns(lines: Lines, wanted: Wanted) -> tuple[list[Sequence[Any]], list[int], dict[int, str]]:
    """As `_columns`, of lines that hold strict records."""
    if lines.overlong:
        return [[] for _ in wanted], [], {lines.first: _overlong(lines)}
    rows: list[Fields] = []
    places: list[int] = []
    broken: dict[int, str] = {}
    spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
    for place, (start, end) in enumerate(spans, lines.first):
        line = lines.data[start:end]
        if not line.strip():
            continue
        found = read_line(line, wanted)
        if isinstance(found, str):
            broken[place] = found
        else:
            rows.append(found)
            places.append(place)
    return [[row[index] for row in rows] for index in range(len(wanted))], places, broken


def _records(
    lines: Lines, take: Callable[[Record], _Taken]
) -> tuple[list[_Taken], list[int], dict[int, str]]:
    """What is taken of each object, the numbers of their lines, and why other lines are none."""
    if lines.overlong:
        return [], [], {lines.first: _overlong(lines)}
    taken: list[_Taken] = []
    places: list[int] = []
    broken: dict[int, str] = {}
    spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
    for place, (start, end) in enumerate(spans, lines.first):
        line = lines.data[start:end]
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as reason:
            if line.strip():
                broken[place] = f"line: expected a JSON object, was no JSON: {reason}"
            continue
        if type(record) is dict:
            taken.append(take(record))
            places.append(place)
        else:
            broken[place] = f"line: expected a JSON object, was {_said(record)}"
    return taken, places, broken


def _overlong(lines: Lines) -> str:
    return f"line: expected at most {BLOCK} bytes, was {lines.overlong}"


def _exact(line: bytes) -> Record:
    """An object that orjson has read, with its numbers as the text they are written in."""
    try:
        record: Record = json.loads(line, parse_float=str, parse_int=str)
    except RecursionError:
        # orjson goes deeper; what is nested that far is no value of any column.
        return {}
    return record


def _said(value: Any) -> str:
    return json.dumps(value, default=str)[:100]


def _values(column: Column, found: Sequence[Any]) -> Values:
    """One value a row, of a type of its own where all agree, else as text."""
    if column.type == "doubles":
        return _levels(found)
    types = set(map(type, found)) - {type(None)}
    if types == {str} or not types:
        return pl.Series(found, dtype=pl.String)
    if types == {float} or (types == {int, float} and column.type == "double"):
        return pl.Series(found, dtype=pl.Float64, strict=False)
    if types == {int}:
        numbers = [value for value in found if value is not None]
        if min(numbers) >= -(2**63) and max(numbers) < 2**63:
            return pl.Series(found, dtype=pl.Int64)
    text: Callable[[Any], str | None] = _word if column.type in ("flag", "short", "byte") else _text
    return pl.Series([text(value) for value in found], dtype=pl.String)


def _text(value: Any) -> str | None:
    """A value among others of other types, as text."""
    if value is None or type(value) is str:
        return value
    return repr(value) if type(value) in (int, float) else UNREADABLE + _said(value)


def _word(value: Any) -> str | None:
    return _said(value) if type(value) is bool else _text(value)


def _levels(found: Sequence[Any]) -> Levels:
    lists = [value if type(value) is list else [] for value in found]
    flat = [number for numbers in lists for number in numbers]
    types = set(map(type, flat))
    if types <= {int, float}:
        numbers = pl.Series(flat, dtype=pl.Float64, strict=False)
    else:
        numbers = pl.Series([_text(number) for number in flat], dtype=pl.String)
    ends = np.cumsum([len(numbers) for numbers in lists], dtype=np.int64)
    return Levels(numbers, ends, np.array([type(value) is not list for value in found], np.bool_))
