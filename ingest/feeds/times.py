"""Times as files write them, to ns since 1970 in UTC, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.feeds.instants import Instants
from tapehouse.clock import parse_ns
from tapehouse.errors import NaiveTimeError, UsageError

Unit = Literal["s", "ms", "us", "ns"]
UNITS: tuple[Unit, ...] = get_args(Unit)
DIGITS: dict[Unit, int] = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""The digits between a unit and ns."""
WORDS: dict[Unit, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_EARLIEST, _LATEST = parse_ns("1990-01-01"), parse_ns("2100-01-01")

Mask = NDArray[np.bool_]
Nanos = NDArray[np.int64]
_EXPONENT = r"^[0-9]{1,20}(\.[0-9]{0,20})?[eE][+-]?[0-9]{1,2}$"


@dataclass(frozen=True)
class Reading:
    """How the times of one column are to be read."""

    unit: Unit | None = None
    """The unit of numbers; None: they are no times."""
    guessed: bool = False
    """The unit was guessed: only numbers between 1990 and 2100 in it are times."""
    naive_as_utc: bool = False
    """Text without a zone is UTC; otherwise it is no time."""


def unit_named(name: str) -> Unit:
    """The unit called `name`; UsageError lists the valid names."""
    for unit in UNITS:
        if unit == name:
            return unit
    raise UsageError(f"--time-unit: expected one of {' '.join(UNITS)}, was {name!r}")


def survey(
    name: str, source: str, values: pl.Series, unit: Unit | None, naive_as_utc: bool
) -> tuple[Reading, tuple[str, ...]]:
    """How to read the model column `name` from the first `values` of the column `source`, and what to say.

    Raises UsageError where the numbers could be of two units, NaiveTimeError where no text has a zone.
    """
    if isinstance(values.dtype, pl.Datetime):
        said = (
            (f"{name}: column {source} has no zone, taken as UTC",) if values.dtype.time_zone is None else ()
        )
        return Reading(), said
    notes: list[str] = []
    reading = Reading(unit, naive_as_utc=naive_as_utc)
    numbers = _approximate(values)
    if numbers.len() and unit is None:
        guess = _guess(name, source, numbers)
        if guess is not None:
            reading = Reading(guess, True, naive_as_utc)
            notes.append(f"{name}: column {source} read as {WORDS[guess]} since 1970 (guessed)")
    if values.dtype.is_float() and (values.drop_nulls() % 1 != 0).any():
        notes.append(f"{name}: column {source} is floating point, its times as exact as that")
    if values.dtype == pl.String:
        instants = Instants(values)
        naive = instants.read & ~instants.zoned
        if naive.any() and naive_as_utc:
            notes.append(f"{name}: column {source} has no zone, taken as UTC")
        elif naive.any() and not instants.zoned.any():
            example = values[int(np.argmax(naive))]
            raise NaiveTimeError(
                f"{name}: expected times with a zone in column {source}, was {example!r}",
                remedy="If they are UTC, say so with --naive-as-utc.",
                column=source,
            )
    return reading, tuple(notes)


def _approximate(values: pl.Series) -> pl.Series:
    """The values that are numbers, as floats."""
    if not (values.dtype == pl.String or values.dtype.is_numeric()):
        return pl.Series([], dtype=pl.Float64)
    numbers = values.cast(pl.Float64, strict=False).drop_nulls()
    return numbers.filter(numbers.is_finite())


def _guess(name: str, source: str, numbers: pl.Series) -> Unit | None:
    """The one unit that puts numbers between 1990 and 2100, None when no unit does."""
    hits: list[Unit] = []
    for unit in UNITS:
        scale = 10.0 ** DIGITS[unit]
        if ((numbers >= _EARLIEST / scale) & (numbers < _LATEST / scale)).any():
            hits.append(unit)
    if len(hits) > 1:
        low, high = numbers.to_numpy().min(), numbers.to_numpy().max()
        raise UsageError(
            f"{name}: expected numbers of one unit in column {source}, was {low} to {high}: "
            f"{' or '.join(hits)}",
            remedy=f"Say which: --time-unit {hits[0]} or --time-unit {hits[-1]}.",
        )
    return hits[0] if hits else None


Wrong = list[tuple[Mask, str]]
"""Rows, and what was expected in them."""


def to_ns(values: pl.Series, reading: Reading) -> tuple[Nanos, Wrong]:
    """Each value as ns, and the rows that are no time (an absent value is none)."""
    if isinstance(values.dtype, pl.Datetime):
        physical, unit = values.to_physical(), values.dtype.time_unit
        ns, read = _scaled(physical, DIGITS[unit])
        return ns, [(~read, "a time")]
    wholes, texts = _wholes_and_texts(values)
    ns, read = np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
    if reading.unit is not None:
        ns, read = _scaled(wholes, DIGITS[reading.unit])
    naive = np.zeros(len(values), np.bool_)
    rest = np.flatnonzero((wholes.is_null() & texts.is_not_null()).to_numpy())
    if len(rest):
        others = texts.gather(rest) if len(rest) < len(texts) else texts
        if reading.unit is not None:
            ns[rest], read[rest] = _fractions(others, DIGITS[reading.unit])
            rest = rest[~read[rest]]
            others = texts.gather(rest)
    unlikely = read & ((ns < _EARLIEST) | (ns >= _LATEST)) & reading.guessed
    read &= ~unlikely
    if len(rest):
        instants = Instants(others)
        allowed = instants.read & (instants.zoned | reading.naive_as_utc)
        ns[rest], read[rest], naive[rest] = instants.ns, allowed, instants.read & ~allowed
    return ns, [
        (naive, "a time with a zone (--naive-as-utc takes it as UTC)"),
        (
            unlikely,
            f"a time from 1990 to 2099 in {WORDS[reading.unit or 'ns']}, as guessed (--time-unit tells)",
        ),
        (~read, "a time" if reading.unit else "a time (--time-unit gives the unit of numbers)"),
    ]


def _wholes_and_texts(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The values that are whole numbers, null elsewhere; and all values as text where some are not whole."""
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(values))
    if values.dtype.is_integer():
        return values.cast(pl.Int64, strict=False), values.cast(pl.String)
    if values.dtype.is_float():
        wholes = values.set((values % 1 != 0).fill_null(True), None).cast(pl.Int64, strict=False)
        # The shortest text that gives the same float is what was meant.
        return wholes, nothing if wholes.null_count() == 0 else values.cast(pl.String)
    if values.dtype == pl.String or values.dtype.is_decimal():
        texts = values.cast(pl.String).str.strip_chars()
        return texts.cast(pl.Int64, strict=False), texts
    return nothing.cast(pl.Int64), nothing


def _scaled(wholes: pl.Series, digits: int) -> tuple[Nanos, Mask]:
    """Whole numbers of a unit as ns, where they are there and fit 64 bits."""
    most = (2**63 - 1) // 10**digits
    read = wholes.is_between(-most, most).fill_null(False).to_numpy()
    numbers = wholes.fill_null(0).to_numpy()
    return np.where(read, numbers, 0) * 10**digits, read


def _fractions(texts: pl.Series, digits: int) -> tuple[Nanos, Mask]:
    """Texts such as 1723161256.172216566 as ns, floored to ns where they say more."""
    halves = texts.str.splitn(".", 2)
    fraction = halves.struct.field("field_1")
    plain = fraction.str.contains("^[0-9]*$").fill_null(False) & ~texts.str.starts_with("-")
    ns, read = _scaled(halves.struct.field("field_0").cast(pl.Int64, strict=False), digits)
    read &= plain.to_numpy()
    if digits:
        below = fraction.str.slice(0, digits).str.pad_end(digits, "0").cast(pl.Int64, strict=False)
        ns += np.where(read, below.fill_null(0).to_numpy(), 0)
    exponents = ~read & texts.str.contains(_EXPONENT).to_numpy()
    for row in np.flatnonzero(exponents).tolist():
        number = Decimal(texts[row])
        if abs(number.adjusted()) < 20 - digits:
            ns[row], read[row] = int(number.scaleb(digits)), True
    return ns, read
