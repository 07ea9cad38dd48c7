"""What a user says of how a file is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any, Literal, Self, get_args

import polars as pl

from tapehouse.errors import UsageError

TimeUnit = Literal["s", "ms", "us", "ns"]
UNITS: tuple[TimeUnit, ...] = get_args(TimeUnit)
UNIT_DIGITS: dict[TimeUnit, int] = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""Unit -> decimal digits between the unit and ns."""
NumberBy = Literal["id", "time"]
"""What rows are numbered by, where the user says."""
UTC = "UTC"


@dataclass(frozen=True)
class ReadOptions:
    """How the columns and times of a file are read; what is not given is found out, or refused.

    Raises UsageError where a unit, a zone or a date is none.
    """

    mapping: Mapping[str, str] = field(default_factory=dict)
    """Model column or alias -> the file's column."""
    time_unit: TimeUnit | None = None
    """The unit of times that are numbers."""
    timezone: str | None = None
    """The IANA zone of times without one."""
    date: str | None = None
    """YYYY-MM-DD: the day of times that have none, in `timezone`, else UTC."""
    number_by: NumberBy | None = None
    """"time": ids are read as trade_id; "id": ids are taken in whatever order they are."""

    def __post_init__(self) -> None:
        if self.time_unit is not None and self.time_unit not in UNITS:
            raise UsageError(f"--time-unit: expected one of {' '.join(UNITS)}, was {self.time_unit!r}")
        if self.timezone is not None:
            _check_zone(self.timezone)
        if self.date is not None:
            _check_date(self.date)

    def record(self) -> dict[str, Any]:
        """The options as JSON values."""
        return asdict(self) | {"mapping": dict(self.mapping)}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Those of a `record`, which may hold more."""
        return cls(**{item.name: record[item.name] for item in fields(cls) if record.get(item.name)})


FOUND_OUT = ReadOptions()
"""Nothing is said: what is clear is found out."""


def _check_zone(name: str) -> None:
    try:
        pl.Series([0]).cast(pl.Datetime("ns")).dt.replace_time_zone(name)
    except pl.exceptions.ComputeError:
        raise UsageError(
            f"--timezone: expected the name of a zone, such as UTC or America/New_York, was {name!r}"
        ) from None


def _check_date(text: str) -> None:
    try:
        valid = date.fromisoformat(text).isoformat() == text
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"--date: expected YYYY-MM-DD, was {text!r}")
