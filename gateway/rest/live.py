"""The endpoints of what is live: /v1/latest and /v1/rankings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import orjson
import pyarrow as pa
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.lastprices import Key, Last
from gateway.query import MAX_SYMBOLS
from gateway.rest import documentation
from gateway.rest.backend import Backend
from gateway.rest.parameters import LATEST, RANKED, RANKED_MOST, RANKINGS, Asked
from gateway.rest.problems import AWAY, BUSY, NOT_ACCEPTABLE, REFUSED, TIME_OUT, USAGE
from gateway.rest.routes import routes
from gateway.rest.tables import FORMATS, Wanted
from tapehouse.clock import SECOND
from tapehouse.errors import UsageError
from tapehouse.rankings import MEASURES, WINDOWS

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
_NUMBER = {"type": ["number", "null"]}


def router(backend: Backend) -> APIRouter:
    """The endpoints."""
    made = routes("/v1", "live")
    latest = _Latest(backend)
    made.add_api_route(
        "/latest",
        latest.answer,
        methods=["GET"],
        operation_id="latest",
        summary="Last prices",
        description="Of the symbols that are live from what the bar makers tell, of others from the stores. By symbol.",
        response_class=Response,
        responses=documentation.answers(
            documentation.table(
                {name: documentation.row("trades")["properties"][name] for name in _LATEST.names}
            ),
            FORMATS,
            (USAGE, NOT_ACCEPTABLE, REFUSED, AWAY, BUSY, TIME_OUT),
        ),
        openapi_extra={"parameters": documentation.parameters(LATEST)},
    )

    async def rankings(request: Request) -> Response:
        asked = Asked.read(request.scope["query_string"], RANKINGS)
        wanted = Wanted.by(request, asked)
        window = asked.named("window", WINDOWS, "24h")
        measure = asked.named("measure", MEASURES, "change")
        rows = backend.prices.ranking(window, measure, asked.whole("limit", 1, RANKED_MOST) or RANKED)
        columns = zip(*rows, strict=True) if rows else [[]] * len(_RANKINGS)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _RANKINGS, strict=True)]
        return wanted.table("rankings", pa.Table.from_arrays(arrays, schema=_RANKINGS))

    made.add_api_route(
        "/rankings",
        rankings,
        methods=["GET"],
        operation_id="rankings",
        summary="How live symbols compare",
        description="Highest first: `change` of the price, realised `volatility`, or `turnover` of a rolling window.",
        response_class=Response,
        responses=documentation.answers(
            documentation.table(
                {
                    "venue": {"type": "string"},
                    "symbol": {"type": "string"},
                    **dict.fromkeys(MEASURES, _NUMBER),
                }
            ),
            FORMATS,
            (USAGE, NOT_ACCEPTABLE),
        ),
        openapi_extra={"parameters": documentation.parameters(RANKINGS)},
    )
    return made


class _Latest:
    """Last prices, each made into JSON once however often it is asked for."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._made: dict[Key, tuple[Last, bytes]] = {}

    async def answer(self, request: Request) -> Response:
        asked = Asked.read(request.scope["query_string"], LATEST)
        wanted = Wanted.by(request, asked)
        venue = asked.one("venue") or ""
        symbols = sorted(set(asked.values.get("symbol", ())))
        if len(symbols) > MAX_SYMBOLS:
            raise UsageError(f"symbol: expected at most {MAX_SYMBOLS}, was {len(symbols)}")
        held = self._backend.prices.of(venue)
        symbols = symbols or sorted(self._backend.prices.live(venue))
        if wanted.format_name == "json" and all(symbol in held for symbol in symbols):
            rows = b",".join([self._json(venue, symbol, held[symbol]) for symbol in symbols])
            return wanted.response(b'{"rows":[' + rows + b"]}")
        told = [(symbol, held[symbol]) for symbol in symbols if symbol in held]
        missing = [symbol for symbol in symbols if symbol not in held]
        table = _table(venue, told)
        if missing:
            found = await self._backend.readers.done(lambda: self._backend.surface.latest(venue, missing))
            table = pa.concat_tables([table, found.select(_LATEST.names).cast(_LATEST)]).sort_by("symbol")
        return wanted.table("latest", table)

    def _json(self, venue: str, symbol: str, last: Last) -> bytes:
        made = self._made.get((venue, symbol))
        if made is not None and made[0] is last:
            return made[1]
        seq, ts_event, ts_recv, price, size = last
        row = {
            "venue": venue,
            "symbol": symbol,
            "ts_event": _iso(ts_event),
            "ts_recv": _iso(ts_recv),
            "seq": seq,
            "price": price,
            "size": size,
        }
        self._made[venue, symbol] = last, (text := orjson.dumps(row))
        return text


def _table(venue: str, rows: Sequence[tuple[str, Last]]) -> pa.Table:
    names, lasts = zip(*rows, strict=True) if rows else ((), ())
    seqs, events, recvs, prices, sizes = zip(*lasts, strict=True) if lasts else ([],) * 5
    columns = ([venue] * len(names), names, events, recvs, seqs, prices, sizes)
    arrays = [
        pa.array(values, pa.int64()).cast(field.type) if field.type == _TIME else pa.array(values, field.type)
        for values, field in zip(columns, _LATEST, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=_LATEST)


def _iso(ts: int) -> str:
    """ns as ISO 8601 with 9 digits."""
    seconds, fraction = divmod(ts, SECOND)
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
