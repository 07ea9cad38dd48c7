"""The last price of a symbol, requests a second, beside those of an empty FastAPI endpoint.

Both are served by a process of their own as the gateway is, and asked by the same client in turns: one thread, some
keep-alive connections, each with a request under way at all times. The simulator is slow: where the other parts fill
the cores, the shares that the system gives to processes would be measured.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import urllib.request
from typing import Any
from urllib.parse import urlencode

import uvloop

from bench.gateway_small import empty_endpoint
from bench.stand import TRADES_ALONE, stand

_PAIRS = 7
_TICKS_S = "10"
_REQUESTS = 8_000
_CONNECTIONS = 16


def measure() -> dict[str, Any]:
    """Requests a second of both, medians, and the median of their ratios."""
    with (
        stand("sim", TAPEHOUSE_SIMULATOR__RATE=_TICKS_S, **TRADES_ALONE) as platform,
        empty_endpoint() as empty,
    ):
        port = platform.gateway_port()
        symbol = _live_symbol(port)
        ours = f"/v1/latest?{urlencode({'venue': 'sim', 'symbol': symbol})}"
        rates: list[list[float]] = [[], []]
        for pair in range(_PAIRS + 1):
            for each, (at, path) in zip(rates, ((port, ours), (empty, "/")), strict=True):
                rate = uvloop.run(_rate(at, path))
                if pair:
                    each.append(rate)
    ratios = [one / other for one, other in zip(*rates, strict=True)]
    return {
        "requests_s": round(statistics.median(rates[0])),
        "peer": "an empty FastAPI endpoint",
        "peer_requests_s": round(statistics.median(rates[1])),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def _live_symbol(port: int) -> str:
    """A symbol that has traded since the gateway began to listen."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/latest?venue=sim") as answer:
            rows = json.load(answer)["rows"]
        if rows:
            return str(rows[0]["symbol"])
        time.sleep(0.2)
    raise AssertionError("waited 60 s for a trade to be told")


async def _rate(port: int, path: str) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(_ask(port, path, _REQUESTS // _CONNECTIONS) for _ in range(_CONNECTIONS)))
    return _REQUESTS / (time.perf_counter() - began)


async def _ask(port: int, path: str, times: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for _ in range(times):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()
