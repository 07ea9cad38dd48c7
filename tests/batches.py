"""Batches of every kind made by chance: valid rows with the edges of every column, and how to compare them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tapehouse.batch import Batch, ColumnData, Lists, Strings
from tapehouse.clock import DAY, parse_ns
from tapehouse.model import DEPTH, NULL_LONG, TICKS, Column, Kind

NAMES = ("BTCUSDT", "a", "X.Y Z*>", "ÄÖ☃", "𝄞", "=", "long" * 50, "%2E")
DECIMAL_MAX = 10**38 - 1
START = parse_ns("2024-02-28")
SPAN = 3 * DAY


def batch(
    kind: Kind, rows: int, seed: int = 0, *, venue: str = "V", start: int = START, span: int = SPAN
) -> Batch:
    """Valid rows; each column is all different, of few values, or constant, and null where it may be."""
    chance = np.random.default_rng(seed)
    columns = {
        column.name: _column(column, rows, chance, start, span)
        for column in kind.columns
        if column.name != "venue"
    }
    for side in ("bid", "ask") if kind is DEPTH else ():
        prices, sizes = columns[f"{side}_prices"], columns[f"{side}_sizes"]
        assert isinstance(prices, Lists)
        assert isinstance(sizes, Lists)
        columns[f"{side}_sizes"] = Lists(np.resize(sizes.values, len(prices.values)), prices.ends)
    return Batch(kind, venue, rows, columns)


def batches(max_rows: int = 40) -> st.SearchStrategy[Batch]:
    """Of any kind that travels, of one row and more."""
    return st.builds(
        batch,
        st.sampled_from(TICKS),
        st.integers(1, max_rows),
        st.integers(0, 2**32 - 1),
        venue=st.sampled_from(NAMES),
    )


def _column(column: Column, rows: int, chance: np.random.Generator, start: int, span: int) -> ColumnData:
    if column.type == "doubles":
        ends = np.cumsum(chance.integers(0, 5, rows))
        return Lists(_numbers(column, int(ends[-1]) if rows else 0, chance), ends)
    # What the rows are picked from: many values, few, or one.
    pool = int(chance.choice([rows, 3, 1]))
    picks = chance.integers(0, pool, rows)
    if column.type in ("symbol", "text"):
        names = chance.choice(NAMES, pool).tolist()
        values = tuple(f"{name}{index}" for index, name in enumerate(names))
        codes = picks.astype(np.int32)
        if column.nullable:
            codes[chance.random(rows) < chance.choice([0, 0.3, 1])] = -1
        return Strings(values, codes)
    return _array(column, pool, chance, start, span)[picks]


def _array(column: Column, rows: int, chance: np.random.Generator, start: int, span: int) -> NDArray[Any]:
    if column.type == "time":
        return start + chance.integers(0, span, rows)
    if column.type == "flag":
        return chance.random(rows) < 0.5
    if column.type == "decimal":
        edges = [0, 1, -1, DECIMAL_MAX, -DECIMAL_MAX, 10**18]
        numbers = [number * abs(number) for number in chance.integers(-(2**62), 2**62, rows).tolist()]
        return decimals([*edges, *numbers][:rows] if chance.random() < 0.5 else numbers)
    if column.type == "double":
        return _numbers(column, rows, chance)
    low, high = int(column.low or 0), int(column.high or 0)
    values = chance.integers(low, high, rows, endpoint=True)
    values[chance.random(rows) < 0.2] = chance.choice([low, high])
    if column.nullable:
        values[chance.random(rows) < 0.2] = NULL_LONG
    return values.astype(column.types.numpy)


def _numbers(column: Column, rows: int, chance: np.random.Generator) -> NDArray[np.float64]:
    low, high = float(column.low or 0), float(column.high or 0)
    values = np.round(chance.uniform(max(low, -1e4), 1e4, rows), int(chance.integers(0, 17)))
    edges = np.array([low, high, 0.0, 0.1, 5e-324, 1 / 3])
    values = np.where(chance.random(rows) < 0.2, chance.choice(edges, rows), values)
    if column.nullable:
        values[chance.random(rows) < 0.2] = np.nan
    return values


def decimals(numbers: list[int]) -> NDArray[Any]:
    """Numbers times 10**-18 as a column of decimals holds them."""
    return np.frombuffer(b"".join(number.to_bytes(16, "little", signed=True) for number in numbers), "V16")


def rows_of(batch: Batch) -> list[tuple[Any, ...]]:
    """The rows with a Python value a column, in the batch's order of columns; NaN as None."""
    columns: list[list[Any]] = []
    for name, data in batch.columns.items():
        if isinstance(data, Strings):
            columns.append(data.to_list())
        elif isinstance(data, Lists):
            columns.append([tuple(data.row(index).tolist()) for index in range(batch.rows)])
        elif batch.kind.column(name).type == "double":
            columns.append([None if value != value else value for value in data.tolist()])
        else:
            columns.append(data.tolist())
    return list(zip(*columns, strict=True))


def same(one: Batch, other: Batch) -> bool:
    """Whether two batches hold the same rows, numbers compared bit for bit."""
    return (
        (one.kind, one.venue, one.rows) == (other.kind, other.venue, other.rows)
        and one.columns.keys() == other.columns.keys()
        and all(_same_data(one.columns[name], other.columns[name]) for name in one.columns)
    )


def _same_data(one: ColumnData, other: ColumnData) -> bool:
    if isinstance(one, Strings):
        return isinstance(other, Strings) and one.to_list() == other.to_list()
    if isinstance(one, Lists):
        return (
            isinstance(other, Lists)
            and one.ends.tolist() == other.ends.tolist()
            and one.values.tobytes() == other.values.tobytes()
        )
    return isinstance(other, np.ndarray) and one.dtype == other.dtype and one.tobytes() == other.tobytes()
