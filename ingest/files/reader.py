"""Reads files of ticks: CSV, Parquet and JSON lines, plain or gzipped, as batches.

with open_source(path, TRADES, "comex", symbol="GCZ3") as source:
    for chunk in source.chunks():
        ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from types import TracebackType
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.files.blocks import Block, FormatReader, Position, Values
from ingest.files.conversion import RowFaults, convert_column, missing_column
from ingest.files.csv import CsvReader
from ingest.files.formats import DetectedFormat, Format, detect_format
from ingest.files.json_arrays import unpack_array
from ingest.files.jsonlines import JsonLinesReader
from ingest.files.lines import BLOCK_BYTES, open_stream
from ingest.files.local_times import on_dates
from ingest.files.mapping import DATE, map_columns
from ingest.files.options import FOUND_OUT, ReadOptions
from ingest.files.parquet import ParquetReader
from ingest.files.times import TimeFormat, detect_time_format
from ingest.files.unpacking import Unpacking, untold
from ingest.rejected import Rejected
from ingest.validation import invalid_rows as values_at_fault
from tapehouse.batch import Batch, ColumnData, Strings
from tapehouse.clock import now_ns
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, QUOTES, TRADES, Column, Kind

_PLACE = re.compile(r"#[1-9][0-9]*")
"""In a mapping, a column of CSV without a header, by its place."""
_KINDS = (TRADES, QUOTES, DEPTH, ACCOUNT_TRADES)
_WHOLE = 64 << 20
_ENDS = 1 << 20
_SAMPLES, _SAMPLE = 64, 64 << 10


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a source, at most 50,000."""

    batches: tuple[Batch, ...]
    """The valid rows, in source order; empty when there are none."""
    rejected: tuple[Rejected, ...]
    """The rejected rows, in source order."""
    position: Position | None
    """Reading from here gives exactly what follows this chunk; JSON-serialisable. None: no reading from here."""
    rows_read: int
    """Rows read since the start of the file, including rejected ones."""
    fraction: float
    """The part of the file read so far, from 0 to 1."""


@dataclass(frozen=True)
class RowKeys:
    """What rows of a source are ordered by."""

    ts: NDArray[np.int64]
    """ts_event, ns UTC, [rows]."""
    symbols: Strings
    ids: NDArray[np.int64]
    """The ids of the source, [rows]; 0 where it has none."""
    fraction: float
    """The part of the file read so far, from 0 to 1."""


class TickFile:
    """An opened file whose columns are mapped and whose time formats are known."""

    def __init__(
        self,
        path: Path,
        content: DetectedFormat,
        kind: Kind,
        venue: str,
        symbol: str | None,
        options: ReadOptions,
        clock_unit_ns: int,
        unpacking: Unpacking,
    ) -> None:
        self.path = path
        self.format: Format = content.format
        self._kind = kind
        self._venue = venue
        self._symbol = symbol
        self._clock_unit_ns = clock_unit_ns
        self._time_unit = options.time_unit
        self._strict = kind is ACCOUNT_TRADES and content.format in ("jsonlines", "jsonarray")
        self._by_place = any(_PLACE.fullmatch(source) for source in options.mapping.values())
        self._unpacked: IO[bytes] | None = None
        self._lines: Path | None = None
        try:
            self._reader = self._open(content, unpacking)
            self._mapping = map_columns(
                kind,
                venue,
                self._reader.names,
                symbol,
                options.mapping,
                strict=self._strict,
                number_by=options.number_by,
            )
            self._time_formats, notes = self._detect_time_formats(options)
        except BaseException:
            self.close()
            raise
        self.has_seq = self._mapping.has("seq") or kind is ACCOUNT_TRADES
        """Whether the file has ids; where not, `seq` is 0 in all rows."""
        self.header = self._reader.header if isinstance(self._reader, CsvReader) else ""
        """The line of a CSV file that names its columns."""
        self.provided = frozenset(column.name for column, _ in self._mapping.columns)
        """The model columns that the file has; the others have defaults in all rows."""
        self.seq_column = next(
            (source for column, source in self._mapping.columns if column.name == "seq"), "id"
        )
        """The file's name of the column of ids."""
        self.notes = (*self._mapping.notes, *notes, *self._describe_defaults())
        """What was recognised, guessed or ignored, to be shown to the user."""
        self.identity = _identity(
            path,
            [
                kind.name,
                venue,
                symbol,
                {column.name: source for column, source in self._mapping.read},
                options.time_unit,
                options.timezone,
                options.date,
                clock_unit_ns,
            ],
        )
        """A hash of the content and of how it is read: equal for a repeat, different when the file has changed."""

    @property
    def timezone(self) -> str | None:
        """The zone in which times without one are read; None where there are none."""
        return next((found.zone for found in self._time_formats.values() if found.zone), None)

    def __enter__(self) -> TickFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary file, which a gzipped Parquet file and a JSON array have."""
        if self._unpacked is not None:
            self._unpacked.close()
        if self._lines is not None:
            self._lines.unlink(missing_ok=True)

    def chunks(self, start: Position | None = None) -> Iterator[Chunk]:
        """The rows after `start`, a chunk's position, or all; the same chunks each time.

        Raises SourceError where the file is damaged, after the chunks before the damage.
        """
        for block in self._reader.blocks(self._mapping.read, start):
            yield self._convert_block(block)

    def row_keys(self) -> Iterator[RowKeys]:
        """The times, symbols and ids of the rows that have all that the file has of these.

        Reads those columns alone. Raises SourceError where the file is damaged, after the rows before.
        """
        wanted = [
            (column, source)
            for column, source in self._mapping.read
            if column.name in ("ts_event", "symbol", "seq", DATE.name)
        ]
        for block in self._reader.blocks(wanted, None):
            rows = len(block.record_numbers)
            if not rows:
                continue
            faults = RowFaults()
            found = {
                column.name: convert_column(
                    column,
                    self._values(block, column),
                    self._time_formats.get(column.name, TimeFormat()),
                    faults,
                )
                for column, _ in wanted
                if column is not DATE
            }
            good = np.ones(rows, np.bool_)
            good[list(faults.reasons)] = False
            ts, symbols = found["ts_event"], found.get("symbol", Strings.constant(self._symbol, rows))
            ids = found.get("seq", np.zeros(rows, np.int64))
            assert isinstance(symbols, Strings)
            assert isinstance(ids, np.ndarray)
            yield RowKeys(self._floored(ts)[good], symbols.take(good), ids[good], block.fraction)

    def _values(self, block: Block, column: Column) -> Values:
        """The values of a column; times of day have the dates that another column gives."""
        values, dates = block.columns[column.name], block.columns.get(DATE.name)
        if dates is None or column.type != "time":
            return values
        assert isinstance(values, pl.Series)
        assert isinstance(dates, pl.Series)
        return on_dates(values, dates, self._time_unit)

    def _floored(self, times: ColumnData) -> NDArray[np.int64]:
        assert isinstance(times, np.ndarray)
        return times if self._clock_unit_ns == 1 else times // self._clock_unit_ns * self._clock_unit_ns

    def _open(self, content: DetectedFormat, unpacking: Unpacking) -> FormatReader:
        if content.format == "capture":
            raise SourceError(
                f"{self.path}: expected CSV, Parquet or JSON lines, was a capture of a socket",
                remedy="Ingest it as a venue's capture.",
            )
        if content.format == "parquet":
            if content.gzipped:
                self._unpacked = _unpacked(self.path, unpacking)
            return ParquetReader(self.path.name, self._unpacked or self.path)
        if content.format == "jsonlines":
            return JsonLinesReader(self.path, content.gzipped, self._strict)
        if content.format == "jsonarray":
            with NamedTemporaryFile(delete=False) as lines, open_stream(self.path, content.gzipped) as stream:
                self._lines = Path(lines.name)
                unpack_array(stream, lines, unpacking)
            return JsonLinesReader(self._lines, gzipped=False, strict=self._strict, name=self.path.name)
        if self._kind is DEPTH:
            raise UsageError("depth: expected JSON lines or Parquet, was CSV, which holds no lists")
        return CsvReader(self.path, content.gzipped, by_place=self._by_place)

    def _detect_time_formats(self, options: ReadOptions) -> tuple[dict[str, TimeFormat], tuple[str, ...]]:
        """The format of each time column, detected from the first rows."""
        columns = self._mapping.columns
        first = next(
            (block for block in self._reader.blocks(self._mapping.read, None) if len(block.record_numbers)),
            None,
        )
        formats: dict[str, TimeFormat] = {}
        notes: list[str] = []
        for column, source in columns:
            if column.type == "time" and first is not None:
                values = self._values(first, column)
                assert isinstance(values, pl.Series)
                formats[column.name], column_notes = detect_time_format(column.name, source, values, options)
                notes.extend(column_notes)
        if formats and options.date is not None and not any(found.date for found in formats.values()):
            raise UsageError(
                f"--date: expected a column of times of day in {self.path.name}, was none",
                remedy="Leave --date out: its times have dates.",
            )
        return formats, tuple(notes)

    def _describe_defaults(self) -> Iterator[str]:
        if not self._mapping.has("ts_recv"):
            yield "ts_recv: none, equal to ts_event"
        if not self.has_seq:
            yield "seq: none, made from time"

    def _convert_block(self, block: Block) -> Chunk:
        reasons = dict(block.rejected)
        batches = []
        rows = len(block.record_numbers)
        if rows:
            faults = RowFaults()
            batch = Batch(self._kind, self._venue, rows, self._columns(block, faults))
            # Validated here, where the original bytes of a rejected row are available.
            found = {**values_at_fault(batch, now_ns()), **faults.reasons}
            reasons.update((int(block.record_numbers[row]), reason) for row, reason in found.items())
            if found:
                good = np.ones(rows, np.bool_)
                good[list(found)] = False
                batch = batch.take(good)
            if batch.rows:
                batches.append(batch)
        where = f"{self.path.name} {self._reader.unit}"
        rejected = tuple(
            Rejected(block.original(place), reason, f"{where} {place}")
            for place, reason in sorted(reasons.items())
        )
        return Chunk(tuple(batches), rejected, block.position, block.rows_read, block.fraction)

    def _columns(self, block: Block, faults: RowFaults) -> dict[str, ColumnData]:
        rows = len(block.record_numbers)
        columns: dict[str, ColumnData] = {}
        for column in self._kind.columns:
            name = column.name
            if name in block.columns:
                time_format = self._time_formats.get(name, TimeFormat())
                columns[name] = convert_column(
                    column,
                    self._values(block, column),
                    time_format,
                    faults,
                    buyer_maker=self._mapping.buyer_maker,
                )
                if name == "ts_event":
                    columns[name] = self._floored(columns[name])
            elif name == "ts_recv":
                columns[name] = columns["ts_event"]
            elif name == "symbol":
                columns[name] = Strings.constant(self._symbol, rows)
            elif name == "seq":
                columns[name] = np.zeros(rows, np.int64)
            elif name != "venue":
                columns[name] = missing_column(column, rows)
        return columns


def open_tick_file(
    path: Path | str,
    kind: Kind,
    venue: str,
    symbol: str | None = None,
    options: ReadOptions = FOUND_OUT,
    *,
    clock_unit_ns: int = 1,
    unpacking: Unpacking = untold,
) -> TickFile:
    """Open a file of `kind` (trades, quotes, depth or account_trades) whose rows are of `venue`.

    `symbol` is every row's, else a column gives it. What `options` do not say is found out where it is clear.
    ts_event is floored to `clock_unit_ns`. `unpacking` receives how far a file is that has to be unpacked first.

    Raises UsageError where the columns or times are ambiguous, SourceError where the file cannot be read.
    """
    if kind not in _KINDS:
        names = " ".join(kind.name for kind in _KINDS)
        raise UsageError(f"kind: expected one of {names} in a file, was {kind.name}")
    path = Path(path)
    return TickFile(
        path,
        detect_format(path),
        kind,
        venue,
        symbol,
        options,
        clock_unit_ns,
        unpacking,
    )


def _unpacked(path: Path, unpacking: Unpacking) -> IO[bytes]:
    """The decompressed content of a gzip file, as a temporary file that is deleted when closed."""
    file = TemporaryFile()  # noqa: SIM115 - the source closes it
    with open_stream(path, gzipped=True) as stream:
        while part := stream.read(BLOCK_BYTES):
            file.write(part)
            unpacking(stream.fraction)
        if stream.damage is not None:
            file.close()
            raise stream.damage
    file.seek(0)
    return file


def _identity(path: Path, terms: list[object]) -> str:
    """A hash of the terms and the content; of a large file its size, both ends and samples are hashed."""
    digest = blake2b(json.dumps(terms).encode(), digest_size=16)
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    if size <= _WHOLE:
        spans = [(0, size)]
    else:
        inner = [(size * step // _SAMPLES, _SAMPLE) for step in range(1, _SAMPLES)]
        spans = [(0, _ENDS), *inner, (size - _ENDS, _ENDS)]
    with open_stream(path, gzipped=False) as stream:
        for start, length in spans:
            stream.seek(start)
            digest.update(stream.read(length))
    return digest.hexdigest()
