"""The rows of a file without ids, in order of time, whatever their order in the file.

The times are read first. Where each symbol's are in order, the rows are read as they are; else they are read and
sorted, and come when all have been read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ingest.files.blocks import Position
from ingest.files.reader import Chunk, TickFile
from ingest.files.scratch import scratch_folder
from ingest.imports.time_order import TimeOrder, TimeOrderScan, TimeSorter
from tapehouse.errors import SourceError

_CHUNK_ROWS = 50_000
SCANNED, _READ = 0.2, 0.6
"""The part of the whole that is done when the times, and when the rows to be sorted, have been read."""


class OrderedChunks:
    """Reads one file; `chunks` as a `RowSource` has them."""

    def __init__(self, file: TickFile, folder: Path | None) -> None:
        """`folder` takes the temporary files of a sort, None: the system's folder for such files."""
        self._file = file
        self._folder = folder
        self._order: TimeOrder | None = None

    @property
    def note(self) -> str:
        """What is to be said of the order, once chunks have been read; else empty."""
        if self._order is None or not self._order.late:
            return ""
        if self._order.falling:
            return "the newest row comes first: numbered from the last row to the first"
        return f"{self._order.late:,} rows come after later ones: sorted by time"

    def chunks(self, start: Position | None) -> Iterator[Chunk]:
        """The rows after `start`. Raises SourceError where the file is damaged, after the rows before the damage."""
        if self._order is None:
            scan = TimeOrderScan()
            yield from self._scan(scan)
            self._order = scan.order
        if self._order.late:
            yield from self._sorted(self._order.falling, start)
            return
        for chunk in self._file.chunks(start):
            yield moved(chunk, SCANNED, 1.0)

    def _scan(self, scan: TimeOrderScan) -> Iterator[Chunk]:
        """Read the times; yields progress alone."""
        try:
            for rows in self._file.row_keys():
                scan.add(rows.ts, rows.symbols)
                yield Chunk((), (), None, 0, rows.fraction * SCANNED)
        except SourceError:
            # It is raised again when the rows are read.
            return

    def _sorted(self, falling: bool, start: Position | None) -> Iterator[Chunk]:
        skipped = start["sorted_rows"] if start else 0
        damage: SourceError | None = None
        rows_read = total = 0
        with scratch_folder(self._folder) as folder:
            sorter = TimeSorter(folder, falling)
            try:
                for chunk in self._file.chunks():
                    for batch in chunk.batches:
                        sorter.add(batch)
                        total += batch.rows
                    rows_read = chunk.rows_read
                    # An interrupted run that is resumed has put them in quarantine.
                    rejected = () if start else chunk.rejected
                    yield moved(Chunk((), rejected, None, rows_read, chunk.fraction), SCANNED, _READ)
            except SourceError as reason:
                damage = reason
            done = 0
            for batch in sorter.merged():
                for first in range(0, batch.rows, _CHUNK_ROWS):
                    piece = batch.slice(first, first + _CHUNK_ROWS)
                    done += piece.rows
                    if done <= skipped:
                        continue
                    piece = piece.slice(max(0, piece.rows - (done - skipped)), piece.rows)
                    position = {"sorted_rows": done}
                    yield moved(Chunk((piece,), (), position, rows_read, done / total), _READ, 1.0)
        if damage is not None:
            raise damage


def moved(chunk: Chunk, first: float, last: float) -> Chunk:
    """`chunk` with its fraction as that of a stage from `first` to `last`."""
    fraction = first + chunk.fraction * (last - first)
    return Chunk(chunk.batches, chunk.rejected, chunk.position, chunk.rows_read, fraction)
