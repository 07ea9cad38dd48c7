"""Rows as Arrow batches: the schema shared by all stores, row keys, and sorting by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gateway.query import RowKey
from tapehouse.errors import ConnectError
from tapehouse.model import KINDS, Kind

_ARROW_TYPES = {
    "time": pa.timestamp("ns", "UTC"),
    # Not a dictionary: the dictionaries of two stores would differ.
    "symbol": pa.string(),
    "text": pa.string(),
    "long": pa.int64(),
    "byte": pa.int8(),
    "short": pa.int16(),
    "double": pa.float64(),
    "doubles": pa.list_(pa.float64()),
    "flag": pa.bool_(),
    "decimal": pa.decimal128(38, 18),
}
_NO_CONSTANTS: Mapping[str, str] = {}
_NUMPY_TYPES = {pa.timestamp("ns", "UTC"): np.int64, pa.int64(): np.int64, pa.float64(): np.float64}


@cache
def schema(kind: str, names: tuple[str, ...]) -> pa.Schema:
    """The Arrow schema of some columns of a kind: times as timestamp[ns, UTC], symbols as plain strings."""
    return pa.schema([(name, _ARROW_TYPES[KINDS[kind].column(name).type]) for name in names])


def conform_to_schema(
    table: pa.Table, wanted: pa.Schema, store: str, constants: Mapping[str, str] = _NO_CONSTANTS
) -> pa.RecordBatch:
    """A store's rows as one batch of the schema `wanted`; `constants` are the columns not read from the store.

    Raises ConnectError if the table's columns differ from those expected.
    """
    names = [name for name in wanted.names if name not in constants]
    if table.schema.names != names:
        raise ConnectError(f"{store}: expected columns {names}, was {table.schema.names}")
    batch = table.combine_chunks().to_batches()
    if not batch:
        return empty_batch(wanted)
    arrays = [
        _constant_array(constants[field.name], field.type, table.num_rows)
        if field.name in constants
        else _cast(batch[0].column(field.name), field.type)
        for field in wanted
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    return array if array.type == wanted else array.cast(wanted)


def _constant_array(value: str, wanted: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, wanted), rows)


def batch_from_frame(frame: pl.DataFrame, wanted: pa.Schema) -> pa.RecordBatch:
    """A frame with the columns of `wanted` as one batch."""
    if frame.is_empty():
        return empty_batch(wanted)
    arrays = [
        pc.cast(frame[field.name].to_arrow(compat_level=pl.CompatLevel.oldest()), field.type)
        for field in wanted
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def sort_by_key(
    batch: pa.RecordBatch, kind: Kind, constants: Mapping[str, str] = _NO_CONSTANTS
) -> pa.RecordBatch:
    """Rows in order of time, sorted by the whole key; the columns in `constants` have one value."""
    if batch.num_rows < 2 or _is_sorted_by_key(batch, kind, constants):
        return batch
    order = pc.sort_indices(batch, sort_keys=[(name, "ascending") for name in kind.key])
    return batch.take(order)


def merge_by_key(batches: Sequence[pa.RecordBatch], kind: Kind) -> pa.RecordBatch:
    """One batch of the rows of several, sorted by the key."""
    rows = pa.Table.from_batches(batches)
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in kind.key])
    merged: pa.RecordBatch = rows.take(order).combine_chunks().to_batches()[0]
    return merged


def _is_sorted_by_key(batch: pa.RecordBatch, kind: Kind, constants: Mapping[str, str]) -> bool:
    times = times_ns(batch, kind)
    tied = times[1:] == times[:-1]
    if not tied.any():
        return True
    for name in kind.key[1:]:
        if name in constants:
            continue
        column = batch.column(name)
        if name in ("venue", "symbol", "kind"):
            if pc.count_distinct(column).as_py() == 1:
                continue
            return False
        values = column.to_numpy(zero_copy_only=False)
        if (tied & (values[1:] < values[:-1])).any():
            return False
        tied &= values[1:] == values[:-1]
        if not tied.any():
            return True
    return True


def times_ns(batch: pa.RecordBatch, kind: Kind) -> NDArray[np.int64]:
    """The time of each row, int64 ns since 1970."""
    times: NDArray[np.int64] = batch.column(kind.time).cast(pa.int64()).to_numpy()
    return times


def row_key(batch: pa.RecordBatch, kind: Kind, row: int) -> RowKey:
    """The key of the row at index `row`; times as ns."""
    return tuple(_key_value(batch.column(name)[row]) for name in kind.key)


def rows_after(batch: pa.RecordBatch, kind: Kind, key: RowKey | None) -> pa.RecordBatch:
    """The rows with a key greater than `key`, of a batch sorted by key; all if `key` is None."""
    if key is None or batch.num_rows == 0:
        return batch
    first = int(np.searchsorted(times_ns(batch, kind), int(key[0])))
    while first < batch.num_rows and row_key(batch, kind, first) <= key:
        first += 1
    return batch.slice(first)


def _key_value(scalar: Any) -> int | str | bool:
    value = scalar.value if isinstance(scalar, pa.TimestampScalar) else scalar.as_py()
    assert isinstance(value, int | str)
    return value


@lru_cache(64)
def empty_batch(wanted: pa.Schema) -> pa.RecordBatch:
    """A batch of the schema with no rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in wanted], schema=wanted)


def batch_from_rows(
    rows: Sequence[Sequence[Any]], wanted: pa.Schema, constants: Mapping[str, str]
) -> pa.RecordBatch:
    """Row tuples as one batch: values in the order of the schema without the columns in `constants`, times as ns."""
    varying = [field for field in wanted if field.name not in constants]
    columns = (
        dict(zip((field.name for field in varying), zip(*rows, strict=True), strict=True)) if rows else {}
    )
    arrays = []
    for field in wanted:
        if field.name in constants:
            arrays.append(_constant_array(constants[field.name], field.type, len(rows)))
        elif field.type in _NUMPY_TYPES:
            # Twice as fast as pa.array.
            numbers = np.array(columns.get(field.name, ()), _NUMPY_TYPES[field.type])
            arrays.append(pa.Array.from_buffers(field.type, len(rows), [None, pa.py_buffer(numbers)]))
        else:
            arrays.append(pa.array(columns.get(field.name, ()), field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)
