"""A WebSocket on the gateway's own port: the handshake, frames and limits. uvicorn hands over what asks to upgrade.

websockets' protocol without input and output reads what clients send. What the hub sends is written as it is, the same
bytes for all clients, by the system's own call where the client has taken all of before: uvloop's takes twice as long.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.live.client import LiveClient, Topics
from gateway.live.message import PING, Message
from gateway.rest.problems import BUSY, NOT_FOUND, USAGE, Problem

PATH = "/v1/live"
MOST_REQUEST_BYTES = 2**16
MOST_CLIENTS = 12_000
_SEND_BUFFER = 2**15
"""Bytes in the kernel for a client: a small one shows early that a client is slow."""
_MOST_UNSENT = 2**16
"""Bytes in the process that a client has not taken, before it counts as slow."""
_MOST_MESSAGES = 2_000
"""Messages that wait to be written, before a client counts as slow."""
_SLICE_BYTES = 4_096
_MOST_CLOSE_BYTES = 512
"""Of a client whose connection was ended more than this is no answer to it, and is not read."""
_CLOSE_S = 2.0
"""How long a client may take to end the connection when told to."""
_MOST_UNANSWERED = 4
"""Pings without any sign of life."""
Refusal = Callable[[list[tuple[bytes, bytes]]], Problem | None]


class LiveConnection(asyncio.Protocol):
    """One connection from its request to upgrade on."""

    def __init__(self, hub: Topics, refusal: Refusal, **_: Any) -> None:
        """`refusal(headers)` gives the problem with a caller, None if it is allowed; the rest is uvicorn's."""
        self._hub = hub
        self._refusal = refusal
        self._protocol = ServerProtocol(max_size=MOST_REQUEST_BYTES)
        self._transport: asyncio.Transport | None = None
        self._client: LiveClient | None = None
        self._parts: list[bytes] = []
        self._is_text = False
        self._unanswered = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._outbox = hub.outbox
        self._unsent: list[bytes] = []
        self._has_too_many = self._is_paused = False
        self._is_open = self._is_ended = False
        self._unread = b""
        self._file = -1
        """The descriptor of the open socket."""
        self.wants_text = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by uvicorn."""
        # uvloop's transports are no subclass of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self._is_open = False
        if self._deadline is not None:
            self._deadline.cancel()
        self._forget_client()

    def pause_writing(self) -> None:
        """Called by the transport when the client does not take what is sent."""
        self._is_paused = True
        if self._client is not None and self._transport is not None:
            # Its requests wait too: each may have an answer.
            self._transport.pause_reading()
            self._client.pause()

    def resume_writing(self) -> None:
        """Called by the transport when it has."""
        self._is_paused = False
        if self._client is not None and self._transport is not None and self._protocol.state is State.OPEN:
            self._read_some()
            self._client.resume()

    def data_received(self, data: bytes) -> None:
        """Read what the client sent."""
        self._unanswered = 0
        if self._is_ended and len(data) > _MOST_CLOSE_BYTES:
            return
        self._unread += data
        if len(self._unread) == len(data):
            self._read_some()

    def eof_received(self) -> None:
        """Called by the transport when the client sends no more."""
        while self._unread:
            self._read_slice()
        self._protocol.receive_eof()
        self._flush()

    def write(self, message: Message) -> None:
        """Send a message as it was encoded for all, together with others of the same turn of the loop."""
        unsent = self._unsent
        unsent.append(message.text if self.wants_text else message.binary)
        if len(unsent) == 1:
            self._outbox.add(self)
        elif len(unsent) == _MOST_MESSAGES and self._client is not None:
            self._has_too_many = True
            self._client.pause()

    def flush(self) -> None:
        """Write the messages that wait."""
        unsent, self._unsent = self._unsent, []
        if not unsent or not self._is_open or self._transport is None:
            return
        data = unsent[0] if len(unsent) == 1 else b"".join(unsent)
        sent = 0
        if not self._transport.get_write_buffer_size():
            try:
                sent = os.write(self._file, data)
            except BlockingIOError:
                pass
            except OSError:
                self._transport.abort()
                return
        if sent < len(data):
            self._transport.write(data[sent:])
        if self._has_too_many:
            self._has_too_many = False
            if not self._is_paused:
                self.resume_writing()

    def ping(self) -> bool:
        """Ask for a sign of life; False if nothing has come since so many pings before."""
        if self._unanswered >= _MOST_UNANSWERED:
            return False
        if self._protocol.state is State.OPEN:
            self._unanswered += 1
            self._unsent.append(PING)
            if len(self._unsent) == 1:
                self._outbox.add(self)
        return True

    def close(self, code: int, reason: str) -> None:
        """End the connection with a code and a reason; at once where the client does not."""
        self.flush()
        self._is_ended = True
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
        self._forget_client()
        self._abort_later()

    def _read_some(self) -> None:
        """Read a little; the rest after other work of the gateway has had its turn."""
        if self._transport is None or self._transport.is_closing() or self._is_paused:
            return
        if self._unread:
            self._read_slice()
            self._flush()
        if self._transport.is_closing() or self._is_paused:
            return
        if self._unread:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_some)
        else:
            self._transport.resume_reading()

    def _read_slice(self) -> None:
        self._protocol.receive_data(self._unread[:_SLICE_BYTES])
        self._unread = self._unread[_SLICE_BYTES:]
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._accept(event)
            elif self._protocol.state is State.OPEN:
                self._on_frame(event)
        if self._is_ended:
            self._unread = b""

    def _accept(self, request: Request) -> None:
        address = urlsplit(request.path)
        headers = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.raw_items()
        ]
        formats = parse_qs(address.query).get("format", ["msgpack"])
        problem = self._refusal(headers)
        if problem is None and address.path != PATH:
            problem = Problem(NOT_FOUND, f"path: expected {PATH}, was {address.path[:200]}")
        if problem is None and formats not in (["msgpack"], ["json"]):
            problem = Problem(USAGE, f"format: expected msgpack or json, was {formats[0][:80]!r}")
        if problem is None and len(self._hub.clients) >= MOST_CLIENTS:
            problem = Problem(
                BUSY, f"sockets: expected at most {MOST_CLIENTS:,}, was one more", "Retry later."
            )
        if problem is None:
            response = self._protocol.accept(request)
        else:
            body = bytes(problem.response().body).decode()
            response = self._protocol.reject(problem.type.status, body)
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/problem+json"
        self._protocol.send_response(response)
        if self._protocol.state is State.OPEN:
            self._open(formats == ["json"])

    def _open(self, wants_text: bool) -> None:
        assert self._transport is not None
        self.wants_text = wants_text
        self._transport.set_write_buffer_limits(high=_MOST_UNSENT)
        handle = self._transport.get_extra_info("socket")
        self._file, self._is_open = handle.fileno(), True
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._client = LiveClient(self._hub, self)

    def _on_frame(self, event: Any) -> None:
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._parts, self._is_text = [bytes(event.data)], event.opcode is Opcode.TEXT
        elif event.opcode is Opcode.CONT:
            self._parts.append(bytes(event.data))
        else:
            return
        if not event.fin:
            return
        parts, self._parts = self._parts, []
        if not self._is_text:
            self.close(1003, "expected requests as JSON text, was a binary message")
        elif self._client is not None:
            self._client.receive(b"".join(parts))

    def _flush(self) -> None:
        """Write what the protocol has to say, and end the connection where it is over."""
        if self._transport is None or self._transport.is_closing():
            return
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()
        if self._protocol.state is not State.OPEN or self._protocol.close_expected():
            self._is_open, self._is_ended = False, True
            self._abort_later()

    def _forget_client(self) -> None:
        if self._client is not None:
            self._client.closed()
            self._client = None

    def _abort_later(self) -> None:
        if self._deadline is None and self._transport is not None:
            self._deadline = asyncio.get_running_loop().call_later(_CLOSE_S, self._transport.abort)
