"""Reads Arrow columns as values for conversion, and formats Arrow rows as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ingest.files.blocks import UNREADABLE, ListValues, Values
from tapehouse.batch import Strings
from tapehouse.clock import MAX_TS, SECOND, iso
from tapehouse.model import Column

_UNIT_NS = {"s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of a type is text; some writers store text as binary."""
    types = pa.types
    return any(
        holds(kind)
        for holds in (
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_binary,
            types.is_large_binary,
        )
    )


def column_values(column: Column, array: pa.Array) -> Values:
    """An Arrow array of any type as values that `convert_column` accepts."""
    if column.type == "doubles":
        return _list_values(array)
    if pa.types.is_dictionary(array.type):
        if column.type == "symbol" and is_text(array.type.value_type):
            return _dictionary_strings(array)
        array = array.dictionary_decode()
    if pa.types.is_timestamp(array.type) and column.type == "time":
        return _timestamp_series(array)
    if pa.types.is_date(array.type) and column.type == "time":
        return _polars(array.cast(pa.date32()))
    if pa.types.is_time(array.type) and column.type == "time":
        return _polars(array.cast(pa.time64("ns"))).dt.strftime("%H:%M:%S%.9f")
    return _series(array)


def encode_strings(texts: pl.Series) -> Strings:
    """Text values, dictionary-encoded."""
    if len(texts) and texts.eq_missing(texts[0]).all():
        return Strings.constant(texts[0], len(texts))
    return _dictionary_strings(texts.rechunk().to_arrow().dictionary_encode())


def _dictionary_strings(array: pa.DictionaryArray) -> Strings:
    codes = _polars(array.indices).cast(pl.Int32).fill_null(-1).to_numpy()
    dictionary = array.dictionary
    # Arrow does not check the indices of a damaged file against the dictionary.
    outside = (codes < -1) | (codes >= len(dictionary))
    codes = np.where(outside, -1, codes)
    if len(dictionary) > len(codes):
        used, codes = np.unique(codes, return_inverse=True)
        absent = int(used[0] < 0)
        dictionary, codes = dictionary.take(pa.array(used[absent:])), codes.astype(np.int32) - absent
    names = [_text(name) or "" for name in _bytes(dictionary)]
    if outside.any():
        codes[outside] = len(names)
        names.append(UNREADABLE + "damaged")
    return Strings(tuple(names), codes)


def _polars(array: pa.Array) -> pl.Series:
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def _bytes(array: pa.Array) -> list[bytes | None]:
    found: list[bytes | None] = array.cast(pa.large_binary()).to_pylist()
    return found


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return UNREADABLE + value.decode(errors="backslashreplace")


def _series(array: pa.Array) -> pl.Series:
    kind = array.type
    types = pa.types
    if is_text(kind):
        return _text_series(array)
    if types.is_float16(kind):
        return _polars(array.cast(pa.float32()))
    if types.is_decimal(kind):
        return _polars(array if types.is_decimal128(kind) else array.cast(pa.large_string()))
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return _polars(array)
    return pl.Series([_unreadable_text(value) for value in array], dtype=pl.String)


def _text_series(array: pa.Array) -> pl.Series:
    try:
        # Polars does not validate UTF-8 itself.
        array.validate(full=True)
        return _polars(array.cast(pa.large_string()))
    except pa.ArrowInvalid:
        return pl.Series([_text(value) for value in _bytes(array)], dtype=pl.String)


def _timestamp_series(array: pa.Array) -> pl.Series:
    """Arrow's instants count from 1970 in UTC whatever their zone, of which only its presence matters."""
    unit, zone = array.type.unit, None if array.type.tz is None else "UTC"
    if unit == "s":
        # Polars has no seconds; what is beyond 64-bit nanoseconds would wrap.
        seconds = _polars(array.cast(pa.int64()))
        seconds = seconds.set((seconds.abs() > MAX_TS // SECOND).fill_null(False), None)
        return (seconds * 1000).cast(pl.Datetime("ms", zone))
    return _polars(array.cast(pa.timestamp(unit, zone)))


def _unreadable_text(value: pa.Scalar) -> str | None:
    return UNREADABLE + str(_json_value(value)) if value.is_valid else None


def _list_values(array: pa.Array) -> ListValues:
    kind = array.type
    rows = len(array)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return ListValues(pl.Series([], dtype=pl.Float64), np.zeros(rows, np.int64), np.ones(rows, np.bool_))
    lengths = _polars(pc.list_value_length(array)).cast(pl.Int64)
    ends = lengths.fill_null(0).cum_sum().to_numpy()
    return ListValues(_series(array.flatten()), ends, lengths.is_null().to_numpy())


def row_as_json(batch: pa.RecordBatch, row: int) -> bytes:
    """One row as a JSON object: times as ISO 8601, decimals and what JSON cannot hold as text."""
    record = {name: _json_value(batch.column(name)[row]) for name in batch.schema.names}
    return json.dumps(record, default=str, ensure_ascii=False).encode(errors="backslashreplace")


def _json_value(value: pa.Scalar) -> Any:
    if not value.is_valid:
        return None
    if pa.types.is_timestamp(value.type):
        ns = value.value * _UNIT_NS[value.type.unit]
        if not 0 <= ns < MAX_TS:
            return value.value
        return iso(ns) if value.type.tz is not None else iso(ns).removesuffix("Z")
    if pa.types.is_list(value.type) or pa.types.is_large_list(value.type):
        return [_json_value(one) for one in value.values]
    try:
        found = value.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return "(unreadable)"
    if isinstance(found, bytes):
        return found.decode(errors="backslashreplace")
    return str(found) if isinstance(found, float) and not math.isfinite(found) else found
