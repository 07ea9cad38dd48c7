"""Converts the times of files to ns since 1970 UTC, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.files.iso_times import IsoTimes
from ingest.files.local_times import are_of_day, on_date, to_utc
from ingest.files.options import UNIT_DIGITS, UNITS, UTC, ReadOptions, TimeUnit
from tapehouse.clock import DAY, HOUR, MAX_TS, iso, parse_ns
from tapehouse.errors import NaiveTimeError, UsageError

UNIT_NAMES: dict[TimeUnit, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
_EARLIEST_GUESS, _LATEST_GUESS = parse_ns("1990-01-01"), parse_ns("2100-01-01")

Mask = NDArray[np.bool_]
Nanos = NDArray[np.int64]
MAX_EXACT_FLOAT = 2.0**53
"""Whole numbers below it are exact as floats."""
_EXPONENT = r"^[0-9]{1,20}(\.[0-9]{0,20})?[eE][+-]?[0-9]{1,2}$"


@dataclass(frozen=True)
class TimeFormat:
    """How the times of one column are written."""

    unit: TimeUnit | None = None
    """The unit of numbers; None: numbers are not accepted."""
    guessed: bool = False
    """Whether the unit was guessed: then only times from 1990 to 2099 are accepted."""
    zone: str | None = None
    """The zone of times without one; None: text without a zone is not accepted, typed columns are UTC."""
    date: str | None = None
    """The date of times of day, which numbers are then, since midnight by the zone's clock. None: there are none."""


def detect_time_format(
    name: str, source: str, values: pl.Series, options: ReadOptions
) -> tuple[TimeFormat, tuple[str, ...]]:
    """(format of the column `source`, detected from its first `values`; notes for the user).

    Raises UsageError where the numbers fit two units, or times of day lack a date, NaiveTimeError where no text has a
    zone.
    """
    zone = options.timezone
    if values.dtype == pl.Date:
        return TimeFormat(zone=zone), (f"{name}: column {source} has dates, taken as 00:00 {zone or UTC}",)
    if isinstance(values.dtype, pl.Datetime):
        naive = values.dtype.time_zone is None
        return TimeFormat(zone=(zone or UTC) if naive else zone), (
            (_taken_as(name, source, zone),) if naive else ()
        )
    notes: list[str] = []
    unit, guessed = options.time_unit, False
    numbers = _finite_numbers(values)
    if numbers.len() and unit is None:
        unit = _guess_unit(name, source, numbers, dated=options.date is not None)
        guessed = unit is not None
    if _is_of_day(values, numbers, unit, guessed):
        return _of_day(name, source, values, numbers, options)
    if unit is not None and guessed:
        first, last = (_shown(number, unit) for number in (numbers.min(), numbers.max()))
        notes.append(
            f"{name}: column {source} read as {UNIT_NAMES[unit]} since 1970 (guessed): {first} to {last}"
        )
    if values.dtype.is_float() and (
        (values.drop_nulls() % 1 != 0).any() or (values.drop_nulls().abs() >= MAX_EXACT_FLOAT).any()
    ):
        notes.append(f"{name}: column {source} is floating point, its times as exact as that")
    if values.dtype == pl.String:
        notes.extend(_note_on_zone(name, source, values, zone))
    return TimeFormat(unit, guessed, zone), tuple(notes)


def _taken_as(name: str, source: str, zone: str | None) -> str:
    return f"{name}: column {source} has no zone, taken as {zone or UTC}"


def _note_on_zone(name: str, source: str, texts: pl.Series, zone: str | None) -> tuple[str, ...]:
    """What is to be said of texts without a zone; NaiveTimeError where none has one and none is given."""
    instants = IsoTimes(texts)
    naive = instants.valid & ~instants.has_zone
    if naive.any() and zone is not None:
        return (_taken_as(name, source, zone),)
    if naive.any() and not instants.has_zone.any():
        raise NaiveTimeError(
            f"{name}: expected times with a zone in column {source}, was {texts[int(np.argmax(naive))]!r}",
            remedy="If they are UTC, say so with --naive-as-utc; of another zone with --timezone NAME.",
            column=source,
        )
    return ()


def _is_of_day(values: pl.Series, numbers: pl.Series, unit: TimeUnit | None, guessed: bool) -> bool:
    """Whether most values are times of day: texts such as 09:30:00, or numbers below those of a day."""
    most = (values.len() - values.null_count()) / 2
    if values.dtype == pl.String and int(are_of_day(values).sum()) > most:
        return True
    return not guessed and _below_a_day(numbers, unit or UNITS[-1]).len() > most


def _of_day(
    name: str, source: str, values: pl.Series, numbers: pl.Series, options: ReadOptions
) -> tuple[TimeFormat, tuple[str, ...]]:
    """The format of a column of times of day, and what is to be said of it."""
    date, zone = options.date, options.timezone or UTC
    if date is None:
        other = f"Or leave it out: --map {name}=-."
        if name == "ts_event":
            other = "If another column has the times: --map ts=COLUMN."
        raise UsageError(
            f"{name}: expected times with a date in column {source}, was {values.drop_nulls()[0]!r}",
            remedy="If they are times of day, give their date: --date YYYY-MM-DD, or --map date=COLUMN (numbers with "
            f"--time-unit), and --timezone NAME. {other}",
        )
    unit = options.time_unit or (_guess_unit_of_day(name, source, numbers) if numbers.len() else None)
    read_as = f"{UNIT_NAMES[unit]} since midnight" if unit is not None and numbers.len() else "times of day"
    guessed = " (guessed)" if numbers.len() and options.time_unit is None else ""
    note = f"{name}: column {source} read as {read_as}{guessed} of {date} {zone}"
    return TimeFormat(unit, zone=zone, date=date), (note,)


def _below_a_day(numbers: pl.Series, unit: TimeUnit) -> pl.Series:
    return numbers.filter((numbers >= 0) & (numbers < DAY / 10.0 ** UNIT_DIGITS[unit]))


def _guess_unit_of_day(name: str, source: str, numbers: pl.Series) -> TimeUnit:
    """The coarsest unit in which most numbers are below those of a day; UsageError where a finer one may be meant,
    in which all are of the day's first minutes."""
    unit = next(unit for unit in UNITS if _below_a_day(numbers, unit).len() > numbers.len() / 2)
    low, high = numbers.to_numpy().min(), numbers.to_numpy().max()
    if unit != UNITS[-1] and _below_a_day(numbers, unit).to_numpy().min() * 10.0 ** UNIT_DIGITS[unit] < HOUR:
        raise UsageError(
            f"{name}: expected times of day of one unit in column {source}, was {low} to {high}",
            remedy=f"Say which: --time-unit {unit} or --time-unit {UNITS[UNITS.index(unit) + 1]}, since midnight.",
        )
    return unit


def _shown(number: Any, unit: TimeUnit) -> str:
    """A number of a unit as a time to the second; as it is where it is none."""
    ns = int(number * 10 ** UNIT_DIGITS[unit])
    return iso(ns, 0) if 0 <= ns < MAX_TS else str(number)


def _finite_numbers(values: pl.Series) -> pl.Series:
    """The finite numbers among the values, as floats."""
    if not (values.dtype == pl.String or values.dtype.is_numeric()):
        return pl.Series([], dtype=pl.Float64)
    numbers = values.cast(pl.Float64, strict=False).drop_nulls()
    return numbers.filter(numbers.is_finite())


def _guess_unit(name: str, source: str, numbers: pl.Series, *, dated: bool) -> TimeUnit | None:
    """The one unit in which numbers are between 1990 and 2100, None when there is none.

    Where a date was given (`dated`), all must be: others are times of day.
    """
    hits: list[TimeUnit] = []
    for unit in UNITS:
        scale = 10.0 ** UNIT_DIGITS[unit]
        likely = (numbers >= _EARLIEST_GUESS / scale) & (numbers < _LATEST_GUESS / scale)
        if likely.all() or (likely.any() and not dated):
            hits.append(unit)
    if len(hits) > 1:
        low, high = numbers.to_numpy().min(), numbers.to_numpy().max()
        raise UsageError(
            f"{name}: expected numbers of one unit in column {source}, was {low} to {high}: "
            f"{' or '.join(hits)}",
            remedy=f"Say which: --time-unit {hits[0]} or --time-unit {hits[-1]}.",
        )
    return hits[0] if hits else None


_ISO_TIME = "a time such as 2024-01-02T10:00:00Z (--time-unit gives the unit of numbers)"

TimeFaults = list[tuple[Mask, str]]
"""(mask of invalid rows, what was expected) pairs."""


def convert_times(values: pl.Series, time_format: TimeFormat) -> tuple[Nanos, TimeFaults]:
    """(the values as ns UTC, the rows that are not a time); a missing value is not a time."""
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        return _typed_times(values, time_format.zone or UTC)
    wholes, texts = _wholes_and_texts(values)
    if time_format.date is not None:
        texts = on_date(texts, time_format.date)
    ns, read = _numbers(wholes, texts, time_format.unit)
    of_day = read & (time_format.date is not None)
    beyond = of_day & ((ns < 0) | (ns >= DAY))
    unlikely = read & ((ns < _EARLIEST_GUESS) | (ns >= _LATEST_GUESS)) & time_format.guessed
    if time_format.date is not None:
        ns[of_day] += parse_ns(time_format.date)
    naive, local = np.zeros(len(values), np.bool_), of_day
    rest = np.flatnonzero(~read & (wholes.is_null() & texts.is_not_null()).to_numpy())
    if len(rest):
        instants = IsoTimes(texts.gather(rest) if len(rest) < len(texts) else texts)
        allowed = instants.valid & (instants.has_zone | (time_format.zone is not None))
        ns[rest], read[rest], naive[rest] = instants.ns, allowed, instants.valid & ~allowed
        local[rest] = allowed & ~instants.has_zone
    ns, not_once = to_utc(ns, local & ~beyond, time_format.zone or UTC)
    unit = UNIT_NAMES[time_format.unit or "ns"]
    return ns, [
        (naive, "a time with a zone (--naive-as-utc or --timezone says which)"),
        (unlikely, f"a time from 1990 to 2099 in {unit}, as guessed (--time-unit tells)"),
        (beyond, f"a time of day in {unit} since midnight"),
        *not_once,
        (~read, "a time" if time_format.unit else _ISO_TIME),
    ]


def _typed_times(values: pl.Series, zone: str) -> tuple[Nanos, TimeFaults]:
    """Dates and times of a typed column; those without a zone are of `zone`."""
    if values.dtype == pl.Date:
        values = values.cast(pl.Datetime("us"))
    assert isinstance(values.dtype, pl.Datetime)
    ns, read = _scaled(values.to_physical(), UNIT_DIGITS[values.dtype.time_unit])
    ns, not_once = to_utc(ns, read & (values.dtype.time_zone is None), zone)
    return ns, [*not_once, (~read, "a time")]


def _numbers(wholes: pl.Series, texts: pl.Series, unit: TimeUnit | None) -> tuple[Nanos, Mask]:
    """(numbers of a unit as ns, mask of the rows that are such)."""
    if unit is None:
        return np.zeros(len(wholes), np.int64), np.zeros(len(wholes), np.bool_)
    ns, read = _scaled(wholes, UNIT_DIGITS[unit])
    rest = np.flatnonzero((wholes.is_null() & texts.is_not_null()).to_numpy())
    if len(rest):
        read = read.copy()
        others = texts.gather(rest) if len(rest) < len(texts) else texts
        ns[rest], read[rest] = _fractions(others, UNIT_DIGITS[unit])
    return ns, read


def _wholes_and_texts(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(whole numbers, null elsewhere; all values as text where some are not whole)."""
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(values))
    if values.dtype.is_integer():
        return values.cast(pl.Int64, strict=False), values.cast(pl.String)
    if values.dtype.is_float():
        wholes = values.set((values % 1 != 0).fill_null(True), None).cast(pl.Int64, strict=False)
        # The shortest text that gives the same float is taken as the original value.
        return wholes, nothing if wholes.null_count() == 0 else values.cast(pl.String)
    if values.dtype == pl.String or values.dtype.is_decimal():
        texts = values.cast(pl.String).str.strip_chars()
        return texts.cast(pl.Int64, strict=False), texts
    return nothing.cast(pl.Int64), nothing


def _scaled(wholes: pl.Series, digits: int) -> tuple[Nanos, Mask]:
    """(whole numbers of a unit as ns; mask of those that are present and fit 64 bits)."""
    most = (2**63 - 1) // 10**digits
    read = wholes.is_between(-most, most).fill_null(False).to_numpy()
    numbers = wholes.fill_null(0).to_numpy()
    return np.where(read, numbers, 0) * 10**digits, read


def _fractions(texts: pl.Series, digits: int) -> tuple[Nanos, Mask]:
    """Texts such as 1723161256.172216566 as ns, floored to ns."""
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
