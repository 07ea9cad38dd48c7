"""Rows in the words of a venue: what the dialects of a replay write them with."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from tapehouse.batch import Batch, Lists, Strings


def rows_of(batch: Batch) -> Iterator[dict[str, Any]]:
    """One dict a row."""
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


def decimal(number: float) -> str:
    """The shortest decimal that is read as the same double, without an exponent; an absent one is 0."""
    return "0" if number != number else format(Decimal(repr(number)), "f")


def instant(ns: int) -> str:
    """ISO 8601 in UTC, floored to microseconds."""
    return f"{np.datetime64(ns // 1_000, 'us')}Z"
