"""Conversion of batches to polars frames, with the same values as queries of the stores return."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from tapehouse.batch import Batch, ColumnData, Lists, Strings
from tapehouse.model import NULL_LONG, Column

TIME = pl.Datetime("ns", "UTC")
_DECIMAL = pa.decimal128(38, 18)


def as_frame(batch: Batch, names: Sequence[str] | None = None) -> pl.DataFrame:
    """All columns of a batch with its venue, or those in `names`; times are Datetime(ns, UTC), missing values null."""
    columns = []
    for name in batch.kind.names if names is None else names:
        column = batch.kind.column(name)
        if name == "venue":
            columns.append(pl.Series(name, [batch.venue], pl.String).new_from_index(0, batch.rows))
        else:
            columns.append(_series(column, batch.columns[name], batch.rows))
    return pl.DataFrame(columns)


def _series(column: Column, data: ColumnData, rows: int) -> pl.Series:
    if isinstance(data, Strings):
        return _strings(column.name, data, rows)
    if isinstance(data, Lists):
        offsets = np.concatenate([np.zeros(1, np.int64), data.ends])
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(data.values)))
        return pl.Series(column.name, lists)
    data = np.ascontiguousarray(data)
    if column.type == "decimal":
        buffers = [None, pa.py_buffer(data.view(np.uint8))]
        return pl.Series(column.name, pa.Array.from_buffers(_DECIMAL, rows, buffers))
    series = pl.Series(column.name, data, nan_to_null=True)
    if column.type == "time":
        return series.cast(TIME)
    if column.type == "long" and column.nullable:
        return series.to_frame().select(pl.col(column.name).replace(NULL_LONG, None)).to_series()
    return series


def _strings(name: str, data: Strings, rows: int) -> pl.Series:
    if not data.values:
        return pl.Series(name, [None], pl.String).new_from_index(0, rows)
    lookup = pl.Series(name, data.values, pl.String)
    present = data.codes >= 0
    found = lookup.gather(pl.Series(np.where(present, data.codes, 0).astype(np.uint32)))
    if present.all():
        return found
    return pl.select(pl.when(pl.Series(present)).then(found).alias(name)).to_series()
