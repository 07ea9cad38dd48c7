"""Converts the values of a file to model columns, one column at a time.

No value raises: one that cannot be converted is a fault of its row. Bounds are checked later by
ingest.validation, except for what a column's type cannot represent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.files import decimals
from ingest.files.arrow import encode_strings
from ingest.files.blocks import UNREADABLE, ListValues, Values
from ingest.files.options import UNIT_DIGITS
from ingest.files.times import MAX_EXACT_FLOAT, TimeFormat, convert_times
from tapehouse.batch import ColumnData, Lists, Strings
from tapehouse.clock import MAX_TS, iso
from tapehouse.model import NAME_MAX, NULL_LONG, Column

Mask = NDArray[np.bool_]

_SIDES = {
    **dict.fromkeys(("buy", "buyer", "b", "bid", "1"), 1),
    **dict.fromkeys(("sell", "seller", "s", "ask", "a", "-1"), -1),
    **dict.fromkeys(("unknown", "none", "n", "u", "0"), 0),
}
"""What vendors write for the side that took; a bid or an ask is the aggressor's order."""
_BOOLEAN_WORDS = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}
_FLAGS = _BOOLEAN_WORDS | {str(bits): bits for bits in range(8)}
_BOOLEANS = _BOOLEAN_WORDS | {"1": 1, "0": 0}
_SIDES_OF_BUYER_MAKER = {word: -1 if true else 1 for word, true in _BOOLEANS.items()}
_MAX_QUOTED = 100
_OR_WITHOUT_IDS = " (--number-by time keeps the ids as trade_id and numbers rows by their times)"


class RowFaults:
    """The invalid rows of a block: row index -> the first reason."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def add(self, column: Column, bad: Mask, expected: str, values: Values, remedy: str = "") -> None:
        """Record that the rows of the mask `bad` have something other than `expected` in `column`."""
        for row in np.flatnonzero(bad).tolist():
            if row not in self.reasons:
                self.reasons[row] = (
                    f"{column.name}: expected {expected}, was {_format_value(values, row)}{remedy}"
                )


def _format_value(values: Values, row: int) -> str:
    if isinstance(values, ListValues):
        start = int(values.ends[row - 1]) if row else 0
        value: Any = None if values.missing[row] else values.numbers[start : int(values.ends[row])].to_list()
    elif isinstance(values, Strings):
        code = int(values.codes[row])
        value = None if code < 0 else values.values[code]
    elif isinstance(values.dtype, pl.Datetime):
        # Polars panics on a datetime outside its calendar.
        value = values.to_physical()[row]
        ns = None if value is None else value * 10 ** UNIT_DIGITS[values.dtype.time_unit]
        value = iso(ns) if ns is not None and 0 <= ns < MAX_TS else value
    else:
        value = values[row]
    if value is None or value == "":
        return "nothing"
    if isinstance(value, str):
        value = value.removeprefix(UNREADABLE)
        return repr(value if len(value) <= _MAX_QUOTED else value[:_MAX_QUOTED] + "...")
    return str(value)[:_MAX_QUOTED]


def convert_column(
    column: Column, values: Values, time_format: TimeFormat, faults: RowFaults, *, buyer_maker: bool = False
) -> ColumnData:
    """A model column from source values; rows that cannot be converted are added to `faults`.

    `buyer_maker`: the values of `side` say whether the buyer was the maker. A missing value becomes the column's
    default or null, or is a fault where it has neither.
    """
    if isinstance(values, ListValues):
        return _lists(column, values, faults)
    if column.type in ("symbol", "text"):
        return _strings(column, values, faults)
    assert isinstance(values, pl.Series)
    if column.type == "time":
        ns, wrong = convert_times(values, time_format)
        for bad, expected in wrong:
            faults.add(column, bad, expected, values)
        return ns
    if column.type == "double":
        return _doubles(column, values, faults)
    if column.type == "decimal":
        encoded, read = decimals.encode_decimals(values)
        faults.add(column, ~read, decimals.EXPECTED, values)
        return encoded
    if column.name == "side" and buyer_maker:
        return _coded_words(
            column, values, _SIDES_OF_BUYER_MAKER, "true (the buyer was the maker) or false", faults
        )
    if column.name == "side":
        return _coded_words(column, values, _SIDES, "buy, sell, B, A, N, 1, -1 or 0", faults)
    if column.name == "flags":
        return _coded_words(column, values, _FLAGS, "flags from 0 to 7, or true (cancelled) or false", faults)
    if column.type == "flag":
        return _coded_words(column, values, _BOOLEANS, "true or false", faults)
    return _longs(column, values, faults)


def missing_column(column: Column, rows: int) -> ColumnData:
    """A model column that the source does not have: its default, or null."""
    if column.type in ("symbol", "text"):
        return Strings.constant(None, rows)
    if column.default is not None:
        return np.full(rows, column.default, column.types.numpy)
    return np.full(rows, np.nan if column.type == "double" else NULL_LONG, column.types.numpy)


def _doubles(column: Column, values: pl.Series, faults: RowFaults) -> NDArray[Any]:
    numbers, bad = _floats(values)
    missing = values.is_null().to_numpy()
    if column.nullable:
        # A missing value is NaN in a float column and empty in text.
        missing = missing | np.isnan(numbers) if values.dtype.is_float() else missing | _empty(values)
        bad &= ~missing
    faults.add(column, bad, "a number", values)
    return numbers


def _floats(values: pl.Series) -> tuple[NDArray[np.float64], Mask]:
    """(the values as floats, NaN where missing; mask of those that are not finite)."""
    values = _number_or_text(values)
    numbers = values.cast(pl.Float64, strict=False)
    if values.dtype == pl.String and numbers.null_count() > values.null_count():
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
    floats = numbers.fill_null(np.nan).to_numpy()
    return floats, ~np.isfinite(floats)


def _empty(values: pl.Series) -> Mask:
    if values.dtype != pl.String:
        return np.zeros(len(values), np.bool_)
    return (values.str.strip_chars() == "").fill_null(False).to_numpy()


def _number_or_text(values: pl.Series) -> pl.Series:
    """Numbers and text unchanged, all else as text that is not a number."""
    return values if values.dtype.is_numeric() else _texts(values)


def _longs(column: Column, values: pl.Series, faults: RowFaults) -> NDArray[Any]:
    values = _number_or_text(values)
    if values.dtype.is_decimal():
        values = values.cast(pl.String)
    missing = values.is_null().to_numpy() | _empty(values)
    expected = "a whole number"
    if values.dtype == pl.String:
        wholes = values.cast(pl.Int64, strict=False)
        if wholes.null_count() > values.null_count():
            wholes = values.str.strip_chars().str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
    elif values.dtype.is_integer():
        wholes = values.cast(pl.Int64, strict=False)
    else:
        floats = values.cast(pl.Float64, strict=False)
        missing |= floats.is_nan().fill_null(False).to_numpy() if column.nullable else False
        exact = (floats % 1 == 0) & (floats.abs() < MAX_EXACT_FLOAT)
        wholes = floats.set(~exact.fill_null(False), None).cast(pl.Int64, strict=False)
        expected = "a whole number (of floating point below 2^53)"
    bad = wholes.is_null().to_numpy().copy()
    numbers = wholes.fill_null(NULL_LONG).to_numpy()
    narrow = np.iinfo(column.types.numpy)
    if column.nullable:
        bad &= ~missing
    else:
        bad |= (numbers < narrow.min) | (numbers > narrow.max)
        if narrow.bits < 64:
            expected = f"a whole number from {narrow.min} to {narrow.max}"
    faults.add(column, bad, expected, values, _OR_WITHOUT_IDS if column.name == "seq" else "")
    return numbers.astype(column.types.numpy)


def _strings(column: Column, values: Values, faults: RowFaults) -> Strings:
    assert not isinstance(values, ListValues)
    strings = values if isinstance(values, Strings) else encode_strings(_texts(values))
    strings = strings.compact()
    names = [name.strip() if column.name == "symbol" else name for name in strings.values]
    overlong = np.array([len(name) > NAME_MAX for name in names] + [False])
    faults.add(column, overlong[strings.codes], f"a name of at most {NAME_MAX} characters", values)
    # The last element is for null, whose code is -1.
    unreadable = np.array(["\0" in name for name in names] + [False])
    missing = np.array([name == "" for name in names] + [True])
    faults.add(column, unreadable[strings.codes], "a name", values)
    if not column.nullable:
        faults.add(column, missing[strings.codes], "a name", values)
    if "" not in names and tuple(names) == strings.values:
        return strings
    known: dict[str, int] = {}
    lookup = [known.setdefault(name, len(known)) if name else -1 for name in names]
    return Strings(tuple(known), np.array([*lookup, -1], np.int32)[strings.codes])


def _texts(values: pl.Series) -> pl.Series:
    """Values as text; other types than text, numbers and booleans become unreadable."""
    kind = values.dtype
    if kind == pl.String:
        return values
    if kind.is_numeric() or kind == pl.Boolean:
        return values.cast(pl.String, strict=False)
    return pl.Series(
        [None if value is None else UNREADABLE + str(value) for value in values], dtype=pl.String
    )


def _coded_words(
    column: Column, values: pl.Series, meanings: dict[str, int], expected: str, faults: RowFaults
) -> NDArray[Any]:
    """A column of few distinct words, each looked up once in `meanings`."""
    strings = encode_strings(_texts(values)).compact()
    default = column.default
    found = [
        default if word == "" else meanings.get(word.removesuffix(".0"))
        for word in (value.strip().lower() for value in strings.values)
    ]
    bad = np.array([meaning is None for meaning in found] + [default is None])
    known = np.array([0 if meaning is None else meaning for meaning in found] + [default or 0])
    faults.add(column, bad[strings.codes], expected, values)
    found_codes: NDArray[Any] = known.astype(column.types.numpy)[strings.codes]
    return found_codes


def _lists(column: Column, values: ListValues, faults: RowFaults) -> Lists:
    numbers, bad = _floats(values.numbers)
    wrong = values.missing.copy()
    if bad.any():
        wrong[np.searchsorted(values.ends, np.flatnonzero(bad), side="right")] = True
    faults.add(column, wrong, "a list of numbers", values)
    return Lists(numbers, values.ends)
