"""Converts the gateway's problem documents to errors, of the same classes as without a gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tapehouse.errors import ConnectError, NaiveTimeError, TapehouseError, UnknownSeriesError, UsageError

_CLASSES: Final[dict[str, type[TapehouseError]]] = {
    "usage": UsageError,
    "naive-time": NaiveTimeError,
    "unknown-series": UnknownSeriesError,
    "refused": TapehouseError,
    "away": ConnectError,
    "busy": ConnectError,
    "not-ready": ConnectError,
    "time-out": ConnectError,
}
"""By the last part of a problem's type; for unknown types the status decides."""
_UNAVAILABLE: Final = (503, 504)


def error_of(problem: Mapping[str, Any], status: int) -> TapehouseError:
    """The error described by an application/problem+json document, with its remedy and fields."""
    name = str(problem.get("type", "")).rpartition("/")[2]
    kind = _CLASSES.get(name) or _by_status(status)
    error = kind(
        str(problem.get("detail") or problem.get("title") or f"gateway: answered {status}"),
        remedy=str(problem.get("remedy") or ""),
    )
    fields = problem.get("fields")
    error.fields = dict(fields) if isinstance(fields, dict) else {}
    return error


def _by_status(status: int) -> type[TapehouseError]:
    if 400 <= status < 500:
        return UsageError
    return ConnectError if status in _UNAVAILABLE else TapehouseError
