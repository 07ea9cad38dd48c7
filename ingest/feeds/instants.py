"""ISO 8601 text as ns since 1970, a column at a time."""

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
"""Layouts tried on a whole column at once; what is left is read one by one."""
_ZERO = ord("0")
_NUMBERS = ("year", "month", "day", "hour", "minute", "second", "fraction", "zone_hour", "zone_minute")

Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]


class Instants:
    """What a column of text says: `ns` where `read`, from a text with a zone where `zoned`, else as UTC."""

    def __init__(self, texts: pl.Series) -> None:
        rows = len(texts)
        self.ns = np.zeros(rows, np.int64)
        self.read: Mask = np.zeros(rows, np.bool_)
        self.zoned: Mask = np.zeros(rows, np.bool_)
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
            left = self._read_alike(texts, data, offsets, lengths, left)
        for row in np.flatnonzero(left).tolist():
            one = data[offsets[row] : offsets[row + 1]] - _ZERO
            self._read(np.array([row]), texts[row], one[one <= 9][None, :])

    def _read_alike(
        self,
        texts: pl.Series,
        data: Bytes,
        offsets: NDArray[np.int64],
        lengths: NDArray[np.int64],
        left: Mask,
    ) -> Mask:
        """Read the first text that is left and all that differ from it in their digits alone."""
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
        self._read(rows, texts[first], digits)
        left = left.copy()
        left[rows] = False
        return left

    def _read(self, rows: NDArray[np.int64], example: str, digits: Bytes) -> None:
        """Read rows of one layout, that of `example`, from their digits."""
        layout = _LAYOUT.fullmatch(example)
        if layout is None:
            return
        columns = np.ascontiguousarray(digits.T)
        year, month, day, hour, minute, second, fraction, zone_hour, zone_minute = (
            _number(layout, name, columns) for name in _NUMBERS
        )
        fraction *= 10 ** (9 - len(layout["fraction"] or ""))
        read = (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60) & (zone_minute < 60)
        # 64-bit nanoseconds hold 1678 to 2261.
        read &= (year > 1678) & (year < 2262)
        months = np.where(read, (year - 1970) * 12 + month - 1, 0)
        days = _days(months)
        read &= (day >= 1) & (day <= _days(months + 1) - days)
        ns = (days + day - 1) * DAY + hour * HOUR + minute * MINUTE + second * SECOND + fraction
        away = zone_hour * HOUR + zone_minute * MINUTE
        ns -= away if layout["sign"] == "+" else -away
        self.ns[rows] = np.where(read, ns, 0)
        self.read[rows] = read
        self.zoned[rows] = read & (layout["zone"] is not None)


def _number(layout: re.Match[str], name: str, digits: Bytes) -> NDArray[np.int64]:
    """One of the numbers of a layout, 0 where it is left out; `digits` has a row for each digit."""
    start, stop = layout.span(name)
    before = sum(character.isdigit() for character in layout[0][: max(start, 0)])
    number = np.zeros(digits.shape[1], np.int64)
    for row in digits[before : before + stop - start]:
        number *= 10
        number += row
    return number


def _days(months: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first days of months since 1970, as days since 1970."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
