"""Values as a file holds them, to the model's columns, a column at a time.

Nothing here stops on data: what cannot be a value of its column is a fault of its row. Bounds are checked
later, by ingest.validation, but for what a column's type cannot hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.feeds import decimals
from ingest.feeds.arrow import encode
from ingest.feeds.blocks import UNREADABLE, Levels, Values
from ingest.feeds.times import DIGITS, Reading, to_ns
from tapehouse.batch import ColumnData, Lists, Strings
from tapehouse.clock import MAX_TS, iso
from tapehouse.model import NULL_LONG, Column

Mask = NDArray[np.bool_]

_SIDES = {"buy": 1, "b": 1, "bid": 1, "1": 1, "sell": -1, "s": -1, "ask": -1, "-1": -1, "0": 0, "unknown": 0}
_TRUTH = {"true": 1, "t": 1, "yes": 1, "y": 1, "false": 0, "f": 0, "no": 0, "n": 0}
_FLAGS = _TRUTH | {str(bits): bits for bits in range(8)}
_BOOLS = _TRUTH | {"1": 1, "0": 0}
_EXACT_FLOAT = 2.0**53
_SHOWN = 100


class Faults:
    """The rows of a block that are no records: row -> the first reason."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def add(self, column: Column, bad: Mask, expected: str, values: Values) -> None:
        """Every row of `bad` holds something else than `expected` in `column`."""
        for row in np.flatnonzero(bad).tolist():
            if row not in self.reasons:
                self.reasons[row] = f"{column.name}: expected {expected}, was {_shown(values, row)}"


def _shown(values: Values, row: int) -> str:
    if isinstance(values, Levels):
        start = int(values.ends[row - 1]) if row else 0
        value: Any = None if values.absent[row] else values.numbers[start : int(values.ends[row])].to_list()
    elif isinstance(values, Strings):
        code = int(values.codes[row])
        value = None if code < 0 else values.values[code]
    elif isinstance(values.dtype, pl.Datetime):
        # Polars panics over one that its calendar does not hold.
        value = values.to_physical()[row]
        ns = None if value is None else value * 10 ** DIGITS[values.dtype.time_unit]
        value = iso(ns) if ns is not None and 0 <= ns < MAX_TS else value
    else:
        value = values[row]
    if value is None or value == "":
        return "nothing"
    if isinstance(value, str):
        value = value.removeprefix(UNREADABLE)
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")
    return str(value)[:_SHOWN]


def convert(column: Column, values: Values, reading: Reading, faults: Faults) -> ColumnData:
    """A model column from the values of its source; rows that cannot be are added to `faults`.

    What is absent becomes the column's default or null, or is a fault where it has neither.
    """
    if isinstance(values, Levels):
        return _lists(column, values, faults)
    if column.type in ("symbol", "text"):
        return _strings(column, values, faults)
    assert isinstance(values, pl.Series)
    if column.type == "time":
        ns, wrong = to_ns(values, reading)
        for bad, expected in wrong:
            faults.add(column, bad, expected, values)
        return ns
    if column.type == "double":
        return _doubles(column, values, faults)
    if column.type == "decimal":
        encoded, read = decimals.encode(values)
        faults.add(column, ~read, decimals.EXPECTED, values)
        return encoded
    if column.name == "side":
        return _words(column, values, _SIDES, "buy, sell, 1, -1 or 0", faults)
    if column.name == "flags":
        return _words(column, values, _FLAGS, "flags from 0 to 7, or true (cancelled) or false", faults)
    if column.type == "flag":
        return _words(column, values, _BOOLS, "true or false", faults)
    return _longs(column, values, faults)


def absent(column: Column, rows: int) -> ColumnData:
    """A model column that the source lacks: its default, or null."""
    if column.type in ("symbol", "text"):
        return Strings.constant(None, rows)
    if column.default is not None:
        return np.full(rows, column.default, column.types.numpy)
    return np.full(rows, np.nan if column.type == "double" else NULL_LONG, column.types.numpy)


def _doubles(column: Column, values: pl.Series, faults: Faults) -> NDArray[Any]:
    numbers, bad = _floats(values)
    missing = values.is_null().to_numpy()
    if column.nullable:
        # A float column of a file has NaN for what is absent; text has nothing at all there.
        missing = missing | np.isnan(numbers) if values.dtype.is_float() else missing | _empty(values)
        bad &= ~missing
    faults.add(column, bad, "a number", values)
    return numbers


def _floats(values: pl.Series) -> tuple[NDArray[np.float64], Mask]:
    """The values as floats, NaN where absent, and which of them are no finite number."""
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
    """Numbers and text as they are, all else as text that is no number."""
    return values if values.dtype.is_numeric() else _texts(values)


def _longs(column: Column, values: pl.Series, faults: Faults) -> NDArray[Any]:
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
        exact = (floats % 1 == 0) & (floats.abs() < _EXACT_FLOAT)
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
    faults.add(column, bad, expected, values)
    return numbers.astype(column.types.numpy)


def _strings(column: Column, values: Values, faults: Faults) -> Strings:
    assert not isinstance(values, Levels)
    strings = values if isinstance(values, Strings) else encode(_texts(values))
    strings = strings.compact()
    names = [name.strip() if column.name == "symbol" else name for name in strings.values]
    # One place more at the end: the code -1 of null finds it.
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
    """Values as text; what is neither text, number nor truth becomes unreadable."""
    kind = values.dtype
    if kind == pl.String:
        return values
    if kind.is_numeric() or kind == pl.Boolean:
        return values.cast(pl.String, strict=False)
    return pl.Series(
        [None if value is None else UNREADABLE + str(value) for value in values], dtype=pl.String
    )


def _words(
    column: Column, values: pl.Series, meanings: dict[str, int], expected: str, faults: Faults
) -> NDArray[Any]:
    """A column of few words, each looked up once."""
    strings = encode(_texts(values)).compact()
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


def _lists(column: Column, values: Levels, faults: Faults) -> Lists:
    numbers, bad = _floats(values.numbers)
    wrong = values.absent.copy()
    if bad.any():
        wrong[np.searchsorted(values.ends, np.flatnonzero(bad), side="right")] = True
    faults.add(column, wrong, "a list of numbers", values)
    return Lists(numbers, values.ends)
