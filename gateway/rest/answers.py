"""The endpoints of rows and bars: /v1/trades, quotes, depth, bars, gaps, account_trades."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.query import SERVED, Query
from gateway.rest import documentation
from gateway.rest.backend import Backend
from gateway.rest.negotiation import MEDIA, content_type, encoding_of, format_of
from gateway.rest.parameters import Asked, of_kind, query_of
from gateway.rest.pieces import Pieces
from gateway.rest.problems import AWAY, BUSY, NOT_ACCEPTABLE, REFUSED, TIME_OUT, USAGE
from gateway.rest.routes import routes
from gateway.rest.streaming import AnswerResponse

_FORMATS = tuple(MEDIA)
_SORTS = (USAGE, NOT_ACCEPTABLE, REFUSED, AWAY, BUSY, TIME_OUT)
_TITLES = {
    "trades": "Trades",
    "quotes": "Best bids and asks",
    "depth": "Updates and snapshots of order books",
    "bars": "Bars of an interval",
    "gaps": "What a source had and is not here",
    "account_trades": "Trades of accounts",
}
_RELEASE = "1"
"""Of the formats: another one makes what clients have kept void."""


def router(backend: Backend) -> APIRouter:
    """The endpoints, one a kind."""
    made = routes("/v1", "rows")
    for kind in SERVED:
        made.add_api_route(
            f"/{kind}",
            _endpoint(backend, kind),
            methods=["GET"],
            operation_id=kind,
            summary=_TITLES[kind],
            description="In the order of the key, half-open [start, end). JSON is one page; the other formats are the "
            "whole answer, streamed, unless `limit` says how much of it.",
            response_class=Response,
            responses=documentation.answers(documentation.page(kind), _FORMATS, _SORTS, streamed=True),
            openapi_extra={"parameters": documentation.parameters(of_kind(kind))},
        )
    return made


def _endpoint(backend: Backend, kind: str) -> Callable[[Request], Awaitable[Response]]:
    known = of_kind(kind)

    async def answer(request: Request) -> Response:
        began = time.perf_counter()
        asked = Asked.read(request.scope["query_string"], known)
        format_name = format_of(asked.one("format"), request.headers.get("accept", ""), _FORMATS)
        encoding = encoding_of(request.headers.get("accept-encoding", ""), format_name)
        query = query_of(kind, asked, page=format_name == "json")
        rows = backend.surface.answer(query)
        headers = {"vary": "Accept, Accept-Encoding", "cache-control": "private, no-cache"}
        if rows.version is not None:
            headers["etag"] = _tag(query, format_name, encoding, rows.version)
            if _is_known(headers["etag"], request.headers.get("if-none-match", "")):
                return Response(status_code=304, headers=headers)
        headers["content-type"] = content_type(format_name)
        if encoding:
            headers["content-encoding"] = encoding
        pieces = Pieces(backend.readers, rows, kind, format_name, encoding)
        return AnswerResponse(backend.readers, pieces, headers, time.perf_counter() - began)

    return answer


def _tag(query: Query, format_name: str, encoding: str, version: str) -> str:
    text = f"{_RELEASE} {query!r} {format_name} {encoding} {version}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _is_known(tag: str, if_none_match: str) -> bool:
    given = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return tag in given or given == ["*"]
