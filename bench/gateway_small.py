"""390 one-minute bars through the gateway, beside what they need at least.

Peer: a bare keep-alive request to QuestDB for the same bars (the quicker of its PostgreSQL wire with a prepared
statement and HTTP), and a request to an empty FastAPI endpoint in a process of its own; the sum of their medians.
All take turns over keep-alive connections, and no span is asked for twice, so that no cache answers.
"""

from __future__ import annotations

import base64
import http.client
import multiprocessing
import random
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import uvicorn
from fastapi import FastAPI

from bench.stand import SPY, Stand, ingested, stand
from tapehouse.clock import MINUTE, iso, parse_ns
from tapehouse.stores.questdb import connect
from tapehouse.stores.questdb_refresh import refresh_bar_views

_TURNS = 1_000
_WARM_UP = 50
_BARS = 390
_DAYS = ("2013-10-07", "2013-10-08", "2013-10-09", "2013-10-10", "2013-10-11")
_COLUMNS = (
    "ts, venue, symbol, open, high, low, close, volume, turnover, trades, buy_volume, seq_first, seq_last"
)


def measure() -> dict[str, Any]:
    """Milliseconds, medians, of each format of the gateway and of the bare requests; the ratio is of JSON."""
    with stand() as platform, empty_endpoint() as empty:
        ingested(platform, SPY, "SPY")
        refresh_bar_views(platform.settings.questdb)
        ways = _ways(platform, empty)
        took: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(-_WARM_UP, _TURNS):
            day = parse_ns(_DAYS[turn % len(_DAYS)] + "T13:30:00Z")
            # Of the same bars, but never the same request.
            start = day - turn % 7_919 - 1
            # The server asked last answers the next request sooner than one that has been idle.
            order = random.Random(turn).sample(list(ways.items()), len(ways))
            for name, way in order:
                began = time.perf_counter()
                way(start, start + _BARS * MINUTE)
                if turn >= 0:
                    took[name].append(time.perf_counter() - began)
    median = {name: 1e3 * statistics.median(each) for name, each in took.items()}
    floor = min(median["questdb_pg"], median["questdb_http"]) + median["empty_fastapi"]
    return {
        "ms": {name: round(each, 3) for name, each in median.items()},
        "peer": round(floor, 3),
        "ratio": round(median["json"] / floor, 3),
        "ratio_arrow": round(median["arrow"] / floor, 3),
    }


def _ways(platform: Stand, empty: int) -> dict[str, Callable[[int, int], None]]:
    gateway = http.client.HTTPConnection("127.0.0.1", platform.gateway_port())
    nothing = http.client.HTTPConnection("127.0.0.1", empty)
    quest = platform.settings.questdb
    hot = http.client.HTTPConnection(quest.host, quest.http_port)
    account = f"{quest.user}:{quest.password.get_secret_value()}"
    login = {"Authorization": "Basic " + base64.b64encode(account.encode()).decode()}
    wire = connect(quest, quest.reader, quest.reader_password).cursor(binary=True)

    def ours(format_name: str) -> Callable[[int, int], None]:
        def way(start: int, end: int) -> None:
            asked = {"venue": "CTA", "symbol": "SPY", "interval": "1m", "start": iso(start), "end": iso(end)}
            body = _got(gateway, "/v1/bars?" + urlencode({**asked, "format": format_name}))
            assert len(body) > 20_000, body[:500]

        return way

    def over_http(start: int, end: int) -> None:
        where = (
            f"venue = 'CTA' AND symbol = 'SPY' AND ts >= cast({start} AS timestamp_ns) "
            f"AND ts < cast({end} AS timestamp_ns)"
        )
        _got(hot, "/exec?" + urlencode({"query": f"SELECT {_COLUMNS} FROM bars_1m WHERE {where}"}), login)

    def over_pg(start: int, end: int) -> None:
        statement = (
            f"SELECT {_COLUMNS} FROM bars_1m WHERE venue = %s AND symbol = %s "
            "AND ts >= cast(%s AS timestamp_ns) AND ts < cast(%s AS timestamp_ns)"
        )
        assert len(wire.execute(statement, ["CTA", "SPY", start, end]).fetchall()) == _BARS

    return {
        "json": ours("json"),
        "arrow": ours("arrow"),
        "questdb_http": over_http,
        "questdb_pg": over_pg,
        "empty_fastapi": lambda start, end: _none(_got(nothing, "/")),
    }


def _none(body: bytes) -> None:
    assert body == b"{}"


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
        uvicorn.Config(app, loop="uvloop", http="httptools", access_log=False, log_level="error")
    ).run(sockets=[listener])
