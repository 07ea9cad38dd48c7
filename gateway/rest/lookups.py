"""The endpoints that are neither rows nor live: /v1/features, book, catalog, explain."""

from __future__ import annotations

import polars as pl
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.query import SERVED
from gateway.rest import documentation
from gateway.rest.backend import Backend
from gateway.rest.parameters import BOOK, CATALOG, DEPTH, DEPTH_MOST, EXPLAINED, FEATURES, Asked, query_of
from gateway.rest.problems import AWAY, BUSY, NOT_ACCEPTABLE, REFUSED, TIME_OUT, USAGE, encoded
from gateway.rest.routes import routes
from gateway.rest.tables import FORMATS, Wanted
from tapehouse.clock import now_ns, parse_ns

_SORTS = (USAGE, NOT_ACCEPTABLE, REFUSED, AWAY, BUSY, TIME_OUT)
_JSON = ("json",)
_LEVELS = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
}
_BOOK = {
    "type": "object",
    "properties": {"bids": _LEVELS, "asks": _LEVELS},
    "required": ["venue", "symbol", "at", "seq", "ts_event", "bids", "asks"],
}
_EXPLAINED = {
    "type": "object",
    "properties": {"query": {"type": "object"}, "segments": documentation.SEGMENTS},
    "required": ["query", "segments"],
}
_CATALOG = {
    "kind": {"type": "string"},
    "venue": {"type": "string"},
    "symbol": {"type": "string"},
    "first": documentation.TIME,
    "last": documentation.TIME,
    "rows": {"type": "integer"},
}


def router(backend: Backend) -> APIRouter:
    """The endpoints."""
    made = routes("/v1", "lookups")
    surface, readers = backend.surface, backend.readers

    async def features(request: Request) -> Response:
        asked = Asked.read(request.scope["query_string"], FEATURES)
        wanted = Wanted.by(request, asked)
        query = query_of("bars", asked, page=False)
        return await readers.done(lambda: wanted.table("features", surface.features(query)))

    async def book(request: Request) -> Response:
        asked = Asked.read(request.scope["query_string"], BOOK)
        wanted = Wanted.by(request, asked, _JSON)
        at = asked.time("at")
        at_ns = now_ns() if at is None else parse_ns(at)
        depth = asked.whole("depth", 1, DEPTH_MOST) or DEPTH
        venue, symbol = asked.one("venue") or "", asked.one("symbol") or ""
        return await readers.done(lambda: wanted.response(encoded(surface.book(venue, symbol, at_ns, depth))))

    async def catalog(request: Request) -> Response:
        asked = Asked.read(request.scope["query_string"], CATALOG)
        wanted = Wanted.by(request, asked)
        only = {"venue": asked.one("venue"), "kind": asked.one("kind") and asked.named("kind", SERVED, "")}

        def listed() -> Response:
            found = surface.catalog()
            for name, value in only.items():
                if value is not None:
                    found = found.filter(pl.col(name) == value)
            return wanted.table("catalog", found)

        return await readers.done(listed)

    async def explain(request: Request) -> Response:
        asked = Asked.read(request.scope["query_string"], EXPLAINED)
        wanted = Wanted.by(request, asked, _JSON)
        query = query_of(asked.named("kind", SERVED, ""), asked, page=False)
        return await readers.done(lambda: wanted.response(encoded(surface.explain(query))))

    for endpoint, known, formats, schema, summary in (
        (features, FEATURES, FORMATS, documentation.table(), "The features of bars"),
        (book, BOOK, _JSON, _BOOK, "An order book as of a time"),
        (catalog, CATALOG, FORMATS, documentation.table(_CATALOG), "What there is"),
        (explain, EXPLAINED, _JSON, _EXPLAINED, "Which store is asked what, without asking it"),
    ):
        made.add_api_route(
            f"/{endpoint.__name__}",
            endpoint,
            methods=["GET"],
            operation_id=endpoint.__name__,
            summary=summary,
            response_class=Response,
            responses=documentation.answers(schema, formats, _SORTS),
            openapi_extra={"parameters": documentation.parameters(known)},
        )
    return made
