"""The endpoints /v1/features, book, catalog and explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.rest.backend import BackendDependency
from gateway.rest.parameter_models import (
    BookParameters,
    CatalogParameters,
    ExplainParameters,
    FeatureParameters,
    to_query,
)
from gateway.rest.problems import (
    BUSY,
    NOT_ACCEPTABLE,
    REFUSED,
    TIME_OUT,
    UNAVAILABLE,
    UNKNOWN_SERIES,
    USAGE,
    encode_json,
)
from gateway.rest.query_string import QueryParameters
from gateway.rest.representation import FORMATS, Representation
from gateway.rest.response_models import Book, CatalogEntry, Explanation, Table, responses
from tapehouse.clock import now_ns
from tapehouse.model import DEPTH

_PROBLEMS = (USAGE, UNKNOWN_SERIES, NOT_ACCEPTABLE, REFUSED, UNAVAILABLE, BUSY, TIME_OUT)
_JSON = ("json",)

router = APIRouter(prefix="/v1", tags=["lookups"])


def _documented(
    name: str, parameters: type[QueryParameters], formats: Sequence[str], model: object, summary: str
) -> dict[str, Any]:
    return {
        "path": f"/{name}",
        "operation_id": name,
        "summary": summary,
        "response_class": Response,
        "responses": responses(model, formats, _PROBLEMS),
        "openapi_extra": {"parameters": parameters.openapi()},
    }


@router.get(
    **_documented("features", FeatureParameters, FORMATS, Table[dict[str, Any]], "The features of bars")
)
async def _features(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[FeatureParameters, Depends(FeatureParameters.from_request)],
) -> Response:
    representation = Representation.negotiate(request, parameters.format)
    query = to_query("bars", parameters, page=False)
    return await backend.readers.run(
        lambda: representation.table("features", backend.surface.features(backend.surface.resolve(query)))
    )


@router.get(**_documented("book", BookParameters, _JSON, Book, "An order book as of a time"))
async def _book(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[BookParameters, Depends(BookParameters.from_request)],
) -> Response:
    representation = Representation.negotiate(request, None, _JSON)
    at_ns = now_ns() if parameters.at is None else parameters.at

    def read() -> Response:
        venue = parameters.venue or backend.surface.venue_of(DEPTH.name, [parameters.symbol])
        book = backend.surface.book(venue, parameters.symbol, at_ns, parameters.depth)
        return representation.response(encode_json(book))

    return await backend.readers.run(read)


@router.get(
    **_documented(
        "catalog", CatalogParameters, FORMATS, Table[CatalogEntry], "What trades, quotes and depth are stored"
    )
)
async def _catalog(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[CatalogParameters, Depends(CatalogParameters.from_request)],
) -> Response:
    representation = Representation.negotiate(request, parameters.format)

    def read() -> Response:
        entries = backend.surface.catalog()
        if parameters.venue is not None:
            entries = entries.filter(pl.col("venue") == parameters.venue)
            if entries.is_empty():
                backend.surface.check_venue(parameters.venue)
        if parameters.kind is not None:
            entries = entries.filter(pl.col("kind") == parameters.kind)
        return representation.table("catalog", entries)

    return await backend.readers.run(read)


@router.get(
    **_documented(
        "explain", ExplainParameters, _JSON, Explanation, "The plan of a query, which is not executed"
    )
)
async def _explain(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[ExplainParameters, Depends(ExplainParameters.from_request)],
) -> Response:
    representation = Representation.negotiate(request, None, _JSON)
    query = to_query(parameters.kind, parameters, page=False)
    return await backend.readers.run(
        lambda: representation.response(encode_json(backend.surface.explain(query)))
    )
