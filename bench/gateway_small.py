"""390 one-minute bars through the gateway, beside what they need at least.

First touch (`ratio`): bars of a day and symbol that were never read before. Again (`ratio_again`): spans over two days
that were read before, each span another one. Peer: a bare keep-alive request to QuestDB for the same bars (the
quicker of its PostgreSQL wire with a prepared statement and HTTP), and a request to an empty FastAPI endpoint in a
process of its own; the sum of their medians. All take turns over keep-alive connections.
"""

from __future__ import annotations

import base64
import http.client
import json
import multiprocessing
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import polars as pl
import uvicorn
from fastapi import FastAPI

from bench.stand import Stand, stand, tapehouse
from tapehouse.clock import DAY, MINUTE, SECOND, iso, parse_ns
from tapehouse.stores.questdb import connect
from tapehouse.stores.questdb_refresh import refresh_bar_views

_SYMBOLS, _DAYS, _BARS = 200, 5, 390
_FIRST = parse_ns("2024-03-04T13:30:00Z")
_WARM_UP = 50
_AGAIN = 10_000
_CACHED_WITHIN_S = 60
_COLUMNS = (
    "ts, venue, symbol, open, high, low, close, volume, turnover, trades, buy_volume, seq_first, seq_last"
)
Way = Callable[[str, int, int], None]


def measure() -> dict[str, Any]:
    """Milliseconds, medians, of each way; the ratios are of JSON."""
    with stand() as platform, empty_endpoint() as empty:
        _store_trades(platform)
        as_json, as_arrow = _gateway(platform, "json"), _gateway(platform, "arrow")
        peers = _peers(platform, empty)
        _wait_until_cached(platform)
        series = [(f"S{number}", day) for number in range(1, _SYMBOLS) for day in range(_DAYS)]
        random.Random(1).shuffle(series)
        half = len(series) // 2
        first = _Turns()
        for turn, (of_json, of_arrow) in enumerate(zip(series[:half], series[half:], strict=False)):
            first.take(
                turn >= _WARM_UP,
                {"json": (as_json, *_session(*of_json)), "arrow": (as_arrow, *_session(*of_arrow))}
                | {name: (way, *_session(*of_json)) for name, way in peers.items()},
            )
        for number in range(1, _SYMBOLS):
            as_json(f"S{number}", _FIRST // DAY * DAY, (_FIRST // DAY + _DAYS) * DAY)
        again = _Turns()
        chance = random.Random(2)
        spans = chance.sample(range((_SYMBOLS - 1) * (_DAYS - 1) * _BARS), _AGAIN)
        for turn, span in enumerate(spans):
            symbol, rest = divmod(span, (_DAYS - 1) * _BARS)
            day, minute = divmod(rest, _BARS)
            start = _FIRST + day * DAY + minute * MINUTE
            asked = (f"S{symbol + 1}", start, start + DAY)
            ways = {"json": as_json, **peers}
            again.take(turn >= _WARM_UP, {name: (way, *asked) for name, way in ways.items()})
    return {
        "ms": first.medians(),
        "peer": round(first.floor(), 3),
        "ratio": round(first.median("json") / first.floor(), 3),
        "ratio_arrow": round(first.median("arrow") / first.floor(), 3),
        "again_ms": again.medians(),
        "peer_again": round(again.floor(), 3),
        "ratio_again": round(again.median("json") / again.floor(), 3),
    }


class _Turns:
    """The times that each way took, turn by turn."""

    def __init__(self) -> None:
        self._took: dict[str, list[float]] = {}

    def take(self, counted: bool, ways: dict[str, tuple[Way, str, int, int]]) -> None:
        """One turn: all ways, by chance in any order."""
        # The server asked last answers the next request sooner than one that has been idle.
        for name, (way, *asked) in random.sample(list(ways.items()), len(ways)):
            began = time.perf_counter()
            way(*asked)
            if counted:
                self._took.setdefault(name, []).append(time.perf_counter() - began)

    def median(self, name: str) -> float:
        """Milliseconds."""
        return 1e3 * statistics.median(self._took[name])

    def medians(self) -> dict[str, float]:
        """Milliseconds by way."""
        return {name: round(self.median(name), 3) for name in self._took}

    def floor(self) -> float:
        """What is needed at least, ms."""
        return min(self.median("questdb_pg"), self.median("questdb_http")) + self.median("empty_fastapi")


def _store_trades(platform: Stand) -> None:
    """A trade a minute and symbol, in 390 minutes of each day."""
    minutes = _FIRST + np.arange(_DAYS)[:, None] * DAY + np.arange(_BARS) * MINUTE + SECOND
    times = np.repeat(minutes.ravel(), _SYMBOLS)
    numbers = np.arange(len(times))
    frame = pl.DataFrame({"ts": times, "symbol": numbers % _SYMBOLS, "price": 100 + numbers % 997 / 100})
    frame = frame.with_columns(
        symbol=pl.concat_str(pl.lit("S"), pl.col("symbol").cast(pl.String)), size=pl.lit(1.5)
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trades.parquet"
        frame.write_parquet(file)
        tapehouse(platform, "ingest", str(file), "--venue", "bench")
    refresh_bar_views(platform.settings.questdb)


def _session(symbol: str, day: int) -> tuple[str, int, int]:
    start = _FIRST + day * DAY
    return symbol, start, start + _BARS * MINUTE


def _wait_until_cached(platform: Stand) -> None:
    """Wait until bars of the days are cached, whose marks are closed then: of a symbol that is not measured."""
    _, start, end = _session("S0", 0)
    asked = {"venue": "bench", "symbol": "S0", "interval": "1m", "start": iso(start), "end": iso(end)}
    path = "/v1/bars?" + urlencode({**asked, "format": "json"})
    gateway = http.client.HTTPConnection("127.0.0.1", platform.gateway_port())
    deadline = time.monotonic() + _CACHED_WITHIN_S
    while not json.loads(_got(gateway, path))["segments"][0]["cached"]:
        if time.monotonic() > deadline:
            sys.exit(f"bench: expected closed days to be cached within {_CACHED_WITHIN_S} s, were not")
        time.sleep(0.5)


def _gateway(platform: Stand, format_name: str) -> Way:
    gateway = http.client.HTTPConnection("127.0.0.1", platform.gateway_port())

    def way(symbol: str, start: int, end: int) -> None:
        asked = {"venue": "bench", "symbol": symbol, "interval": "1m", "start": iso(start), "end": iso(end)}
        body = _got(gateway, "/v1/bars?" + urlencode({**asked, "format": format_name}))
        assert len(body) > 20_000, body[:500]

    return way


def _peers(platform: Stand, empty: int) -> dict[str, Way]:
    nothing = http.client.HTTPConnection("127.0.0.1", empty)
    quest = platform.settings.questdb
    hot = http.client.HTTPConnection(quest.host, quest.http_port)
    account = f"{quest.user}:{quest.password.get_secret_value()}"
    login = {"Authorization": "Basic " + base64.b64encode(account.encode()).decode()}
    wire = connect(quest, quest.reader, quest.reader_password).cursor(binary=True)

    def over_http(symbol: str, start: int, end: int) -> None:
        where = (
            f"venue = 'bench' AND symbol = '{symbol}' AND ts >= cast({start} AS timestamp_ns) "
            f"AND ts < cast({end} AS timestamp_ns)"
        )
        _got(hot, "/exec?" + urlencode({"query": f"SELECT {_COLUMNS} FROM bars_1m WHERE {where}"}), login)

    def over_pg(symbol: str, start: int, end: int) -> None:
        statement = (
            f"SELECT {_COLUMNS} FROM bars_1m WHERE venue = %s AND symbol = %s "
            "AND ts >= cast(%s AS timestamp_ns) AND ts < cast(%s AS timestamp_ns)"
        )
        assert len(wire.execute(statement, ["bench", symbol, start, end]).fetchall()) == _BARS

    def empty_fastapi(symbol: str, start: int, end: int) -> None:
        assert _got(nothing, "/") == b"{}"

    return {"questdb_http": over_http, "questdb_pg": over_pg, "empty_fastapi": empty_fastapi}


def _got(connection: http.client.HTTPConnection, path: str, headers: dict[str, str] | None = None) -> bytes:
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"bench: {path}: {answer.status} {body[:500]!r}")
    return body


@contextmanager
def empty_endpoint() -> Iterator[int]:
    """The port of an empty FastAPI endpoint, served as the gateway is."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener,), daemon=True)
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()


def _serve(listener: socket.socket) -> None:
    app = FastAPI()

    @app.get("/")
    async def nothing() -> dict[str, str]:
        return {}

    uvicorn.Server(
        uvicorn.Config(
            app, loop="uvloop", http="httptools", access_log=False, log_level="error", timeout_keep_alive=75
        )
    ).run(sockets=[listener])
