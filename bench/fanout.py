"""10,000 sockets before the hub, beside a bare broadcast by picows to as many.

Each socket follows the bars and the last price of one of 50 symbols; a bar maker of the bench publishes 10 frames a
second with changes of all of them. Peer: a picows server that sends each socket as many bytes in one message, 10 times
a second. The load generator runs on the same machine in one process; all sockets count what they get, every hundredth
also how long it took from the frame. The two take turns; FANOUT_S and FANOUT_SOCKETS make it shorter for a try.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgpack
import numpy as np
import picows
import uvloop
from nats.aio.msg import Msg

from bench.stand import Stand, cpu_s, own_mb, stand
from tapehouse.clock import INTERVALS, NAMES, now_ns
from tapehouse.stream.bus import Bus
from tapehouse.stream.frames import FRAME_BAR, FRAME_LATEST, encode
from tapehouse.stream.live_messages import LATEST

_SOCKETS = int(os.environ.get("FANOUT_SOCKETS", "10000"))
_SECONDS = float(os.environ.get("FANOUT_S", "60"))
_SYMBOLS = [f"S{number}" for number in range(50)]
_FRAME_S = 0.1
_SAMPLED = 100
"""One of so many sockets measures times."""
_TOGETHER = 200
"""Connections that are opened at once."""
_MAKER = "bench"
_MASK = b"\0\0\0\0"


def measure() -> dict[str, Any]:
    """Deliveries a second, ms from frame to socket, cores and MB of both."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with stand() as platform:
        ours = uvloop.run(_ours(platform))
        size = ours.bytes_each
        bytes_json = uvloop.run(_bytes_as_json(platform))
    with _picows_server(size) as (port, pid):
        peer = uvloop.run(_peer(port, pid, size))
    return {
        "sockets": _SOCKETS,
        **ours.figures(),
        "peer": "picows broadcast of as many bytes",
        **{f"peer_{name}": value for name, value in peer.figures().items()},
        "ratio": round(ours.deliveries_s / peer.deliveries_s, 3),
        "ratio_p99": round(ours.percentile(99) / peer.percentile(99), 3),
        "ratio_memory": round(ours.kb_each / peer.kb_each, 3),
        "bytes_each": round(ours.bytes_each, 1),
        "bytes_each_json": round(bytes_json, 1),
        "bytes_ratio": round(ours.bytes_each / bytes_json, 3),
    }


@dataclass
class _Load:
    """What all sockets received in a time."""

    messages_each: int
    """Of one delivery."""
    seconds: float = 0.0
    messages: int = 0
    bytes: int = 0
    took_ms: list[float] = field(default_factory=list)
    cores: float = 0.0
    kb_each: float = 0.0

    @property
    def deliveries_s(self) -> float:
        return self.messages / self.messages_each / self.seconds

    @property
    def bytes_each(self) -> float:
        """Of one delivery."""
        return self.bytes * self.messages_each / max(self.messages, 1)

    def percentile(self, share: int) -> float:
        return float(np.percentile(self.took_ms, share))

    def figures(self) -> dict[str, Any]:
        return {
            "deliveries_s": round(self.deliveries_s),
            "p50_ms": round(self.percentile(50), 1),
            "p99_ms": round(self.percentile(99), 1),
            "cores": round(self.cores, 2),
            "kb_a_socket": round(self.kb_each, 1),
        }


class _Reader(asyncio.Protocol):
    """A socket that counts messages; with `taken` it also gives their payloads."""

    def __init__(
        self, load: _Load, path: str, requests: list[dict[str, Any]], taken: Callable[[bytes], None] | None
    ) -> None:
        self._load = load
        self._hello = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
        ).encode()
        self._requests = requests
        self._taken = taken
        self._left = b""
        self._transport: asyncio.Transport | None = None
        self.is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_open.done():
            self.is_open.set_exception(ConnectionError("closed before it was open"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self._left + data if self._left else data
        if not self.is_open.done():
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._left = head
                return
            assert b" 101 " in head, head
            for request in self._requests:
                self._send(json.dumps(request).encode())
            self.is_open.set_result(None)
        at, size = 0, len(data)
        while at + 2 <= size:
            start, length = at + 2, data[at + 1]
            if length == 126:
                if at + 4 > size:
                    break
                start, length = at + 4, int.from_bytes(data[at + 2 : at + 4])
            if start + length > size:
                break
            self._on_message(data[at], data, start, start + length)
            at = start + length
        self._left = data[at:]

    def _on_message(self, first: int, data: bytes, start: int, end: int) -> None:
        if first & 0x0F == 9:
            self._send(data[start:end], 0x8A)
            return
        # Only what follows the snapshots: arrays that begin with BARS or LATEST, or the peer's.
        self._load.messages += 1
        self._load.bytes += end - start + 2
        if self._taken is not None:
            self._taken(data[start:end])

    def _send(self, payload: bytes, first: int = 0x81) -> None:
        assert self._transport is not None
        size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
        self._transport.write(bytes((first,)) + size + _MASK + payload)


async def _ours(platform: Stand) -> _Load:
    load = _Load(messages_each=2)
    pid = platform.pid("gateway")
    before_mb = own_mb(pid)

    def taken(payload: bytes) -> None:
        items = msgpack.unpackb(payload)
        if items[0] == LATEST:
            load.took_ms.append((now_ns() - items[3]) / 1e6)

    async with _bar_maker(platform):
        readers = await _connected(
            platform.gateway_port(),
            lambda number: _Reader(load, "/v1/live", _requests(number), None if number % _SAMPLED else taken),
        )
        await _count(load, pid)
        load.kb_each = (own_mb(pid) - before_mb) * 1000 / _SOCKETS
        for reader in readers:
            reader.close()
    return load


async def _bytes_as_json(platform: Stand) -> float:
    """Bytes of one delivery with names, all fields."""
    load = _Load(messages_each=2)
    requests = [{**_requests(0)[0], "full": True}, _requests(0)[1]]
    async with _bar_maker(platform):
        (reader,) = await _connected(
            platform.gateway_port(), lambda _: _Reader(load, "/v1/live?format=json", requests, None), 1
        )
        await asyncio.sleep(1)
        load.messages = load.bytes = 0
        await asyncio.sleep(3)
        reader.close()
    return load.bytes_each


async def _peer(port: int, pid: int, size: float) -> _Load:
    load = _Load(messages_each=1)
    before_mb = own_mb(pid)

    def taken(payload: bytes) -> None:
        load.took_ms.append((now_ns() - int.from_bytes(payload[:8])) / 1e6)

    readers = await _connected(
        port, lambda number: _Reader(load, "/", [], None if number % _SAMPLED else taken)
    )
    await _count(load, pid)
    load.kb_each = (own_mb(pid) - before_mb) * 1000 / _SOCKETS
    for reader in readers:
        reader.close()
    return load


def _requests(number: int) -> list[dict[str, Any]]:
    of = {"op": "subscribe", "venue": "bench", "symbol": _SYMBOLS[number % len(_SYMBOLS)]}
    return [
        {**of, "id": 0, "channel": "bars", "interval": "1m", "last": 1},
        {**of, "id": 1, "channel": "latest"},
    ]


async def _connected(port: int, make: Callable[[int], _Reader], count: int = _SOCKETS) -> list[_Reader]:
    loop = asyncio.get_running_loop()
    readers: list[_Reader] = []
    for first in range(0, count, _TOGETHER):
        some = range(first, min(first + _TOGETHER, count))
        made = await asyncio.gather(
            *(
                loop.create_connection(lambda number=number: make(number), "127.0.0.1", port)
                for number in some
            )
        )
        readers += [reader for _, reader in made]
        await asyncio.gather(*(reader.is_open for reader in readers[-len(some) :]))
    return readers


async def _count(load: _Load, pid: int) -> None:
    """Count for the measured time, after two seconds in which snapshots are sent."""
    await asyncio.sleep(2)
    load.messages = load.bytes = 0
    load.took_ms.clear()
    began, used = time.perf_counter(), cpu_s(pid)
    await asyncio.sleep(_SECONDS)
    load.seconds = time.perf_counter() - began
    load.cores = (cpu_s(pid) - used) / load.seconds


@asynccontextmanager
async def _bar_maker(platform: Stand) -> AsyncIterator[None]:
    """A bar maker whose bars and last prices all change ten times a second."""
    async with Bus.opened(platform.settings, "barmaker") as bus:
        maker = _Maker(bus)
        async with bus.subscribed(f"bars.snapshot.{_MAKER}", maker.answer):
            task = asyncio.create_task(maker.run())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class _Maker:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._epoch = now_ns()
        self._n = 0
        self._keys = [("bench", symbol) for symbol in _SYMBOLS]
        self._chance = np.random.default_rng(1)
        self._bars = np.zeros(len(_SYMBOLS), FRAME_BAR)
        self._bars["key"] = np.arange(len(_SYMBOLS))
        self._bars["interval"] = NAMES.index("1m")
        self._bars["ts"] = INTERVALS["1m"].start_of(now_ns())
        self._bars["low"] = self._bars["open"] = 60_000.01
        self._latest = np.zeros(len(_SYMBOLS), FRAME_LATEST)
        self._latest["key"] = np.arange(len(_SYMBOLS))

    async def run(self) -> None:
        at = time.perf_counter()
        while True:
            self._change()
            self._n += 1
            frame = encode(_MAKER, self._epoch, self._n, self._keys, self._bars, self._latest)
            await self._bus.client.publish(f"frames.{_MAKER}", frame)
            at += _FRAME_S
            await asyncio.sleep(max(0.0, at - time.perf_counter()))

    async def answer(self, request: Msg) -> None:
        asked = json.loads(request.data)
        key = (asked["venue"], asked["symbol"])
        if key not in self._keys:
            await self._bus.client.publish(request.reply, encode(_MAKER, self._epoch, self._n))
            return
        place = self._keys.index(key)
        bars, latest = self._bars[place : place + 1].copy(), self._latest[place : place + 1].copy()
        bars["key"] = latest["key"] = 0
        await self._bus.client.publish(
            request.reply, encode(_MAKER, self._epoch, self._n, [key], bars, latest)
        )

    def _change(self) -> None:
        """Prices of a cent, sizes of a thousandth, as a busy symbol has them."""
        prices = np.round(60_000 + self._chance.random(len(_SYMBOLS)) * 1_000, 2)
        sizes = np.round(self._chance.random(len(_SYMBOLS)) * 3, 3)
        self._bars["close"] = prices
        self._bars["high"] = np.maximum(self._bars["high"], prices)
        self._bars["volume"] += sizes
        self._bars["turnover"] += sizes * prices
        self._bars["buy_volume"] += sizes / 2
        self._bars["trades"] += 3
        self._bars["seq_last"] += 3
        self._latest["seq"] += 3
        self._latest["price"], self._latest["size"] = prices, sizes
        self._latest["ts_event"] = self._latest["ts_recv"] = now_ns()


@contextmanager
def _picows_server(size: float) -> Iterator[tuple[int, int]]:
    """(port, pid) of a server that sends all its sockets the time, in a message of `size` bytes."""
    context = multiprocessing.get_context("spawn")
    ports = context.Queue()
    process = context.Process(target=_serve_picows, args=(round(size), ports), daemon=True)
    process.start()
    try:
        yield ports.get(timeout=30), cast(int, process.pid)
    finally:
        process.terminate()
        process.join()


def _serve_picows(size: int, ports: Any) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sockets: set[picows.WSTransport] = set()

    class Listener(picows.WSListener):
        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            sockets.add(transport)

        def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
            sockets.discard(transport)

    async def main() -> None:
        server = await picows.ws_create_server(lambda _: Listener(), "127.0.0.1", 0, backlog=1024)
        ports.put(server.sockets[0].getsockname()[1])
        at = time.perf_counter()
        while True:
            message = now_ns().to_bytes(8) + bytes(max(size - 2 - 8, 0))
            for transport in sockets:
                transport.send(picows.WSMsgType.BINARY, message)
            at += _FRAME_S
            await asyncio.sleep(max(0.0, at - time.perf_counter()))

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
