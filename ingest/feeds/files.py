"""Files of ticks: CSV, Parquet and JSON lines, plain or gzipped, as batches of the model.

with open_source(path, TRADES, "comex", symbol="GCZ3") as source:
    for piece in source.pieces():
        ...
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

import numpy as np
import polars as pl

from ingest.feeds.blocks import Block, Position, Reader
from ingest.feeds.conversion import Faults, absent, convert
from ingest.feeds.csvs import CsvReader
from ingest.feeds.formats import Content, Format, content_of
from ingest.feeds.jsonlines import JsonLinesReader
from ingest.feeds.lines import BLOCK, open_stream
from ingest.feeds.mapping import Found, find
from ingest.feeds.parquets import ParquetReader
from ingest.feeds.times import Reading, survey, unit_named
from ingest.rejected import Rejected
from ingest.validation import faults as values_at_fault
from tapehouse.batch import Batch, ColumnData, Strings
from tapehouse.clock import now_ns
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, QUOTES, TRADES, Kind

_KINDS = (TRADES, QUOTES, DEPTH, ACCOUNT_TRADES)
_WHOLE = 64 << 20
_ENDS = 1 << 20
_SAMPLES, _SAMPLE = 64, 64 << 10


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a source, at most 50,000."""

    batches: tuple[Batch, ...]
    """The rows that are records, in source order; none when there are none."""
    rejected: tuple[Rejected, ...]
    """The others, in source order."""
    position: Position
    """Reading again from here gives exactly what follows this piece; goes through JSON unchanged."""
    rows_read: int
    """Rows so far since the start of the file, the rejected included."""
    fraction: float
    """How much of the file is read, from 0 to 1."""


class Source:
    """One file, opened: its columns are found and the way to read them is settled."""

    def __init__(
        self,
        path: Path,
        content: Content,
        kind: Kind,
        venue: str,
        symbol: str | None,
        mapping: Mapping[str, str],
        time_unit: str | None,
        naive_as_utc: bool,
    ) -> None:
        self.path = path
        self.format: Format = content.format
        self._kind = kind
        self._venue = venue
        self._symbol = symbol
        self._strict = kind is ACCOUNT_TRADES and content.format == "jsonlines"
        self._unpacked: IO[bytes] | None = None
        try:
            self._reader = self._open(content)
            self._found = find(kind, venue, self._reader.names, symbol, mapping, strict=self._strict)
            self._readings, notes = self._survey(time_unit, naive_as_utc)
        except BaseException:
            self.close()
            raise
        self.has_seq = self._found.has("seq") or kind is ACCOUNT_TRADES
        """Whether rows bring their own number; where not, `seq` is 0 in all of them."""
        self.seq_column = next(
            (source for column, source in self._found.columns if column.name == "seq"), "id"
        )
        """The source's name for that number."""
        self.notes = (*self._found.notes, *notes, *self._absences())
        """What was recognised, guessed or ignored, and must be said."""
        self.identity = _identity(
            path, [kind.name, venue, symbol, _told(self._found), time_unit, naive_as_utc]
        )
        """Names this content read in this way: the same for a repeat, another when the file has changed."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the temporary file, which only a gzipped Parquet has."""
        if self._unpacked is not None:
            self._unpacked.close()

    def pieces(self, start: Position | None = None) -> Iterator[Piece]:
        """The rows behind `start`, a piece's position, or all; the same pieces each time.

        Raises SourceError where the file is damaged, after the pieces before the damage.
        """
        for block in self._reader.blocks(self._found.columns, start):
            yield self._piece(block)

    def _open(self, content: Content) -> Reader:
        if content.format == "capture":
            raise SourceError(
                f"{self.path}: expected CSV, Parquet or JSON lines, was a capture of a socket",
                remedy="Ingest it as a venue's capture.",
            )
        if content.format == "parquet":
            if content.gzipped:
                self._unpacked = _unpacked(self.path)
            return ParquetReader(self.path.name, self._unpacked or self.path)
        if content.format == "jsonlines":
            return JsonLinesReader(self.path, content.gzipped, self._strict)
        if self._kind is DEPTH:
            raise UsageError("depth: expected JSON lines or Parquet, was CSV, which holds no lists")
        return CsvReader(self.path, content.gzipped)

    def _survey(
        self, time_unit: str | None, naive_as_utc: bool
    ) -> tuple[dict[str, Reading], tuple[str, ...]]:
        """How to read each column of times, by the first rows there are."""
        unit = None if time_unit is None else unit_named(time_unit)
        columns = self._found.columns
        first = next((block for block in self._reader.blocks(columns, None) if len(block.places)), None)
        readings: dict[str, Reading] = {}
        notes: list[str] = []
        for column, source in columns:
            if column.type == "time" and first is not None:
                values = first.columns[column.name]
                assert isinstance(values, pl.Series)
                readings[column.name], said = survey(column.name, source, values, unit, naive_as_utc)
                notes.extend(said)
        return readings, tuple(notes)

    def _absences(self) -> Iterator[str]:
        if not self._found.has("ts_recv"):
            yield "ts_recv: none, equal to ts_event"
        if not self.has_seq:
            yield "seq: none, made from time"

    def _piece(self, block: Block) -> Piece:
        reasons = dict(block.broken)
        batches = []
        rows = len(block.places)
        if rows:
            faults = Faults()
            batch = Batch(self._kind, self._venue, rows, self._columns(block, faults))
            # Values are judged here already, where the original bytes and their place are at hand.
            found = {**values_at_fault(batch, now_ns()), **faults.reasons}
            reasons.update((int(block.places[row]), reason) for row, reason in found.items())
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
        return Piece(tuple(batches), rejected, block.position, block.rows_read, block.fraction)

    def _columns(self, block: Block, faults: Faults) -> dict[str, ColumnData]:
        rows = len(block.places)
        columns: dict[str, ColumnData] = {}
        for column in self._kind.columns:
            name = column.name
            if name in block.columns:
                reading = self._readings.get(name, Reading())
                columns[name] = convert(column, block.columns[name], reading, faults)
            elif name == "ts_recv":
                columns[name] = columns["ts_event"]
            elif name == "symbol":
                columns[name] = Strings.constant(self._symbol, rows)
            elif name == "seq":
                columns[name] = np.zeros(rows, np.int64)
            elif name != "venue":
                columns[name] = absent(column, rows)
        return columns


def open_source(
    path: Path | str,
    kind: Kind,
    venue: str,
    symbol: str | None = None,
    mapping: Mapping[str, str] | None = None,
    *,
    time_unit: str | None = None,
    naive_as_utc: bool = False,
) -> Source:
    """Open a file of `kind` (trades, quotes, depth or account_trades) whose rows are of `venue`.

    `symbol` is every row's, else a column gives it. `mapping` says which source column a model column is
    (`ts` for ts_event; `id` or `trade_id` for seq); the usual names are recognised without it. `time_unit`
    (s, ms, us or ns since 1970) is for times given as numbers, and guessed where it is clear.
    `naive_as_utc` takes times without a zone as UTC.

    Raises UsageError where the columns or times are not clear, SourceError where the file cannot be read.
    """
    if kind not in _KINDS:
        names = " ".join(kind.name for kind in _KINDS)
        raise UsageError(f"kind: expected one of {names} in a file, was {kind.name}")
    path = Path(path)
    return Source(path, content_of(path), kind, venue, symbol, mapping or {}, time_unit, naive_as_utc)


def _unpacked(path: Path) -> IO[bytes]:
    """A temporary file of what a gzip file holds; it is gone when closed, or with this process."""
    file = TemporaryFile()  # noqa: SIM115 - the source closes it
    with open_stream(path, gzipped=True) as stream:
        while part := stream.read(BLOCK):
            file.write(part)
        if stream.damage is not None:
            file.close()
            raise stream.damage
    file.seek(0)
    return file


def _told(found: Found) -> dict[str, str]:
    return {column.name: source for column, source in found.columns}


def _identity(path: Path, terms: list[object]) -> str:
    """The hash of the content, of a large file that of its size, both ends and samples, and of the terms."""
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
