"""Parses columns of ISO 8601 text to ns since 1970.

This reader accepts any mix of layouts and zones, as files of unknown origin have them. The others differ on
purpose: `tapehouse.clock.parse_ns` reads one time that a user wrote and says how to correct it;
`ingest.venues.iso_times` reads the one layout of the venues' messages, for which it is faster on single rows.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.clock import DAY, HOUR, MINUTE, SECOND

_LAYOUT = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)[T t](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone> ?(?:Z|z|UTC|(?P<sign>[+-])(?P<zone_hour>\d\d):?(?P<zone_minute>\d\d)?))?",
    re.ASCII,
)
_LAYOUTS = 32
"""Distinct layouts parsed column-wise; rows of further ones are parsed one by one."""
_ZERO = ord("0")
_NUMBERS = ("year", "month", "day", "hour", "minute", "second", "fraction", "zone_hour", "zone_minute")

Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]


class IsoTimes:
    """The times of a text column: `ns` is set where `valid`; without a zone (`has_zone` false) it is read as UTC."""

    def __init__(self, texts: pl.Series) -> None:
        rows = len(texts)
        self.ns = np.zeros(rows, np.int64)
        self.valid: Mask = np.zeros(rows, np.bool_)
        self.has_zone: Mask = np.zeros(rows, np.bool_)
        if rows == 0:
            return
        arrow = texts.rechunk().to_arrow()
        offsets = np.frombuffer(arrow.buffers()[1], np.int64)[arrow.offset : arrow.offset + rows + 1]
        data = np.frombuffer(arrow.buffers()[2] or b"", np.uint8)
        lengths = np.diff(offsets)
        left = (lengths >= len("2024-08-09T00:00")) & texts.is_not_null().to_numpy()
        for _ in range(_LAYOUTS):
            if not left.any():
                return
            left = self._parse_same_layout(texts, data, offsets, lengths, left)
        for row in np.flatnonzero(left).tolist():
            one = data[offsets[row] : offsets[row + 1]] - _ZERO
            self._parse(np.array([row]), texts[row], one[one <= 9][None, :])

    def _parse_same_layout(
        self,
        texts: pl.Series,
        data: Bytes,
        offsets: NDArray[np.int64],
        lengths: NDArray[np.int64],
        left: Mask,
    ) -> Mask:
        """Parse the first remaining text and all that differ from it only in their digits; returns what remains."""
        first = int(np.argmax(left))
        length = int(lengths[first])
        rows = np.flatnonzero(left & (lengths == length))
        if len(rows) == len(left):
            matrix = data[offsets[0] : offsets[-1]].reshape(-1, length)
        else:
            matrix = data[offsets[rows][:, None] + np.arange(length)]
        digit = matrix[0] - _ZERO <= 9
        others = matrix[:, ~digit] == matrix[0][~digit]
        digits = matrix[:, digit] - _ZERO
        if not (others.all() and digits.max(initial=0) <= 9):
            alike = others.all(axis=1) & (digits <= 9).all(axis=1)
            rows, digits = rows[alike], digits[alike]
        self._parse(rows, texts[first], digits)
        left = left.copy()
        left[rows] = False
        return left

    def _parse(self, rows: NDArray[np.int64], example: str, digits: Bytes) -> None:
        """Parse rows with the layout of `example` from their digits."""
        layout = _LAYOUT.fullmatch(example)
        if layout is None:
            return
        columns = np.ascontiguousarray(digits.T)
        year, month, day, hour, minute, second, fraction, zone_hour, zone_minute = (
            _number(layout, name, columns) for name in _NUMBERS
        )
        fraction *= 10 ** (9 - len(layout["fraction"] or ""))
        read = (
            (month >= 1)
            & (month <= 12)
            & (hour < 24)
            & (minute < 60)
            & (second < 60)
            & (zone_hour < 24)
            & (zone_minute < 60)
        )
        # 64-bit nanoseconds hold 1678 to 2261.
        read &= (year > 1678) & (year < 2262)
        months = np.where(read, (year - 1970) * 12 + month - 1, 0)
        days = _days_before_months(months)
        read &= (day >= 1) & (day <= _days_before_months(months + 1) - days)
        ns = (days + day - 1) * DAY + hour * HOUR + minute * MINUTE + second * SECOND + fraction
        away = zone_hour * HOUR + zone_minute * MINUTE
        ns -= away if layout["sign"] == "+" else -away
        self.ns[rows] = np.where(read, ns, 0)
        self.valid[rows] = read
        self.has_zone[rows] = read & (layout["zone"] is not None)


def _number(layout: re.Match[str], name: str, digits: Bytes) -> NDArray[np.int64]:
    """One number of a layout, 0 where it is omitted; `digits` has one row a digit position."""
    start, stop = layout.span(name)
    before = sum(character.isdigit() for character in layout[0][: max(start, 0)])
    number = np.zeros(digits.shape[1], np.int64)
    for row in digits[before : before + stop - start]:
        number *= 10
        number += row
    return number


def _days_before_months(months: NDArray[np.int64]) -> NDArray[np.int64]:
    """Months since 1970 -> days since 1970 of their first day."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
