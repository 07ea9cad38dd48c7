"""The live endpoints: /v1/latest and /v1/rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import orjson
import pyarrow as pa
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from gateway.last_prices import LastPrice, VenueSymbol
from gateway.query import MAX_SYMBOLS
from gateway.rest import response_models
from gateway.rest.backend import Backend, BackendDependency
from gateway.rest.direct_route import DirectRoute
from gateway.rest.parameter_models import LatestParameters, RankingParameters
from gateway.rest.problems import BUSY, NOT_ACCEPTABLE, REFUSED, TIME_OUT, UNAVAILABLE, UNKNOWN_SERIES, USAGE
from gateway.rest.representation import FORMATS, Representation
from gateway.rest.response_models import Ranking, Table, responses
from tapehouse.bars.rankings import MEASURES
from tapehouse.clock import iso
from tapehouse.errors import UsageError
from tapehouse.model import TRADES

_TIME = pa.timestamp("ns", "UTC")
_LATEST = pa.schema(
    [
        ("venue", pa.string()),
        ("symbol", pa.string()),
        ("ts_event", _TIME),
        ("ts_recv", _TIME),
        ("seq", pa.int64()),
        ("price", pa.float64()),
        ("size", pa.float64()),
    ]
)
_RANKINGS = pa.schema(
    [("venue", pa.string()), ("symbol", pa.string()), *((name, pa.float64()) for name in MEASURES)]
)

router = APIRouter(prefix="/v1", tags=["live"])


@router.get(
    "/rankings",
    operation_id="rankings",
    summary="Live symbols ranked by a measure",
    description="Highest first: `change` of the price, realised `volatility`, or `turnover` of a rolling window.",
    response_class=Response,
    responses=responses(Table[Ranking], FORMATS, (USAGE, NOT_ACCEPTABLE)),
    openapi_extra={"parameters": RankingParameters.openapi()},
)
async def _rankings(
    request: Request,
    backend: BackendDependency,
    parameters: Annotated[RankingParameters, Depends(RankingParameters.from_request)],
) -> Response:
    representation = Representation.negotiate(request, parameters.format)
    rows = backend.prices.ranking(parameters.window, parameters.measure, parameters.limit)
    columns = zip(*rows, strict=True) if rows else [[]] * len(_RANKINGS)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _RANKINGS, strict=True)]
    return representation.table("rankings", pa.Table.from_arrays(arrays, schema=_RANKINGS))


def latest_router(backend: Backend) -> APIRouter:
    """The route of /v1/latest."""
    latest = APIRouter(prefix="/v1", tags=["live"], route_class=DirectRoute)
    latest.add_api_route(
        "/latest",
        _LatestEndpoint(backend).answer,
        methods=["GET"],
        operation_id="latest",
        summary="Last prices",
        description="By symbol: of live symbols from the bar makers, of others from the stores.",
        response_class=Response,
        responses=responses(
            Table[response_models.LastPrice],
            FORMATS,
            (USAGE, UNKNOWN_SERIES, NOT_ACCEPTABLE, REFUSED, UNAVAILABLE, BUSY, TIME_OUT),
        ),
        openapi_extra={"parameters": LatestParameters.openapi()},
    )
    return latest


class _LatestEndpoint:
    """Last prices; the JSON of each is encoded once, however often it is requested."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._encoded: dict[VenueSymbol, tuple[LastPrice, bytes]] = {}

    async def answer(self, request: Request) -> Response:
        parameters = await LatestParameters.from_request(request)
        representation = Representation.negotiate(request, parameters.format)
        symbols = sorted(set(parameters.symbol))
        if len(symbols) > MAX_SYMBOLS:
            raise UsageError(f"symbol: expected at most {MAX_SYMBOLS}, was {len(symbols)}")
        venue = parameters.venue or await self._venue_of(symbols)
        live = self._backend.prices.by_symbol(venue)
        symbols = symbols or sorted(self._backend.prices.live_symbols(venue))
        if representation.format_name == "json" and symbols and all(symbol in live for symbol in symbols):
            rows = b",".join([self._json(venue, symbol, live[symbol]) for symbol in symbols])
            return representation.response(b'{"rows":[' + rows + b"]}")
        table = _table(venue, [(symbol, live[symbol]) for symbol in symbols if symbol in live])
        missing = [symbol for symbol in symbols if symbol not in live]
        if missing or not symbols:
            stored = await self._backend.readers.run(lambda: self._backend.surface.latest(venue, missing))
            table = pa.concat_tables([table, stored.select(_LATEST.names).cast(_LATEST)]).sort_by("symbol")
        return representation.table("latest", table)

    async def _venue_of(self, symbols: Sequence[str]) -> str:
        return await self._backend.readers.run(lambda: self._backend.surface.venue_of(TRADES.name, symbols))

    def _json(self, venue: str, symbol: str, last: LastPrice) -> bytes:
        encoded = self._encoded.get((venue, symbol))
        if encoded is not None and encoded[0] is last:
            return encoded[1]
        seq, ts_event, ts_recv, price, size = last
        row = {
            "venue": venue,
            "symbol": symbol,
            "ts_event": iso(ts_event, 9),
            "ts_recv": iso(ts_recv, 9),
            "seq": seq,
            "price": price,
            "size": size,
        }
        self._encoded[venue, symbol] = last, (text := orjson.dumps(row))
        return text


def _table(venue: str, rows: Sequence[tuple[str, LastPrice]]) -> pa.Table:
    symbols, lasts = zip(*rows, strict=True) if rows else ((), ())
    seqs, events, recvs, prices, sizes = zip(*lasts, strict=True) if lasts else ([],) * 5
    columns = ([venue] * len(symbols), symbols, events, recvs, seqs, prices, sizes)
    arrays = [
        pa.array(values, pa.int64()).cast(field.type) if field.type == _TIME else pa.array(values, field.type)
        for values, field in zip(columns, _LATEST, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=_LATEST)
