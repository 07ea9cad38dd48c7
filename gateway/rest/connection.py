"""One HTTP connection, with bounds on their number, on the size of a request and on the time it takes to arrive."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.rest.problems import BUSY, SLOW_REQUEST, TOO_LARGE, USAGE, Problem

MAX_REQUEST_BYTES = 2**18
"""Of a request line, headers and body together; found when a piece has been read, so up to a piece (256 KB) late."""
_LINGER_S = 2.0
"""How long a refused client may read its answer: closing at once would discard it."""
MAX_TURNED_AWAY = 64
"""Connections beyond the most that are being answered so; more are closed without an answer."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection that refuses requests that are too large, and those that do not arrive in time.

    It is refused itself where there are too many: the others are not disturbed.
    """

    def __init__(
        self,
        *arguments: Any,
        request_s: float,
        max_connections: int,
        turned_away: set[BoundedConnection],
        **options: Any,
    ) -> None:
        """A request has to be complete `request_s` after it began, the first one after the connection did.

        `turned_away`: one set for all connections of a server, of those beyond `max_connections`.
        """
        super().__init__(*arguments, **options)
        self._request_s = request_s
        self._max_connections = max_connections
        self._turned_away = turned_away
        self._received = 0
        self._is_complete = False
        self._is_refused = False
        self._deadline: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start the time of the first request, or refuse one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._turn_away()
            return
        self._deadline = self.loop.call_later(self._request_s, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop_deadline()
        self._turned_away.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a piece of a request; refuse it when there is too much of it."""
        if self._is_refused:
            return
        self._received += len(data)
        self._is_complete = False
        super().data_received(data)
        if self._is_complete or self._is_refused or self.transport.is_closing():
            return
        if self._received > MAX_REQUEST_BYTES:
            self._refuse(
                Problem(
                    TOO_LARGE,
                    f"request: expected at most {MAX_REQUEST_BYTES:,} bytes with its headers, was longer",
                    "Request fewer symbols at a time.",
                )
            )
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._request_s, self._too_slow)

    def on_message_begin(self) -> None:
        """Called by the parser at the first byte of a request, also of one that follows another in one piece."""
        self._is_complete = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Called by the parser at the last byte of a request."""
        self._is_complete = True
        self._received = 0
        self._stop_deadline()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn where the bytes are not HTTP."""
        self._refuse(Problem(USAGE, f"request: expected HTTP/1.1 with a line of at most 64 KB: {msg}"))

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_answering():
            # Nothing is read from a connection that has requests enough: the time starts when it is free again.
            self._deadline = self.loop.call_later(self._request_s, self._too_slow)
            return
        self._refuse(
            Problem(SLOW_REQUEST, f"request: expected it complete within {self._request_s:g} s, was not")
        )

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _turn_away(self) -> None:
        """Answer before there is a request; the connection counts no longer."""
        self.connections.discard(self)
        if len(self._turned_away) >= MAX_TURNED_AWAY:
            self._is_refused = True
            self.transport.abort()
            return
        self._turned_away.add(self)
        self._refuse(
            Problem(
                BUSY,
                f"connections: expected at most {self._max_connections} at once, was one more",
                "Retry later, and close connections that are no longer used; the most is the setting "
                "gateway.max_connections.",
            )
        )

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem, if no answer is being sent, and end the connection."""
        self._is_refused = True
        self._stop_deadline()
        self._unset_keepalive_if_required()
        if self._is_answering():
            self.transport.abort()
            return
        response = problem.response({"connection": "close"})
        headers = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        self.transport.write(STATUS_LINE[response.status_code] + headers + b"\r\n" + bytes(response.body))
        self.transport.write_eof()
        self._deadline = self.loop.call_later(_LINGER_S, self.transport.abort)
