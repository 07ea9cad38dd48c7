"""The gateway's problems as errors: the same classes that are raised where there is no gateway between."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tapehouse.errors import ConnectError, TapehouseError, UsageError

_AWAY = (502, 503, 504)


def error_of(problem: Mapping[str, Any], status: int = 0) -> TapehouseError:
    """The error that a document of type application/problem+json tells of, with its remedy and fields.

    Its class is the one that the last part of `type` names (`/problems/naive-time` is NaiveTimeError); for types
    that are not known here it follows from the status, HTTP's or the document's.
    """
    status = status or _whole(problem.get("status"))
    name = str(problem.get("type", "")).rpartition("/")[2]
    kind = _CLASSES.get(name) or _by_status(status)
    message = str(problem.get("detail") or problem.get("title") or f"gateway: answered {status}")
    fields = problem.get("fields")
    error = kind(message, remedy=str(problem.get("remedy") or ""))
    error.fields = {**fields} if isinstance(fields, dict) else {}
    return error


def _by_status(status: int) -> type[TapehouseError]:
    if 400 <= status < 500:
        return UsageError
    return ConnectError if status in _AWAY else TapehouseError


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _all(kind: type[TapehouseError]) -> Iterator[type[TapehouseError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all(below)


def _slug(kind: type[TapehouseError]) -> str:
    words = re.findall("[A-Z][a-z]*", kind.__name__.removesuffix("Error"))
    return "-".join(words).lower()


_CLASSES = {_slug(kind): kind for kind in _all(TapehouseError)}
