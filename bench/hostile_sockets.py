"""What hostile sockets cost the others: 1,000 well-behaved ones, with and without attacks from another process.

In turns of ten seconds, four of each. The attacks: 50 sockets that subscribe to all and read nothing; each half second
a megabyte of junk, 10,000 subscriptions on one socket, a compressed message that unpacks to 10 MB, a page of another
site, and two beginnings of messages. Each has to end as it should. HOSTILE_TURN_S makes it shorter for a try.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import time
import zlib
from collections import Counter
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from bench.frame_source import SYMBOLS, frame_source, requests
from bench.live_sockets import Load, Reader, connected
from bench.stand import Stand, stand

_SOCKETS = 1_000
_SAMPLED = 10
"""One of so many sockets measures times."""
_TURNS = 4
_TURN_S = float(os.environ.get("HOSTILE_TURN_S", "10"))
_SETTLE_S = 5.0
"""After a change of turns, before times are measured: by then the stalled sockets do not take what they are sent."""
_STALLED = 50
_EVERY_S = 0.5
_COMPRESSED = 0x40
"""The bit of a frame's first byte that says so."""
_ENDS_S = 20.0
"""How long an attack may take to be ended."""
_EXPECTED = {
    "junk": "1009",
    "subscriptions": "1008",
    "compressed": "1002",
    "other site": "403",
    "half a request": "1002",
}


def measure() -> dict[str, Any]:
    """Ms from frame to socket of the well-behaved, and how often each attack was ended as it should be."""
    with stand() as platform:
        return uvloop.run(_turns(platform))


async def _turns(platform: Stand) -> dict[str, Any]:
    quiet, attacked = Load(messages_each=2), Load(messages_each=2)
    now = quiet
    is_measured = False
    load = Load(messages_each=2)

    def taken(payload: bytes) -> None:
        if is_measured:
            now.take_latest(payload)

    context = multiprocessing.get_context("spawn")
    is_on, is_over, ends = context.Event(), context.Event(), context.Queue()
    attacker = context.Process(
        target=_run_attacks, args=(platform.gateway_port(), is_on, is_over, ends), daemon=True
    )
    attacker.start()
    async with frame_source(platform):
        readers = await connected(
            platform.gateway_port(),
            lambda number: Reader(load, "/v1/live", requests(number), None if number % _SAMPLED else taken),
            _SOCKETS,
        )
        for turn in range(2 * _TURNS):
            now = attacked if turn % 2 else quiet
            (is_on.set if turn % 2 else is_on.clear)()
            await asyncio.sleep(_SETTLE_S)
            is_measured, began = True, time.perf_counter()
            await asyncio.sleep(_TURN_S)
            is_measured = False
            now.seconds += time.perf_counter() - began
        is_over.set()
        found: Counter[str] = await asyncio.to_thread(ends.get, timeout=2 * _ENDS_S)
        for reader in readers:
            assert reader.is_open.done()
            reader.close()
    attacker.join(_ENDS_S)
    assert found.keys() == _EXPECTED.keys(), found
    return {
        "sockets": _SOCKETS,
        "p50_ms": round(attacked.percentile(50), 2),
        "p99_ms": round(attacked.percentile(99), 2),
        "peer": "the same sockets without attacks",
        "peer_p50_ms": round(quiet.percentile(50), 2),
        "peer_p99_ms": round(quiet.percentile(99), 2),
        "ratio": round(attacked.percentile(99) / quiet.percentile(99), 3),
        **{name.replace(" ", "_"): found[name] for name in _EXPECTED},
    }


def _run_attacks(port: int, is_on: Event, is_over: Event, ends: Queue[Counter[str]]) -> None:
    uvloop.run(_attack_in_turns(f"ws://127.0.0.1:{port}/v1/live", is_on, is_over, ends))


async def _attack_in_turns(url: str, is_on: Event, is_over: Event, ends: Queue[Counter[str]]) -> None:
    found: Counter[str] = Counter()
    while not is_over.is_set():
        if not await asyncio.to_thread(is_on.wait, 0.1):
            continue
        stalled = [await _stalled(url) for _ in range(_STALLED)]
        while is_on.is_set() and not is_over.is_set():
            began = time.perf_counter()
            for name, attack in _ATTACKS.items():
                end = await asyncio.wait_for(attack(url), _ENDS_S)
                found[name if end == _EXPECTED[name] else f"{name} ended with {end}"] += 1
            await asyncio.sleep(max(0.0, _EVERY_S - time.perf_counter() + began))
        for connection in stalled:
            connection.transport.abort()
    ends.put(found)


async def _stalled(url: str) -> ClientConnection:
    """A socket that subscribes to all and reads nothing more."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    host, _, port = url.split("/")[2].partition(":")
    await asyncio.get_running_loop().sock_connect(small, (host, int(port)))
    connection = await connect(url, sock=small, max_queue=1, ping_interval=None, close_timeout=0)
    for number, symbol in enumerate(SYMBOLS):
        of = {"op": "subscribe", "venue": "bench", "symbol": symbol, "channel": "bars", "interval": "1m"}
        await connection.send(json.dumps({**of, "id": number, "full": True, "last": 1}))
    connection.transport.pause_reading()
    return connection


async def _junk(url: str) -> str:
    return await _end_of(url, _JUNK)


async def _subscriptions(url: str) -> str:
    return await _end_of(url, _SUBSCRIPTIONS)


async def _compressed(url: str) -> str:
    return await _end_of(url, _BOMB)


async def _half_a_request(url: str) -> str:
    return await _end_of(url, _HALVES)


async def _other_site(url: str) -> str:
    try:
        await connect(url, additional_headers={"Origin": "http://other.example"})
    except InvalidStatus as reason:
        return str(reason.response.status_code)
    return "accepted"


async def _end_of(url: str, data: bytes) -> str:
    """The close code that the gateway gives a client that sends some bytes."""
    async with connect(url, compression=None, close_timeout=1) as connection:
        connection.transport.write(data)
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as reason:
            return str(reason.rcvd.code) if reason.rcvd else "no code"


def _text(payload: bytes, *, is_whole: bool = True) -> bytes:
    return Frame(Opcode.TEXT, payload, fin=is_whole).serialize(mask=True)


def _subscribe(number: int) -> bytes:
    of = {"op": "subscribe", "id": number, "channel": "latest", "venue": "bench", "symbol": f"N{number}"}
    return _text(json.dumps(of).encode())


def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=-15)
    first, *rest = _text(packer.compress(bytes(10_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH))
    return bytes((first | _COMPRESSED, *rest))


# Made beforehand: an attacker who is busy himself would take the machine from the others.
_JUNK = _text(b"x" * 2**20)
_SUBSCRIPTIONS = b"".join(map(_subscribe, range(10_000)))
_BOMB = _bomb()
_HALVES = 2 * _text(b'{"op": ', is_whole=False)
_ATTACKS = {
    "junk": _junk,
    "subscriptions": _subscriptions,
    "compressed": _compressed,
    "other site": _other_site,
    "half a request": _half_a_request,
}
