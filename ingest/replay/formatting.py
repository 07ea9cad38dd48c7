"""Formats rows for the messages of emulated venues."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from tapehouse.batch import Batch, Lists, Strings


def batch_rows(batch: Batch) -> Iterator[dict[str, Any]]:
    """One dict a row, by column name."""
    columns: dict[str, list[Any]] = {}
    for name, data in batch.columns.items():
        if isinstance(data, Strings):
            columns[name] = list(data.to_list())
        elif isinstance(data, Lists):
            columns[name] = [data.row(place).tolist() for place in range(batch.rows)]
        else:
            columns[name] = data.tolist()
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def format_decimal(number: float) -> str:
    """The shortest decimal of the same double, without an exponent; 0 for NaN."""
    return "0" if number != number else format(Decimal(repr(number)), "f")


def format_time(ns: int) -> str:
    """ns as ISO 8601 in UTC, floored to microseconds."""
    return f"{np.datetime64(ns // 1_000, 'us')}Z"
