"""The gateway's problems as errors: the same classes that are raised where there is no gateway between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tapehouse.errors import ConnectError, NaiveTimeError, TapehouseError, UsageError

_CLASSES: Final[dict[str, type[TapehouseError]]] = {
    "usage": UsageError,
    "naive-time": NaiveTimeError,
    "refused": TapehouseError,
    "away": ConnectError,
    "busy": ConnectError,
    "not-ready": ConnectError,
    "time-out": ConnectError,
}
"""By the last part of a problem's type; the status tells of others."""
_AWAY: Final = (503, 504)


def error_of(problem: Mapping[str, Any], status: int) -> TapehouseError:
    """The error that a document of type application/problem+json tells of, with its remedy and fields."""
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
    return ConnectError if status in _AWAY else TapehouseError
