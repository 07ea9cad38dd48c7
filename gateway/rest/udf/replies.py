"""How the UDF endpoints answer: JSON with status 200, also for errors, which the client reads from the document.

TradingView's client does not look at the status; from an answer without `s` and `errmsg` it would tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

from gateway.rest.direct_route import DirectRoute
from gateway.rest.negotiation import negotiate_encoding
from gateway.rest.problems import encode_json
from gateway.rest.query_string import describe
from gateway.rest.representation import Representation
from tapehouse.errors import TapehouseError, UnknownSeriesError

Document = dict[str, Any] | list[dict[str, Any]]


class UdfRoute(DirectRoute):
    """A route whose errors are documents of UDF."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint, with its errors caught."""
        endpoint = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await endpoint(request)
            except RequestValidationError as reason:
                return _error("; ".join(describe(one) for one in reason.errors()))
            except UnknownSeriesError as reason:
                return _error(f"unknown_symbol {reason.message}")
            except TapehouseError as reason:
                return _error(reason.message)

        return answer


def reply(request: Request, document: Document) -> Response:
    """The document as JSON, compressed if the client takes that."""
    encoding = negotiate_encoding(request.headers.get("accept-encoding", ""), "json")
    return Representation("json", encoding).response(encode_json(document))


def _error(message: str) -> Response:
    body = encode_json({"s": "error", "errmsg": message})
    return Response(body, 200, {"cache-control": "no-store"}, "application/json")
