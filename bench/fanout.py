"""10,000 sockets before the hub, beside a bare broadcast by picows to as many.

Each socket follows the bars and the last price of one of 50 symbols; a bar maker of the bench publishes 10 frames a
second with changes of all of them. Peer: a picows server that sends each socket as many bytes in one message, 10 times
a second. The load generator runs on the same machine in one process; all sockets count what they get, every hundredth
also how long it took from the frame. The two take turns; FANOUT_S and FANOUT_SOCKETS make it shorter for a try.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import picows
import uvloop

from bench.frame_source import FRAME_S, frame_source, requests
from bench.live_sockets import Load, Reader, connected
from bench.stand import Stand, cpu_s, own_mb, stand
from tapehouse.clock import now_ns

_SOCKETS = int(os.environ.get("FANOUT_SOCKETS", "10000"))
_SECONDS = float(os.environ.get("FANOUT_S", "60"))
_SAMPLED = 100
"""One of so many sockets measures times."""


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


async def _ours(platform: Stand) -> Load:
    load = Load(messages_each=2)
    pid = platform.pid("gateway")
    before_mb = own_mb(pid)

    async with frame_source(platform):
        readers = await connected(
            platform.gateway_port(),
            lambda number: Reader(
                load, "/v1/live", requests(number), None if number % _SAMPLED else load.take_latest
            ),
            _SOCKETS,
        )
        await _count(load, pid)
        load.kb_each = (own_mb(pid) - before_mb) * 1000 / _SOCKETS
        for reader in readers:
            reader.close()
    return load


async def _bytes_as_json(platform: Stand) -> float:
    """Bytes of one delivery with names, all fields."""
    load = Load(messages_each=2)
    bars, latest = requests(0)
    bars["full"] = True
    async with frame_source(platform):
        (reader,) = await connected(
            platform.gateway_port(),
            lambda _: Reader(load, "/v1/live?format=json", [bars, latest], None),
            1,
        )
        await asyncio.sleep(1)
        load.messages = load.bytes = 0
        await asyncio.sleep(3)
        reader.close()
    return load.bytes_each


async def _peer(port: int, pid: int, size: float) -> Load:
    load = Load(messages_each=1)
    before_mb = own_mb(pid)

    def taken(payload: bytes) -> None:
        load.took_ms.append((now_ns() - int.from_bytes(payload[:8])) / 1e6)

    readers = await connected(
        port, lambda number: Reader(load, "/", [], None if number % _SAMPLED else taken), _SOCKETS
    )
    await _count(load, pid)
    load.kb_each = (own_mb(pid) - before_mb) * 1000 / _SOCKETS
    for reader in readers:
        reader.close()
    return load


async def _count(load: Load, pid: int) -> None:
    """Count for the measured time, after two seconds in which snapshots are sent."""
    await asyncio.sleep(2)
    load.messages = load.bytes = 0
    load.took_ms.clear()
    began, used = time.perf_counter(), cpu_s(pid)
    await asyncio.sleep(_SECONDS)
    load.seconds = time.perf_counter() - began
    load.cores = (cpu_s(pid) - used) / load.seconds


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
            at += FRAME_S
            await asyncio.sleep(max(0.0, at - time.perf_counter()))

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
