"""Random single changes of rows, each of which must change the fingerprint."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import strategies as st

from tapehouse.model import Column, Kind


def changed(data: st.DataObject, kind: Kind, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with one random change, which may be no change at all."""
    row = data.draw(st.integers(0, frame.height - 1), "row")
    other = data.draw(st.integers(0, frame.height - 1), "other")
    column = data.draw(st.sampled_from(kind.columns), "column")
    lists = [one for one in kind.columns if one.type == "doubles"]
    ways = ["delete", "double", "value", "swap", *(["level", "levels", "list"] if lists else [])]
    way = data.draw(st.sampled_from(ways), "way")
    match way:
        case "delete":
            return frame.with_row_index("at").filter(pl.col("at") != row).drop("at")
        case "double":
            return pl.concat([frame, frame[row]])
        case "value":
            return _with(frame, column, {row: data.draw(_values(column), "to")})
        case "swap":
            values = _rows(frame, column)
            return _with(frame, column, {row: values[other], other: values[row]})
    one = data.draw(st.sampled_from(lists), "of")
    levels = _levels(frame, one, row)
    place = data.draw(st.integers(0, max(len(levels) - 1, 0)), "place")
    if not levels:
        return frame
    if way == "level":
        levels[place] = data.draw(_numbers(one), "to")
        return _with(frame, one, {row: levels})
    if way == "levels":
        levels[place], levels[0] = levels[0], levels[place]
        return _with(frame, one, {row: levels})
    to = data.draw(st.sampled_from([two for two in lists if two != one]), "list")
    others = _levels(frame, to, row)
    others.insert(data.draw(st.integers(0, len(others)), "at"), levels.pop(place))
    return _with(_with(frame, one, {row: levels}), to, {row: others})


def _levels(frame: pl.DataFrame, column: Column, row: int) -> list[float]:
    return list(_rows(frame, column)[row])


def _with(frame: pl.DataFrame, column: Column, values: dict[int, Any]) -> pl.DataFrame:
    """The frame with some rows of a column replaced."""
    dtype = frame[column.name].dtype
    changed = [values.get(at, value) for at, value in enumerate(_rows(frame, column))]
    series = pl.Series(column.name, changed, pl.Int64 if column.type == "time" else dtype)
    return frame.with_columns(series.cast(dtype))


def _rows(frame: pl.DataFrame, column: Column) -> list[Any]:
    """The values of a column, times in ns."""
    values = frame[column.name]
    return values.cast(pl.Int64).to_list() if column.type == "time" else values.to_list()


def _values(column: Column) -> st.SearchStrategy[Any]:
    """Valid values."""
    if column.type in ("double", "doubles"):
        made: st.SearchStrategy[Any] = _numbers(column)
        if column.type == "doubles":
            return st.lists(made, max_size=3)
    elif column.type == "symbol":
        made = st.sampled_from(("", "a", "A", "ÄÖ☃", "a ", "𝄞"))
    elif column.type == "flag":
        made = st.booleans()
    elif column.type == "time":
        made = st.integers(0, 2**62)
    elif column.type == "decimal":
        made = st.integers(1 - 10**38, 10**38 - 1).map(lambda whole: Decimal(f"{whole}e-18"))
    else:
        made = st.integers(int(column.low or 0), int(column.high or 0))
    if column.nullable:
        made |= st.none()
    return made


def _numbers(column: Column) -> st.SearchStrategy[float]:
    return st.floats(column.low, column.high, allow_nan=False)
