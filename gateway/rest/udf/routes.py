"""The endpoints under /udf."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.rest.backend import Backend
from gateway.rest.query_string import QueryParameters
from gateway.rest.response_models import responses
from gateway.rest.udf import symbols
from gateway.rest.udf.gap_marks import bar_starts, gaps_by_bar, marks_of_gaps, timescale_marks_of_gaps
from gateway.rest.udf.history import history
from gateway.rest.udf.names import SeriesNames
from gateway.rest.udf.parameters import (
    GroupParameters,
    HistoryParameters,
    MarkParameters,
    QuoteParameters,
    SearchParameters,
    SymbolParameters,
)
from gateway.rest.udf.precision import Precision
from gateway.rest.udf.quotes import quotes
from gateway.rest.udf.replies import Document, UdfRoute, reply
from gateway.rest.udf.resolutions import interval_of
from gateway.rest.udf.response_models import (
    UdfBars,
    UdfConfig,
    UdfError,
    UdfFound,
    UdfMark,
    UdfNoData,
    UdfQuotes,
    UdfSymbol,
    UdfTimescaleMark,
)
from gateway.rest.udf.revision_marks import marks_of_revisions, revisions
from tapehouse.clock import SECOND, now_ns

_JSON = ("json",)
_TIME_MEDIA = "text/plain"


def udf_router(backend: Backend) -> APIRouter:
    """The routes that TradingView's library asks."""
    router = APIRouter(prefix="/udf", tags=["udf"], route_class=UdfRoute)
    udf = _Udf(backend)

    def add(
        name: str,
        answer: Callable[[Request], Any],
        model: Any,
        summary: str,
        parameters: type[QueryParameters] | None = None,
    ) -> None:
        router.add_api_route(
            f"/{name}",
            answer,
            methods=["GET"],
            operation_id=f"udf_{name}",
            summary=summary,
            response_class=Response,
            responses=responses(model | UdfError, _JSON, ()),
            openapi_extra={"parameters": parameters.openapi() if parameters else []},
        )

    add("history", udf.history, UdfBars | UdfNoData, "Bars for TradingView", HistoryParameters)
    add("quotes", udf.quotes, UdfQuotes, "Last prices and figures of the day", QuoteParameters)
    add("config", udf.config, UdfConfig, "What the server can do")
    add("symbols", udf.symbols, UdfSymbol, "What the library must know of a symbol", SymbolParameters)
    add("symbol_info", udf.symbol_info, dict[str, Any], "The symbols of a venue, as columns", GroupParameters)
    add("search", udf.search, list[UdfFound], "Symbols by a part of their names", SearchParameters)
    add(
        "marks",
        udf.marks,
        list[UdfMark],
        "Bars that lack trades, or changed after they were final",
        MarkParameters,
    )
    add(
        "timescale_marks",
        udf.timescale_marks,
        list[UdfTimescaleMark],
        "Gaps on the time axis",
        MarkParameters,
    )
    router.add_api_route(
        "/time",
        _time,
        methods=["GET"],
        operation_id="udf_time",
        summary="The server's clock",
        response_class=Response,
        responses={
            200: {
                "description": "Seconds since 1970.",
                "content": {_TIME_MEDIA: {"schema": {"type": "string", "pattern": "^[0-9]+$"}}},
            }
        },
    )
    return router


async def _time(_: Request) -> Response:
    return Response(str(now_ns() // SECOND), headers={"cache-control": "no-store"}, media_type=_TIME_MEDIA)


class _Udf:
    """The endpoints that read the stores: each does in a reader's thread, and its JSON is made there too."""

    def __init__(self, backend: Backend) -> None:
        self._surface, self._prices, self._readers = backend.surface, backend.prices, backend.readers
        self._names = SeriesNames(backend.surface)
        self._precision = Precision(backend.surface)

    async def config(self, request: Request) -> Response:
        return await self._reply(request, lambda: symbols.config(self._names.venues()))

    async def symbols(self, request: Request) -> Response:
        asked = await SymbolParameters.from_request(request)
        return await self._reply(
            request, lambda: symbols.symbol(self._names.find(asked.symbol), self._precision)
        )

    async def symbol_info(self, request: Request) -> Response:
        asked = await GroupParameters.from_request(request)
        return await self._reply(
            request, partial(symbols.symbol_info, asked.group, self._names, self._precision)
        )

    async def search(self, request: Request) -> Response:
        asked = await SearchParameters.from_request(request)
        if asked.type not in ("", symbols.TYPE):
            return await self._reply(request, list)
        return await self._reply(
            request, lambda: symbols.found(self._names.search(asked.query, asked.exchange, asked.limit))
        )

    async def history(self, request: Request) -> Response:
        asked = await HistoryParameters.from_request(request)
        interval = interval_of(asked.resolution)
        return await self._reply(
            request,
            lambda: history(
                self._surface,
                self._names.find(asked.symbol),
                interval,
                asked.start,
                asked.end,
                asked.countback,
            ),
        )

    async def marks(self, request: Request) -> Response:
        asked = await MarkParameters.from_request(request)
        interval = interval_of(asked.resolution)
        series = await self._readers.run(partial(self._names.find, asked.symbol))
        revised = await revisions(self._prices, series, interval)

        def read() -> Document:
            starts = bar_starts(self._surface, series, interval, asked.start, asked.end)
            gaps = gaps_by_bar(self._surface, series, interval, starts)
            return marks_of_gaps(gaps) + marks_of_revisions(revised, set(starts))

        return await self._reply(request, read)

    async def timescale_marks(self, request: Request) -> Response:
        asked = await MarkParameters.from_request(request)
        interval = interval_of(asked.resolution)

        def read() -> Document:
            series = self._names.find(asked.symbol)
            starts = bar_starts(self._surface, series, interval, asked.start, asked.end)
            return timescale_marks_of_gaps(gaps_by_bar(self._surface, series, interval, starts))

        return await self._reply(request, read)

    async def quotes(self, request: Request) -> Response:
        asked = await QuoteParameters.from_request(request)
        named = [name for name in dict.fromkeys(asked.symbols.split(",")) if name]
        return await self._reply(request, partial(quotes, self._surface, self._names, named))

    async def _reply(self, request: Request, read: Callable[[], Document]) -> Response:
        return await self._readers.run(lambda: reply(request, read()))
