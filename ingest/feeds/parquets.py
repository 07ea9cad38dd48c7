"""Parquet, read a few thousand rows at a time however large its row groups are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.feeds.arrow import is_text, row_as_json, values_of
from ingest.feeds.blocks import Block, Position, Wanted
from tapehouse.errors import SourceError

_ROWS = 50_000
_BUFFER = 1 << 20


class ParquetReader:
    """A Parquet file, by its path or as an open file."""

    unit = "row"

    def __init__(self, name: str, source: Path | IO[bytes]) -> None:
        self._name = name
        self._source = source
        with _readable(f"{name}: no readable Parquet"), self._open(()) as file:
            self._groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._schema = file.schema_arrow
            # A damaged name of a zone is found where it is looked at.
            for kind in self._schema.types:
                getattr(kind, "tz", None)
        self._total = sum(self._groups)
        self.names = tuple(self._schema.names)

    def blocks(self, wanted: Wanted, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on."""
        names = list(dict.fromkeys(source for _, source in wanted))
        with self._open(self._dictionaries(wanted)) as file:
            for batch, behind in self._batches(file, names, start["row"] if start else 0):
                places = np.arange(behind - batch.num_rows, behind) + 1
                columns = {column.name: values_of(column, batch.column(source)) for column, source in wanted}
                fraction = min(behind / max(self._total, 1), 1.0)
                yield Block(columns, places, {}, _original(batch, behind), {"row": behind}, behind, fraction)

    def _open(self, dictionaries: tuple[str, ...]) -> pq.ParquetFile:
        # Without a buffer a column of a row group is read whole, which one group of 100 million rows forbids.
        return pq.ParquetFile(
            self._source, read_dictionary=list(dictionaries), buffer_size=_BUFFER, pre_buffer=False
        )

    def _dictionaries(self, wanted: Wanted) -> tuple[str, ...]:
        """The columns of text that are wanted as names alone."""
        others = {source for column, source in wanted if column.type != "symbol"}
        return tuple(
            source
            for _, source in wanted
            if source not in others and is_text(self._schema.field(source).type)
        )

    def _batches(
        self, file: pq.ParquetFile, names: list[str], start: int
    ) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Batches from row `start` on, each with the number of rows up to its end.

        Row groups are cut from their own starts, small ones read together, so that the batches are the same
        wherever reading starts.
        """
        before = 0
        for groups, rows in _together(self._groups):
            if before + rows <= start:
                before += rows
                continue
            parts = file.iter_batches(_ROWS, row_groups=groups, columns=names)
            if len(groups) > 1:
                parts = _joined(parts)
            while True:
                with _readable(f"{self._name}: damaged behind row {before}"):
                    batch = next(parts, None)
                if batch is None:
                    break
                before += batch.num_rows
                if before > start:
                    yield batch.slice(max(batch.num_rows - (before - start), 0)), before


@contextmanager
def _readable(problem: str) -> Iterator[None]:
    """Whatever pyarrow raises over a damaged file becomes a SourceError."""
    try:
        yield
    # Names that are no UTF-8 are ValueErrors.
    except (pa.ArrowException, OSError, ValueError) as reason:
        raise SourceError(f"{problem}: {reason}", remedy="Fetch or write the file again.") from reason


def _together(groups: list[int]) -> Iterator[tuple[list[int], int]]:
    """Runs of row groups that fit one batch, and larger ones alone, with their rows."""
    run: list[int] = []
    total = 0
    for group, rows in enumerate(groups):
        if run and total + rows > _ROWS:
            yield run, total
            run, total = [], 0
        run.append(group)
        total += rows
    if run:
        yield run, total


def _joined(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    table = pa.Table.from_batches(list(batches)).unify_dictionaries().combine_chunks()
    yield from table.to_batches()


def _original(batch: pa.RecordBatch, behind: int) -> Callable[[int], bytes]:
    return lambda place: row_as_json(batch, place - 1 - (behind - batch.num_rows))
