"""Times of a zone's clock: as UTC, and those of day put on their date."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.files.options import UNIT_DIGITS, UTC, TimeUnit
from tapehouse.clock import DAY

Mask = NDArray[np.bool_]
Nanos = NDArray[np.int64]
_OF_DAY = "^[0-9]{1,2}:[0-9]{2}"


def to_utc(ns: Nanos, local: Mask, zone: str) -> tuple[Nanos, list[tuple[Mask, str]]]:
    """(`ns` with the rows `local`, ns since 1970 by the clock of a zone, as UTC; (mask of rows, what was expected)
    of those that the clock shows twice or never)."""
    if zone == UTC or not local.any():
        return ns, []
    clock = pl.Series(np.where(local, ns, 0)).cast(pl.Datetime("ns"))
    once = clock.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    utc = np.where(local, once.to_physical().fill_null(0).to_numpy(), ns)
    wrong = local & once.is_null().to_numpy()
    if not wrong.any():
        return utc, []
    never = clock.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").is_null().to_numpy()
    return utc, [
        (wrong & never, f"a time that the clock of {zone} shows (it goes forward here)"),
        (wrong & ~never, f"a time that the clock of {zone} shows once (it goes back here)"),
    ]


def are_of_day(texts: pl.Series) -> Mask:
    """Which texts are times of day, such as 9:30 or 09:30:00.123."""
    return texts.str.strip_chars().str.contains(_OF_DAY).fill_null(False).to_numpy()


def on_date(texts: pl.Series, date: str) -> pl.Series:
    """Texts, those that are times of day with the date before them."""
    text = pl.col("text")
    dated = pl.lit(f"{date}T") + text.str.replace("^([0-9]):", "0${1}:")
    return (
        texts.to_frame("text")
        .select(pl.when(text.str.contains(_OF_DAY)).then(dated).otherwise(text))
        .to_series()
    )


def on_dates(values: pl.Series, dates: pl.Series, unit: TimeUnit | None) -> pl.Series:
    """Times with the dates of another column before them where they are of day, as text.

    Numbers are of day where they have a `unit`, since midnight. What has a date is as it was.
    """
    if values.dtype.is_temporal():
        return values
    texts = values.cast(pl.String, strict=False).str.strip_chars()
    clock = texts.set(~pl.Series(are_of_day(texts)), None)
    if unit is not None:
        ns = (texts.cast(pl.Float64, strict=False) * 10.0 ** UNIT_DIGITS[unit]).round()
        ns = ns.set(~ns.is_between(0, DAY, closed="left").fill_null(False), None)
        clock = clock.fill_null(ns.cast(pl.Int64).cast(pl.Time).dt.strftime("%H:%M:%S%.9f"))
    joined = _iso_dates(dates) + "T" + clock.str.replace("^([0-9]):", "0${1}:")
    return joined.fill_null(texts)


def _iso_dates(dates: pl.Series) -> pl.Series:
    """Dates, or their texts such as 2024-01-02, 2024/01/02 or 20240102, as the first of these; null for others."""
    if dates.dtype in (pl.Date, pl.Datetime):
        return dates.dt.strftime("%Y-%m-%d")
    texts = dates.cast(pl.String, strict=False).str.strip_chars()
    return texts.str.extract("^([0-9]{4})[-/]?[0-9]{2}[-/]?[0-9]{2}$") + texts.str.replace_all(
        "[-/]", ""
    ).str.replace("^[0-9]{4}([0-9]{2})([0-9]{2})$", "-${1}-${2}")
