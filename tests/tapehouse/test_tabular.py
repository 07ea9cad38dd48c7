"""Batches as frames: the same values, absent ones as null."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.model import DEPTH, NULL_LONG, QUOTES, TICKS, TRADES, Column
from tapehouse.tabular import TIME, as_frame
from tests.batches import batch, batches

_TYPES = {
    "time": TIME,
    "symbol": pl.String,
    "text": pl.String,
    "long": pl.Int64,
    "byte": pl.Int8,
    "short": pl.Int16,
    "double": pl.Float64,
    "doubles": pl.List(pl.Float64),
    "flag": pl.Boolean,
    "decimal": pl.Decimal(38, 18),
}


@given(made=batches())
def test_a_frame_holds_the_values_of_its_batch(made: Batch) -> None:
    frame = as_frame(made)
    assert frame.schema == {one.name: _TYPES[one.type] for one in made.kind.columns}
    for column in made.kind.columns:
        assert _bits(frame[column.name], column) == _expected(made, column), column.name


def _bits(values: pl.Series, column: Column) -> list[Any]:
    if column.type == "time":
        return values.cast(pl.Int64).to_list()
    if column.type == "double":
        return [None if value is None else value.hex() for value in values.to_list()]
    if column.type == "doubles":
        return [[value.hex() for value in row] for row in values.to_list()]
    return values.to_list()


def _expected(made: Batch, column: Column) -> list[Any]:
    if column.name == "venue":
        return [made.venue] * made.rows
    data = made.columns[column.name]
    if isinstance(data, Strings):
        return data.to_list()
    if isinstance(data, Lists):
        return [[value.hex() for value in data.row(row).tolist()] for row in range(made.rows)]
    if column.type == "decimal":
        whole = [int.from_bytes(value.tobytes(), "little", signed=True) for value in data]
        return [Decimal(f"{value}e-18") for value in whole]
    if column.type == "double":
        return [None if value != value else value.hex() for value in data.tolist()]
    return [None if value == NULL_LONG and column.nullable else value for value in data.tolist()]


@given(made=batches(10))
def test_a_part_of_a_batch_is_the_part_of_its_frame(made: Batch) -> None:
    frame = as_frame(made)
    middle = slice(made.rows // 3, made.rows - made.rows // 4)
    assert as_frame(made.slice(middle.start, middle.stop)).equals(frame[middle])
    # Every second one: arrays that are not contiguous.
    assert as_frame(made.take(np.arange(0, made.rows, 2))).equals(frame.gather_every(2))


def test_the_columns_asked_for_come_in_the_order_asked_for() -> None:
    made = batch(QUOTES, 5)
    frame = as_frame(made, ["ask", "venue", "ts_event"])
    assert frame.equals(as_frame(made).select("ask", "venue", "ts_event"))


def test_a_batch_without_rows_has_all_columns() -> None:
    for kind in TICKS:
        assert as_frame(batch(kind, 3).slice(0, 0)).schema == as_frame(batch(kind, 3)).schema


def test_names_that_are_all_absent_are_null() -> None:
    made = batch(TRADES, 4)
    columns = {**made.columns, "exchange": Strings((), np.full(4, -1, np.int32))}
    assert as_frame(Batch(TRADES, "V", 4, columns))["exchange"].to_list() == [None] * 4


def test_lists_may_be_empty_and_long() -> None:
    made = batch(DEPTH, 3)
    rows = [[], [1.0] * 10_000, []]
    frame = as_frame(Batch(DEPTH, "V", 3, {**made.columns, "bid_prices": Lists.of(rows)}))
    assert frame["bid_prices"].to_list() == rows
