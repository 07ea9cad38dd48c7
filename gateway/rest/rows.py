"""The endpoints of rows, bars and candles: /v1/trades, quotes, depth, bars, gaps, and those of accounts."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.query import Query
from gateway.rest.backend import Backend
from gateway.rest.direct_route import DirectRoute
from gateway.rest.formats import Json
from gateway.rest.parameter_models import (
    AccountCandleParameters,
    AccountTradeParameters,
    BarParameters,
    CandlesOfAccountParameters,
    DepthParameters,
    GapParameters,
    QuoteParameters,
    RowFormatParameters,
    TradeParameters,
    TradesOfAccountParameters,
    to_query,
)
from gateway.rest.pieces import Pieces
from gateway.rest.problems import BUSY, NOT_ACCEPTABLE, REFUSED, TIME_OUT, UNAVAILABLE, UNKNOWN_SERIES, USAGE
from gateway.rest.representation import FORMATS, Representation
from gateway.rest.response_models import page_of, responses
from gateway.rest.streaming import AnswerResponse, segments_headers

_PROBLEMS = (USAGE, UNKNOWN_SERIES, NOT_ACCEPTABLE, REFUSED, UNAVAILABLE, BUSY, TIME_OUT)
_ETAG_VERSION = "3"
"""Change it whenever the bytes of a format change, so that cached responses are no longer valid."""
_ENDPOINTS: tuple[tuple[str, type[RowFormatParameters], str], ...] = (
    ("bars", BarParameters, "Bars of an interval"),
    ("trades", TradeParameters, "Trades"),
    ("quotes", QuoteParameters, "Best bids and asks"),
    ("depth", DepthParameters, "Updates and snapshots of order books"),
    ("gaps", GapParameters, "What a source sent and the platform did not receive"),
    ("account_trades", AccountTradeParameters, "Trades of accounts"),
    ("account_candles", AccountCandleParameters, "Candles of accounts"),
)
_ENDPOINTS_OF_ACCOUNT: tuple[tuple[str, str, type[RowFormatParameters], str], ...] = (
    ("trades", "account_trades", TradesOfAccountParameters, "Trades of one account"),
    ("candles", "account_candles", CandlesOfAccountParameters, "Candles of one account"),
)
_ACCOUNT_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The account's id.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
}


def rows_router(backend: Backend) -> APIRouter:
    """The routes of all kinds of rows."""
    router = APIRouter(prefix="/v1", tags=["rows"], route_class=DirectRoute)
    for kind, parameters, summary in _ENDPOINTS:
        endpoint = _RowsEndpoint(backend, kind, parameters)
        _add_route(router, f"/{kind}", kind, endpoint, summary, parameters.openapi())
    for name, kind, parameters, summary in _ENDPOINTS_OF_ACCOUNT:
        endpoint, documented = _RowsEndpoint(backend, kind, parameters), [_ACCOUNT_ID, *parameters.openapi()]
        _add_route(router, f"/accounts/{{id}}/{name}", f"{name}_of_account", endpoint, summary, documented)
    return router


def _add_route(
    router: APIRouter,
    path: str,
    operation_id: str,
    endpoint: _RowsEndpoint,
    summary: str,
    documented: list[dict[str, Any]],
) -> None:
    router.add_api_route(
        path,
        endpoint.answer,
        methods=["GET"],
        operation_id=operation_id,
        summary=summary,
        description="In the order of the key, half-open [start, end). JSON is one page; the other formats are the "
        "whole answer, streamed, unless `limit` says how much of it.",
        response_class=Response,
        responses=responses(page_of(endpoint.kind), FORMATS, _PROBLEMS, streamed=True),
        openapi_extra={"parameters": documented},
    )


class _RowsEndpoint:
    """The endpoint of one kind."""

    def __init__(self, backend: Backend, kind: str, parameters: type[RowFormatParameters]) -> None:
        self._backend = backend
        self.kind = kind
        self._parameters = parameters

    async def answer(self, request: Request) -> Response:
        """The answer, streamed unless it is in memory, or 304 if the client has it already."""
        began = time.perf_counter()
        parameters = await self._parameters.from_request(request)
        surface, readers = self._backend.surface, self._backend.readers
        representation = Representation.negotiate(request, parameters.format)
        query = to_query(
            self.kind,
            parameters,
            page=representation.format_name == "json",
            account=request.path_params.get("id"),
        )
        if not query.is_resolved:
            query = await readers.run(partial(surface.resolve, query))
        rows = surface.answer(query)
        headers = representation.headers()
        if rows.version is not None:
            headers["etag"] = _etag(query, representation, rows.version)
            if _matches(headers["etag"], request.headers.get("if-none-match", "")):
                headers.pop("content-type")
                return Response(status_code=304, headers=headers)
        cached = rows.cached_json() if representation.format_name == "json" else None
        if cached is not None:
            encoded = cached.rows() if cached.is_encoded else await readers.run(cached.rows)
            segments = rows.segments
            headers |= segments_headers(segments, complete=True)
            headers["server-timing"] = f"plan;dur={(time.perf_counter() - began) * 1e3:.3f}"
            return await self._page(Json.page(encoded, None, segments), representation, headers)
        if representation.encoding:
            headers["content-encoding"] = representation.encoding
        pieces = Pieces(readers, rows, self.kind, representation.format_name, representation.encoding)
        return AnswerResponse(readers, pieces, headers, time.perf_counter() - began)

    async def _page(self, body: bytes, representation: Representation, headers: dict[str, str]) -> Response:
        """A page from memory; to compress it takes longer than to find it, so a thread does."""
        if not representation.encoding:
            return Response(body, headers=headers)
        return await self._backend.readers.run(lambda: representation.response(body, headers))


def _etag(query: Query, representation: Representation, version: str) -> str:
    text = f"{_ETAG_VERSION} {query!r} {representation.format_name} {representation.encoding} {version}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _matches(etag: str, if_none_match: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
