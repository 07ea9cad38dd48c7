"""Live iterators: one WebSocket each, connected again where it is lost, for loops with and without `async`."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self

from websockets.asyncio.client import ClientConnection as AsyncSocket
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection as Socket
from websockets.sync.client import connect

from tapehouse.client.live_following import Follower, Record
from tapehouse.client.live_records import Notice, Reconnected, Revised, Skipped, Slow
from tapehouse.client.problems import error_of
from tapehouse.client.transport import Transport
from tapehouse.errors import ConnectError
from tapehouse.stream.live_messages import HEARTBEAT_S

_SILENCE_S: Final = 3 * HEARTBEAT_S
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 3.0
_UNAVAILABLE: Final = 503
_KEPT_NOTICES: Final = 1_000
_NOTICES: Final = (Skipped, Revised, Reconnected, Slow)
_SOCKET: Final[dict[str, Any]] = {
    "compression": None,
    "proxy": None,
    "open_timeout": 10,
    # The gateway pings, and sends heartbeats.
    "ping_interval": None,
    "close_timeout": 1,
    "max_size": 2**24,
    # A loop that takes its records slowly makes the gateway leave out changes, not this process grow.
    "max_queue": 64,
}
_LOST: Final = (OSError, TimeoutError, WebSocketException, ConnectError)


@dataclass(frozen=True)
class LiveAddress:
    """Where live data comes from, and how long it is waited for."""

    transport: Transport
    away_s: float

    @property
    def url(self) -> str:
        """The WebSocket's URL."""
        return f"ws{self.transport.url.removeprefix('http')}/v1/live"


class LiveStream(Generic[Record]):
    """Records for a loop: `for record in stream`, or `async for`. Each loop has a socket of its own.

    The socket is closed where the loop ends: by `break`, an error, Ctrl-C, `close()` or the end of a `with`.

    A lost connection is made anew, with a growing pause, and the loop goes on from the last record. What the gateway
    could not send is told as a notice: `notices` has the newest 1,000, and `on_notice` is called with each. Without
    `on_notice`, skipped trades are a warning too.

    Raises in the loop: UsageError for a request that is not valid (UnknownSeriesError, which names near ones, for a
    venue or symbol that is not stored), ConnectError if the gateway stays away for `db.live.away_s` seconds.
    """

    def __init__(
        self,
        address: LiveAddress,
        follow: Callable[[], Follower[Record]],
        on_notice: Callable[[Notice], object] | None = None,
    ) -> None:
        self.notices: deque[Notice] = deque(maxlen=_KEPT_NOTICES)
        self._address = address
        self._follow = follow
        self._on_notice = on_notice
        self._closed = threading.Event()
        self._sockets: set[Socket] = set()
        self._async_sockets: set[AsyncSocket] = set()

    def __iter__(self) -> Iterator[Record]:
        follower, patience = self._follow(), _Patience(self._address)
        while not self._closed.is_set():
            try:
                with connect(self._address.url, **_SOCKET) as socket:
                    self._sockets.add(socket)
                    try:
                        yield from self._received(socket, follower, patience)
                    finally:
                        self._sockets.discard(socket)
                        # Before the end of `with`, for which the end of a loop is an error.
                        socket.close()
            except _LOST as reason:
                if not self._closed.is_set():
                    self._closed.wait(patience.pause(reason))

    async def __aiter__(self) -> AsyncIterator[Record]:
        follower, patience = self._follow(), _Patience(self._address)
        while not self._closed.is_set():
            try:
                async with connect_async(self._address.url, **_SOCKET) as socket:
                    self._async_sockets.add(socket)
                    try:
                        await socket.send(follower.connected())
                        while True:
                            async with asyncio.timeout(_SILENCE_S):
                                data = await socket.recv(decode=False)
                            for record in self._records(follower, patience, data):
                                yield record
                            for request in follower.requests():
                                await socket.send(request)
                    finally:
                        self._async_sockets.discard(socket)
                        await socket.close()
            except _LOST as reason:
                if not self._closed.is_set():
                    await asyncio.sleep(patience.pause(reason))

    def close(self) -> None:
        """End all loops over this stream that are not `async`, also from another thread."""
        self._closed.set()
        for socket in list(self._sockets):
            socket.close()

    async def aclose(self) -> None:
        """End all `async` loops over this stream."""
        self._closed.set()
        for socket in list(self._async_sockets):
            await socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _received(self, socket: Socket, follower: Follower[Record], patience: _Patience) -> Iterator[Record]:
        socket.send(follower.connected())
        while True:
            data = socket.recv(_SILENCE_S, decode=False)
            yield from self._records(follower, patience, data)
            for request in follower.requests():
                socket.send(request)

    def _records(self, follower: Follower[Record], patience: _Patience, data: bytes) -> Iterator[Record]:
        """The records of a message; its notices are told."""
        found = follower.receive(data)
        if follower.is_subscribed:
            patience.renew()
        for record in found:
            if isinstance(record, _NOTICES):
                self._tell(record)
            else:
                yield record

    def _tell(self, notice: Notice) -> None:
        self.notices.append(notice)
        if self._on_notice is not None:
            self._on_notice(notice)
        elif isinstance(notice, Skipped):
            count = "some" if notice.trades is None else f"{notice.trades:,}"
            warnings.warn(
                f"{count} trades of {notice.symbol} did not come, of seq {notice.seq_from} to {notice.seq_to}: "
                f"query them with db.trades; see `on_notice`",
                stacklevel=4,
            )


class _Patience:
    """The pauses before a connection is made anew, and when to give up."""

    def __init__(self, address: LiveAddress) -> None:
        self._address = address
        self.renew()

    def renew(self) -> None:
        """Rows come."""
        self._since = time.monotonic()
        self._pause_s = _FIRST_PAUSE_S

    def pause(self, reason: Exception) -> float:
        """Seconds to wait after a connection that failed or was lost. Raises what is not to be tried again."""
        if isinstance(reason, InvalidStatus) and reason.response.status_code != _UNAVAILABLE:
            raise _refusal(reason) from None
        if time.monotonic() - self._since > self._address.away_s:
            raise (
                reason if isinstance(reason, ConnectError) else self._address.transport.no_answer(reason)
            ) from reason
        pause = self._pause_s
        self._pause_s = min(2 * pause, _LONGEST_PAUSE_S)
        # Not all clients of a gateway that starts again at the same moment.
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _refusal(reason: InvalidStatus) -> Exception:
    """The error in the gateway's answer to a request to upgrade."""
    response = reason.response
    try:
        problem = json.loads(response.body or b"")
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"gateway: expected a WebSocket, was status {response.status_code}"}
    return error_of(problem, response.status_code)
