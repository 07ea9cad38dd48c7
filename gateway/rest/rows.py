"""The endpoints of rows and bars: /v1/trades, quotes, depth, bars, gaps, account_trades."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.query import Query
from gateway.rest.backend import Backend, BackendDependency
from gateway.rest.parameter_models import (
    AccountTradeParameters,
    BarParameters,
    DepthParameters,
    GapParameters,
    QuoteParameters,
    RowParameters,
    TradeParameters,
    to_query,
)
from gateway.rest.pieces import Pieces
from gateway.rest.problems import BUSY, NOT_ACCEPTABLE, REFUSED, TIME_OUT, UNAVAILABLE, UNKNOWN_SERIES, USAGE
from gateway.rest.representation import FORMATS, Representation
from gateway.rest.response_models import page_of, responses
from gateway.rest.streaming import AnswerResponse

_PROBLEMS = (USAGE, UNKNOWN_SERIES, NOT_ACCEPTABLE, REFUSED, UNAVAILABLE, BUSY, TIME_OUT)
_ETAG_VERSION = "2"
"""Change it whenever the bytes of a format change, so that cached responses are no longer valid."""

router = APIRouter(prefix="/v1", tags=["rows"])


def _documented(kind: str, parameters: type[RowParameters], summary: str) -> dict[str, Any]:
    return {
        "path": f"/{kind}",
        "operation_id": kind,
        "summary": summary,
        "description": "In the order of the key, half-open [start, end). JSON is one page; the other formats are the "
        "whole answer, streamed, unless `limit` says how much of it.",
        "response_class": Response,
        "responses": responses(page_of(kind), FORMATS, _PROBLEMS, streamed=True),
        "openapi_extra": {"parameters": parameters.openapi()},
    }


@router.get(**_documented("trades", TradeParameters, "Trades"))
async def _trades(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[TradeParameters, Depends(TradeParameters.from_request)],
) -> Response:
    return await _answer(request, backend, "trades", parameters, parameters.format)


@router.get(**_documented("quotes", QuoteParameters, "Best bids and asks"))
async def _quotes(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[QuoteParameters, Depends(QuoteParameters.from_request)],
) -> Response:
    return await _answer(request, backend, "quotes", parameters, parameters.format)


@router.get(**_documented("depth", DepthParameters, "Updates and snapshots of order books"))
async def _depth(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[DepthParameters, Depends(DepthParameters.from_request)],
) -> Response:
    return await _answer(request, backend, "depth", parameters, parameters.format)


@router.get(**_documented("bars", BarParameters, "Bars of an interval"))
async def _bars(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[BarParameters, Depends(BarParameters.from_request)],
) -> Response:
    return await _answer(request, backend, "bars", parameters, parameters.format)


@router.get(**_documented("gaps", GapParameters, "What a source sent and the platform did not receive"))
async def _gaps(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[GapParameters, Depends(GapParameters.from_request)],
) -> Response:
    return await _answer(request, backend, "gaps", parameters, parameters.format)


@router.get(**_documented("account_trades", AccountTradeParameters, "Trades of accounts"))
async def _account_trades(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[AccountTradeParameters, Depends(AccountTradeParameters.from_request)],
) -> Response:
    return await _answer(request, backend, "account_trades", parameters, parameters.format)


async def _answer(
    request: Request, backend: Backend, kind: str, parameters: RowParameters, format_name: str | None
) -> Response:
    """The streamed answer, or 304 if the client has it already."""
    began = time.perf_counter()
    representation = Representation.negotiate(request, format_name)
    query = to_query(kind, parameters, page=representation.format_name == "json")
    if not query.is_resolved:
        query = await backend.readers.run(partial(backend.surface.resolve, query))
    rows = backend.surface.answer(query)
    headers = representation.headers()
    if rows.version is not None:
        headers["etag"] = _etag(query, representation, rows.version)
        if _matches(headers["etag"], request.headers.get("if-none-match", "")):
            headers.pop("content-type")
            return Response(status_code=304, headers=headers)
    if representation.encoding:
        headers["content-encoding"] = representation.encoding
    pieces = Pieces(backend.readers, rows, kind, representation.format_name, representation.encoding)
    return AnswerResponse(backend.readers, pieces, headers, time.perf_counter() - began)


def _etag(query: Query, representation: Representation, version: str) -> str:
    text = f"{_ETAG_VERSION} {query!r} {representation.format_name} {representation.encoding} {version}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _matches(etag: str, if_none_match: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]
