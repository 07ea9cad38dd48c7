"""Rows as Arrow: the schema that all stores answer in, keys, and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gateway.query import Key
from tapehouse.errors import ConnectError
from tapehouse.model import KINDS, Kind

_PLAIN = {
    "time": pa.timestamp("ns", "UTC"),
    # Dictionaries of two stores would differ.
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
_NONE: Mapping[str, str] = {}
_NUMBERS = {pa.timestamp("ns", "UTC"): np.int64, pa.int64(): np.int64, pa.float64(): np.float64}


@cache
def schema(kind: str, names: tuple[str, ...]) -> pa.Schema:
    """The schema of columns of a kind: times timestamp[ns, UTC], names plain strings."""
    return pa.schema([(name, _PLAIN[KINDS[kind].column(name).type]) for name in names])


def conformed(
    table: pa.Table, wanted: pa.Schema, store: str, same: Mapping[str, str] = _NONE
) -> pa.RecordBatch:
    """A store's rows in one batch of the schema; `same` are the columns that it was not asked for, by name.

    Raises ConnectError where it has other columns or types.
    """
    names = [name for name in wanted.names if name not in same]
    if table.schema.names != names:
        raise ConnectError(f"{store}: expected columns {names}, was {table.schema.names}")
    batch = table.combine_chunks().to_batches()
    if not batch:
        return empty(wanted)
    arrays = [
        _repeated(same[field.name], field.type, table.num_rows)
        if field.name in same
        else _cast(batch[0].column(field.name), field.type)
        for field in wanted
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def _cast(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    return array if array.type == wanted else array.cast(wanted)


def _repeated(value: str, wanted: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, wanted), rows)


def as_batch(frame: pl.DataFrame, wanted: pa.Schema) -> pa.RecordBatch:
    """A frame with the schema's columns as one batch."""
    if frame.is_empty():
        return empty(wanted)
    arrays = [
        pc.cast(frame[field.name].to_arrow(compat_level=pl.CompatLevel.oldest()), field.type)
        for field in wanted
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def in_order(batch: pa.RecordBatch, kind: Kind, same: Mapping[str, str] = _NONE) -> pa.RecordBatch:
    """The rows, which are in order of time, in order of the whole key; the columns in `same` have one value."""
    if batch.num_rows < 2 or _is_in_order(batch, kind, same):
        return batch
    order = pc.sort_indices(batch, sort_keys=[(name, "ascending") for name in kind.key])
    return batch.take(order)


def _is_in_order(batch: pa.RecordBatch, kind: Kind, same: Mapping[str, str]) -> bool:
    times = times_of(batch, kind)
    tied = times[1:] == times[:-1]
    if not tied.any():
        return True
    for name in kind.key[1:]:
        if name in same:
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


def times_of(batch: pa.RecordBatch, kind: Kind) -> NDArray[np.int64]:
    """The rows' times, ns."""
    times: NDArray[np.int64] = batch.column(kind.time).cast(pa.int64()).to_numpy()
    return times


def key_of(batch: pa.RecordBatch, kind: Kind, row: int) -> Key:
    """The key of a row, its time as ns."""
    return tuple(_plain(batch.column(name)[row]) for name in kind.key)


def behind(batch: pa.RecordBatch, kind: Kind, key: Key | None) -> pa.RecordBatch:
    """The rows, in the order of the key, that come after `key`."""
    if key is None or batch.num_rows == 0:
        return batch
    first = int(np.searchsorted(times_of(batch, kind), int(key[0])))
    while first < batch.num_rows and key_of(batch, kind, first) <= key:
        first += 1
    return batch.slice(first)


def _plain(scalar: Any) -> int | str | bool:
    value = scalar.value if isinstance(scalar, pa.TimestampScalar) else scalar.as_py()
    assert isinstance(value, int | str)
    return value


@lru_cache(64)
def empty(wanted: pa.Schema) -> pa.RecordBatch:
    """A batch of the schema without rows."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in wanted], schema=wanted)


def of_rows(rows: Sequence[Sequence[Any]], wanted: pa.Schema, same: Mapping[str, str]) -> pa.RecordBatch:
    """Rows in the order of the schema, times as ns, as one batch; the columns in `same` are not in the rows."""
    rest = [field for field in wanted if field.name not in same]
    columns = dict(zip((field.name for field in rest), zip(*rows, strict=True), strict=True)) if rows else {}
    arrays = []
    for field in wanted:
        if field.name in same:
            arrays.append(_repeated(same[field.name], field.type, len(rows)))
        elif field.type in _NUMBERS:
            # Twice as quick as Arrow's own way from Python's numbers.
            numbers = np.array(columns.get(field.name, ()), _NUMBERS[field.type])
            arrays.append(pa.Array.from_buffers(field.type, len(rows), [None, pa.py_buffer(numbers)]))
        else:
            arrays.append(pa.array(columns.get(field.name, ()), field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)
