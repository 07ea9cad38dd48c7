"""Reads JSON lines: one object a line, its members are the columns."""

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

from ingest.files.blocks import UNREADABLE, Block, ListValues, Position, SourceColumns, Values
from ingest.files.lines import BLOCK_BYTES, LineBlock, LineReader, open_stream
from ingest.files.strict_json import RecordFields, parse_line
from tapehouse.errors import SourceError
from tapehouse.model import Column

_BOM = b"\xef\xbb\xbf"

Record = dict[str, Any]
_Extracted = TypeVar("_Extracted")


class JsonLinesReader:
    """A file of JSON objects, one a line. Its columns are the members of all objects.

    `strict` reads them by `ingest.files.strict_json`.
    """

    unit = "line"

    def __init__(self, path: Path, gzipped: bool, strict: bool = False, name: str = "") -> None:
        """`name`: the file's for messages, where `path` is a temporary one."""
        self._path = path
        self._gzipped = gzipped
        self._read_columns = _read_strict_columns if strict else _read_columns
        with open_stream(path, gzipped) as stream:
            self._start = len(_BOM) if stream.read(len(_BOM)) == _BOM else 0
        names: dict[str, None] = {}
        with open_stream(path, gzipped) as stream:
            stream.skip(self._start)
            for lines in LineReader(stream, self._start, 1):
                for record in _parse_objects(lines, dict[str, Any].keys)[0]:
                    if not record <= names.keys():
                        names.update(dict.fromkeys(record))
        if not names:
            raise SourceError(
                f"{name or path.name}: expected JSON objects with the columns as members, was none",
                remedy="Give an object for each row: one a line, or all in an array.",
            )
        self.names = tuple(names)

    def blocks(self, wanted: SourceColumns, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on."""
        position = start or {"offset": self._start, "line": 1, "rows": 0}
        rows = position["rows"]
        with open_stream(self._path, self._gzipped) as stream:
            stream.skip(position["offset"])
            for lines in LineReader(stream, position["offset"], position["line"]):
                found, record_numbers, rejected = self._read_columns(lines, wanted)
                rows += len(record_numbers) + len(rejected)
                following = {
                    "offset": lines.next_offset,
                    "line": lines.first_line + len(lines.starts),
                    "rows": rows,
                }
                columns = {
                    column.name: _values(column, values)
                    for (column, _), values in zip(wanted, found, strict=True)
                }
                yield Block(
                    columns,
                    np.array(record_numbers, np.int64),
                    rejected,
                    lines.line,
                    following,
                    rows,
                    stream.fraction,
                )


def _read_columns(
    lines: LineBlock, wanted: SourceColumns
) -> tuple[list[Sequence[Any]], list[int], dict[int, str]]:
    """(values of each wanted column, their line numbers, line number -> why another line was rejected)."""
    sources = [source for _, source in wanted]

    def take(record: Record) -> tuple[Any, ...]:
        return tuple(map(record.get, sources))

    def separate(rows: Iterable[tuple[Any, ...]]) -> list[Sequence[Any]]:
        # One flat list: many tuples would slow down the garbage collector.
        values = list(chain.from_iterable(rows))
        return [values[index :: len(sources)] for index in range(len(sources))]

    full = np.flatnonzero(lines.ends > lines.starts)
    record_numbers, rejected = (full + lines.first_line).tolist(), dict[int, str]()
    try:
        # Twice as fast; works where every line that is not blank is an object with all members.
        texts = filter(None, lines.data.split(b"\n")) if not lines.overlong else [b""]
        objects = map(orjson.loads, texts)
        # Of one name, itemgetter gives the value alone.
        found = (
            map(itemgetter(*sources), objects)
            if len(sources) > 1
            else ((one[sources[0]],) for one in objects)
        )
        columns = separate(found)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        rows, record_numbers, rejected = _parse_objects(lines, take)
        columns = separate(rows)
    for (column, _), values in zip(wanted, columns, strict=True):
        if column.type in ("time", "long") and float in map(type, values):
            # A float would round them.
            return (
                separate(take(_with_exact_numbers(lines.line(number))) for number in record_numbers),
                record_numbers,
                rejected,
            )
    return columns, record_numbers, rejected


def _read_strict_columns(
    lines: LineBlock, wanted: SourceColumns
) -> tuple[list[Sequence[Any]], list[int], dict[int, str]]:
    """As `_read_columns`, for strict records."""
    if lines.overlong:
        return [[] for _ in wanted], [], {lines.first_line: _overlong_reason(lines)}
    rows: list[RecordFields] = []
    record_numbers: list[int] = []
    rejected: dict[int, str] = {}
    spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
    for number, (start, end) in enumerate(spans, lines.first_line):
        line = lines.data[start:end]
        if not line.strip():
            continue
        found = parse_line(line, wanted)
        if isinstance(found, str):
            rejected[number] = found
        else:
            rows.append(found)
            record_numbers.append(number)
    return [[row[index] for row in rows] for index in range(len(wanted))], record_numbers, rejected


def _parse_objects(
    lines: LineBlock, take: Callable[[Record], _Extracted]
) -> tuple[list[_Extracted], list[int], dict[int, str]]:
    """(what `take` gives for each object, their line numbers, line number -> why another line was rejected)."""
    if lines.overlong:
        return [], [], {lines.first_line: _overlong_reason(lines)}
    taken: list[_Extracted] = []
    record_numbers: list[int] = []
    rejected: dict[int, str] = {}
    spans = zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)
    for number, (start, end) in enumerate(spans, lines.first_line):
        line = lines.data[start:end]
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as reason:
            if line.strip():
                rejected[number] = f"line: expected a JSON object, was no JSON: {reason}"
            continue
        if type(record) is dict:
            taken.append(take(record))
            record_numbers.append(number)
        else:
            rejected[number] = f"line: expected a JSON object, was {_format_json(record)}"
    return taken, record_numbers, rejected


def _overlong_reason(lines: LineBlock) -> str:
    return f"line: expected at most {BLOCK_BYTES} bytes, was {lines.overlong}"


def _with_exact_numbers(line: bytes) -> Record:
    """A line that orjson has parsed, with its numbers as their original text."""
    try:
        record: Record = json.loads(line, parse_float=str, parse_int=str)
    except RecursionError:
        # orjson allows deeper nesting; such a value fits no column.
        return {}
    return record


def _format_json(value: Any) -> str:
    return json.dumps(value, default=str)[:100]


def _values(column: Column, found: Sequence[Any]) -> Values:
    """One value a row, typed where all values have one type, else as text."""
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
    text: Callable[[Any], str | None] = _text_or_bool if column.type in ("flag", "short", "byte") else _text
    return pl.Series([text(value) for value in found], dtype=pl.String)


def _text(value: Any) -> str | None:
    """A value of a column of mixed types, as text."""
    if value is None or type(value) is str:
        return value
    return repr(value) if type(value) in (int, float) else UNREADABLE + _format_json(value)


def _text_or_bool(value: Any) -> str | None:
    return _format_json(value) if type(value) is bool else _text(value)


def _levels(found: Sequence[Any]) -> ListValues:
    lists = [value if type(value) is list else [] for value in found]
    flat = [number for numbers in lists for number in numbers]
    types = set(map(type, flat))
    if types <= {int, float}:
        numbers = pl.Series(flat, dtype=pl.Float64, strict=False)
    else:
        numbers = pl.Series([_text(number) for number in flat], dtype=pl.String)
    ends = np.cumsum([len(numbers) for numbers in lists], dtype=np.int64)
    return ListValues(numbers, ends, np.array([type(value) is not list for value in found], np.bool_))
