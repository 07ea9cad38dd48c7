"""Reads Parquet, at most 50,000 rows at a time however large its row groups are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.files.arrow import column_values, is_text, row_as_json
from ingest.files.blocks import Block, Position, SourceColumns
from tapehouse.errors import SourceError

_ROWS = 50_000
_BUFFER = 1 << 20


class ParquetReader:
    """A Parquet file, given by its path or as an open file."""

    unit = "row"

    def __init__(self, name: str, source: Path | IO[bytes]) -> None:
        self._name = name
        self._source = source
        with _as_source_error(f"{name}: not readable as Parquet"), self._open(()) as file:
            self._groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._schema = file.schema_arrow
            # Accessing a time zone raises where its name is damaged.
            for kind in self._schema.types:
                getattr(kind, "tz", None)
            schema = file.schema
            self._int96 = frozenset(
                schema.column(i).name for i in range(len(schema)) if schema.column(i).physical_type == "INT96"
            )
            """Columns of times of any year, which as 64-bit ns wrap outside 1678 to 2261."""
        self._total = sum(self._groups)
        self.names = tuple(self._schema.names)

    def blocks(self, wanted: SourceColumns, start: Position | None) -> Iterator[Block]:
        """The rows from `start` on."""
        names = list(dict.fromkeys(source for _, source in wanted))
        first = start["row"] if start else 0
        with ExitStack() as files:
            file = files.enter_context(self._open(self._dictionary_columns(wanted)))
            batches = self._batches(file, names, first)
            if int96 := [name for name in names if name in self._int96]:
                coarse = files.enter_context(self._open((), "s"))
                batches = _without_wrapped(batches, self._batches(coarse, int96, first), int96)
            for batch, end in batches:
                record_numbers = np.arange(end - batch.num_rows, end) + 1
                columns = {
                    column.name: column_values(column, batch.column(source)) for column, source in wanted
                }
                fraction = min(end / max(self._total, 1), 1.0)
                yield Block(columns, record_numbers, {}, _original(batch, end), {"row": end}, end, fraction)

    def _open(self, dictionaries: tuple[str, ...], int96_unit: str = "ns") -> pq.ParquetFile:
        # Without a buffer each column of a row group is read whole: too much memory for 100 million rows.
        return pq.ParquetFile(
            self._source,
            read_dictionary=list(dictionaries),
            buffer_size=_BUFFER,
            pre_buffer=False,
            coerce_int96_timestamp_unit=int96_unit,
        )

    def _dictionary_columns(self, wanted: SourceColumns) -> tuple[str, ...]:
        """The text columns that are used only as symbols."""
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

        Batches start at the start of a row group, and small groups are read together, so that the batches are
        the same wherever reading starts.
        """
        before = 0
        for groups, rows in _group_runs(self._groups):
            if before + rows <= start:
                before += rows
                continue
            parts = file.iter_batches(_ROWS, row_groups=groups, columns=names)
            if len(groups) > 1:
                parts = _concatenate(parts)
            while True:
                with _as_source_error(f"{self._name}: damaged after row {before}"):
                    batch = next(parts, None)
                if batch is None:
                    break
                before += batch.num_rows
                if before > start:
                    yield batch.slice(max(batch.num_rows - (before - start), 0)), before


def _without_wrapped(
    batches: Iterator[tuple[pa.RecordBatch, int]],
    coarse: Iterator[tuple[pa.RecordBatch, int]],
    names: Sequence[str],
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """`batches` without the times in ns that are not those in seconds."""
    for (batch, end), (seconds, _) in zip(batches, coarse, strict=True):
        for name in names:
            wide = seconds.column(name).cast(pa.int64())
            narrow = pc.divide(batch.column(name).cast(pa.int64()), 1_000_000_000)
            right = pc.if_else(pc.less_equal(pc.abs(pc.subtract(wide, narrow)), 1), batch.column(name), None)
            batch = batch.set_column(batch.schema.get_field_index(name), name, right)
        yield batch, end


@contextmanager
def _as_source_error(problem: str) -> Iterator[None]:
    """Raise a SourceError for whatever pyarrow raises on a damaged file."""
    try:
        yield
    # Names that are not UTF-8 are ValueErrors.
    except (pa.ArrowException, OSError, ValueError) as reason:
        raise SourceError(f"{problem}: {reason}", remedy="Fetch or write the file again.") from reason


def _group_runs(groups: list[int]) -> Iterator[tuple[list[int], int]]:
    """Yields (row groups that fit one batch together or one larger group alone, their rows)."""
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


def _concatenate(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    table = pa.Table.from_batches(list(batches)).unify_dictionaries().combine_chunks()
    yield from table.to_batches()


def _original(batch: pa.RecordBatch, end: int) -> Callable[[int], bytes]:
    return lambda place: row_as_json(batch, place - 1 - (end - batch.num_rows))
