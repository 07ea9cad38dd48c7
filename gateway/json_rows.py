"""Rows as JSON objects, one after the other, of which any part can be taken without encoding it again."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pyarrow as pa

_TIME = "%Y-%m-%dT%H:%M:%S%.9fZ"
"""ISO 8601 with nine digits of the second and Z."""
_NEWLINE = ord("\n")


class JsonRows:
    """The rows of a batch as JSON objects with commas between them.

    Times are ISO 8601 text with nine digits of the second, decimals are text.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        file = io.BytesIO()
        with_text(batch).write_ndjson(file)
        lines = file.getvalue()
        # A newline within a text is escaped, so each of these ends a row.
        self._ends = np.concatenate([[0], np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEWLINE) + 1])
        self._text = lines.replace(b"\n", b",")

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def nbytes(self) -> int:
        """The bytes in memory."""
        return len(self._text) + self._ends.nbytes

    def part(self, first: int, last: int) -> bytes:
        """The rows from the index `first` up to `last`, exclusive, without brackets."""
        return self._text[self._ends[first] : self._ends[last] - 1] if first < last else b""


def with_text(batch: pa.RecordBatch, *, lists_as_text: bool = False) -> pl.DataFrame:
    """The rows with times and decimals, and optionally lists, as text."""
    changed = []
    for field in batch.schema:
        column = pl.col(field.name)
        if pa.types.is_timestamp(field.type):
            changed.append(column.dt.to_string(_TIME))
        elif pa.types.is_decimal(field.type):
            changed.append(column.cast(pl.String))
        elif lists_as_text and pa.types.is_list(field.type):
            texts = column.list.eval(pl.element().cast(pl.String)).list.join(",")
            changed.append(pl.concat_str(pl.lit("["), texts, pl.lit("]")).alias(field.name))
    frame = pl.DataFrame(batch)
    return frame.with_columns(changed) if changed else frame
