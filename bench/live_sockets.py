"""Sockets that count what a live socket sends them, in one process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgpack
import numpy as np

from tapehouse.clock import now_ns
from tapehouse.stream.live_messages import LATEST

_TOGETHER = 200
"""Connections that are opened at once."""
_MASK = b"\0\0\0\0"


@dataclass
class Load:
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
        """Complete deliveries within a second."""
        return self.messages / self.messages_each / self.seconds

    @property
    def bytes_each(self) -> float:
        """Of one delivery."""
        return self.bytes * self.messages_each / max(self.messages, 1)

    def take_latest(self, payload: bytes) -> None:
        """Note how long a last price took from its time to here."""
        items = msgpack.unpackb(payload)
        if items[0] == LATEST:
            self.took_ms.append((now_ns() - items[3]) / 1e6)

    def percentile(self, share: int) -> float:
        """Ms from frame to socket that `share` percent of the measured messages took at most."""
        return float(np.percentile(self.took_ms, share))

    def figures(self) -> dict[str, Any]:
        """By name, for the results."""
        return {
            "deliveries_s": round(self.deliveries_s),
            "p50_ms": round(self.percentile(50), 1),
            "p99_ms": round(self.percentile(99), 1),
            "cores": round(self.cores, 2),
            "kb_a_socket": round(self.kb_each, 1),
        }


class Reader(asyncio.Protocol):
    """A socket that counts messages; with `taken` it also gives their payloads."""

    def __init__(
        self, load: Load, path: str, requests: list[dict[str, Any]], taken: Callable[[bytes], None] | None
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
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._hello)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if not self.is_open.done():
            self.is_open.set_exception(ConnectionError("closed before it was open"))

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
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


async def connected(port: int, make: Callable[[int], Reader], count: int) -> list[Reader]:
    """`count` open sockets, made by their number."""
    loop = asyncio.get_running_loop()
    readers: list[Reader] = []
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
