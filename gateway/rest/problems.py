"""What went wrong, as application/problem+json (RFC 9457) with the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from starlette.responses import Response

from tapehouse.errors import ConnectError, TapehouseError, UsageError

MEDIA = "application/problem+json"
_RETRY_S = 2


@dataclass(frozen=True)
class Sort:
    """A sort of problem: the last part of its type, its status and what it is in general."""

    name: str
    status: int
    title: str


USAGE = Sort("usage", 400, "What is asked for cannot be")
NOT_FOUND = Sort("not-found", 404, "There is nothing at this path")
METHOD = Sort("method", 405, "This path is only read")
NOT_ACCEPTABLE = Sort("not-acceptable", 406, "The answer has none of the formats that are accepted")
REFUSED = Sort("refused", 502, "A store refused what it was asked")
AWAY = Sort("away", 503, "A store does not answer")
BUSY = Sort("busy", 503, "Too much is asked at once")
NOT_READY = Sort("not-ready", 503, "The gateway cannot answer yet")
TIME_OUT = Sort("time-out", 504, "The stores take too long")
INTERNAL = Sort("internal", 500, "The gateway has a defect")


class ProblemError(TapehouseError):
    """An error that is of one sort of problem whatever else it is."""

    def __init__(self, sort: Sort, message: str, *, remedy: str = "", **fields: Any) -> None:
        super().__init__(message, remedy=remedy, **fields)
        self.sort = sort


@dataclass(frozen=True)
class Problem:
    """One problem, ready to be told."""

    sort: Sort
    detail: str
    remedy: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        return {
            "type": f"/problems/{self.sort.name}",
            "title": self.sort.title,
            "status": self.sort.status,
            "detail": self.detail,
            "remedy": self.remedy,
            "fields": {name: str(value) for name, value in self.fields.items()},
        }

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The answer; one that says when to come again where that may help."""
        told = {"cache-control": "no-store", **(headers or {})}
        if self.sort.status == 503:
            told["retry-after"] = str(_RETRY_S)
        return Response(encoded(self.document), self.sort.status, told, MEDIA)


def problem_of(error: TapehouseError) -> Problem:
    """The problem that an error is."""
    if isinstance(error, ProblemError):
        sort = error.sort
    elif isinstance(error, UsageError):
        sort = USAGE
    else:
        sort = AWAY if isinstance(error, ConnectError) else REFUSED
    return Problem(sort, error.message, error.remedy, error.fields)


def defect(error: Exception) -> Problem:
    """The problem that an error is which nobody thought of; it is logged."""
    structlog.get_logger().error("defect", exc_info=error)
    return Problem(INTERNAL, f"{type(error).__name__}", "Look at the gateway's log.")


def encoded(document: Any) -> bytes:
    """A document as JSON. Text that is no Unicode, as an error may quote it, is replaced."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return orjson.dumps(_clean(document))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_clean(str(name)): _clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value if isinstance(value, int | float | None) and abs(value or 0) < 2**63 else str(value)
