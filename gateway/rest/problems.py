"""Errors as application/problem+json (RFC 9457) with their remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from starlette.responses import Response

from tapehouse.errors import ConnectError, TapehouseError, UnknownSeriesError, UsageError

MEDIA = "application/problem+json"
_RETRY_S = 2


@dataclass(frozen=True)
class ProblemType:
    """A type of problem: the last part of its URI, its status and title."""

    name: str
    status: int
    title: str


USAGE = ProblemType("usage", 400, "The request is not valid")
UNKNOWN_SERIES = ProblemType("unknown-series", 400, "A venue or symbol is not stored")
FOREIGN_PAGE = ProblemType("foreign-page", 403, "A page of another site sent the request")
NOT_FOUND = ProblemType("not-found", 404, "There is nothing at this path")
METHOD_NOT_ALLOWED = ProblemType("method", 405, "This path has only GET")
NOT_ACCEPTABLE = ProblemType("not-acceptable", 406, "None of the accepted formats is available")
SLOW_REQUEST = ProblemType("slow-request", 408, "The request did not arrive in time")
UNKNOWN_HOST = ProblemType("unknown-host", 421, "The gateway has no such name")
TOO_LARGE = ProblemType("too-large", 431, "The request is too large")
REFUSED = ProblemType("refused", 502, "A store rejected the query")
UNAVAILABLE = ProblemType("away", 503, "A store does not answer")
BUSY = ProblemType("busy", 503, "Too many requests at once")
NOT_READY = ProblemType("not-ready", 503, "The gateway is not ready")
TIME_OUT = ProblemType("time-out", 504, "The stores did not answer in time")
INTERNAL = ProblemType("internal", 500, "Internal error of the gateway")


class ProblemError(TapehouseError):
    """An error with an explicit problem type."""

    def __init__(self, problem_type: ProblemType, message: str, *, remedy: str = "", **fields: Any) -> None:
        super().__init__(message, remedy=remedy, **fields)
        self.type = problem_type


@dataclass(frozen=True)
class Problem:
    """One problem document."""

    type: ProblemType
    detail: str
    remedy: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "type": f"/problems/{self.type.name}",
            "title": self.type.title,
            "status": self.type.status,
            "detail": self.detail,
            "remedy": self.remedy,
            "fields": {name: str(value) for name, value in self.fields.items()},
        }

    def response(self, headers: Mapping[str, str] | None = None) -> Response:
        """The response; with status 503 it has Retry-After."""
        all_headers = {"cache-control": "no-store", **(headers or {})}
        if self.type.status == 503:
            all_headers["retry-after"] = str(_RETRY_S)
        return Response(encode_json(self.document), self.type.status, all_headers, MEDIA)


def to_problem(error: TapehouseError) -> Problem:
    """The problem document of an error."""
    if isinstance(error, ProblemError):
        problem_type = error.type
    elif isinstance(error, UsageError):
        problem_type = UNKNOWN_SERIES if isinstance(error, UnknownSeriesError) else USAGE
    else:
        problem_type = UNAVAILABLE if isinstance(error, ConnectError) else REFUSED
    return Problem(problem_type, error.message, error.remedy, error.fields)


def internal_problem(error: Exception) -> Problem:
    """The problem document of an unexpected error, which is logged."""
    structlog.get_logger().error("internal error", exc_info=error)
    return Problem(INTERNAL, f"{type(error).__name__}", "See the gateway's log.")


def encode_json(document: Any) -> bytes:
    """A document as JSON. Lone surrogates, which an error may quote, are replaced."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return orjson.dumps(_sanitize(document))


def _sanitize(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_sanitize(str(name)): _sanitize(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_sanitize(one) for one in value]
    return value if isinstance(value, int | float | None) and abs(value or 0) < 2**63 else str(value)
