"""Websocket connections to a venue: subscribed, replaced before the venue closes them, and again after a loss.

All messages go into one bounded `MessageQueue`; while it is full, reading stops and TCP slows the venue down.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence

import aiohttp
import structlog

from ingest.venues.context import FeedContext
from ingest.venues.parse_result import Message
from ingest.venues.venue import VenueStream

_CONNECT_S = 10
_PING_S = 15.0
_MESSAGE_BYTES = 16 * 2**20
_BACK_OFF_S = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60)
_STABLE_S = 5
"""A connection that lasted so long ends the back-off."""
_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
_RENEW_SHARE = 0.95
"""Share of a connection's lifetime after which it is replaced."""
_Socket = aiohttp.ClientWebSocketResponse[bool]
_log = structlog.get_logger()


class MessageQueue:
    """Messages between the connections and the parser, in the order of receipt."""

    def __init__(self, max_messages: int) -> None:
        self._max_messages = max_messages
        self._messages: list[Message] = []
        self._not_empty = asyncio.Event()
        self._not_full = asyncio.Event()
        self._not_full.set()
        self.received = 0
        """Messages put in so far."""
        self.taken = 0
        """Messages taken out so far."""

    async def put(self, message: Message) -> None:
        """Add a message; waits while the queue is full."""
        while len(self._messages) >= self._max_messages:
            self._not_full.clear()
            await self._not_full.wait()
        self._messages.append(message)
        self.received += 1
        if not self._not_empty.is_set():
            self._not_empty.set()

    async def wait_for_message(self, timeout_s: float) -> bool:
        """Whether there is a message; waits up to `timeout_s` for one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._not_empty.wait()
        except TimeoutError:
            return False
        return True

    def __len__(self) -> int:
        return len(self._messages)

    def take(self, max_messages: int) -> list[Message]:
        """Remove and return the oldest messages."""
        taken = self._messages[:max_messages]
        self.taken += len(taken)
        self._messages = self._messages[max_messages:]
        if not self._messages:
            self._not_empty.clear()
        self._not_full.set()
        return taken


class StreamConnection:
    """Keeps some streams subscribed: one connection, its replacements, and reconnects."""

    def __init__(
        self,
        context: FeedContext,
        session: aiohttp.ClientSession,
        streams: Sequence[VenueStream],
        queue: MessageQueue,
        *,
        on_disconnected: Callable[[Sequence[VenueStream], str], None],
        on_connected: Callable[[Sequence[VenueStream]], None],
    ) -> None:
        """`on_disconnected` is called when no connection carries the streams, `on_connected` when one does again."""
        self._venue = context.venue
        self._settings = context.settings
        self._pace = context.overrides.pace
        self._url = context.websocket_url
        self._session = session
        self.streams = tuple(streams)
        self._queue = queue
        self._on_disconnected = on_disconnected
        self._on_connected = on_connected
        self._subscribed: set[int] = set()
        """Numbers of the connections that are open and subscribed; they rise."""
        self._count = 0
        self._received_at: dict[int, float] = {}
        self._newly_subscribed = asyncio.Event()
        self.detail = "connecting"
        """What is wrong; empty while subscribed."""

    @property
    def up(self) -> bool:
        """Whether at least one connection is open and subscribed."""
        return bool(self._subscribed)

    async def run(self) -> None:
        """Keep the streams subscribed until cancelled."""
        failures = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                began = time.monotonic()
                replace = asyncio.Event()
                self._count += 1
                connection = tasks.create_task(self._connect(self._count, replace))
                replacing = tasks.create_task(replace.wait())
                await asyncio.wait((connection, replacing), return_when=asyncio.FIRST_COMPLETED)
                replacing.cancel()
                if not connection.done():
                    continue  # it stays open until its replacement is subscribed
                failures = 0 if time.monotonic() - began > _STABLE_S else failures + 1
                pause_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
                # Jitter, so that the connections do not all come back at the same moment.
                await asyncio.sleep(pause_s * self._pace * random.uniform(0.5, 1))  # noqa: S311

    async def _connect(self, number: int, replace: asyncio.Event) -> None:
        """One connection from its beginning to its end; sets `replace` when the next one should begin."""
        reason = ""
        try:
            async with asyncio.timeout(_CONNECT_S):
                socket = await self._session.ws_connect(
                    self._url, heartbeat=_PING_S, max_msg_size=_MESSAGE_BYTES, decode_text=False
                )
            beside = [
                asyncio.create_task(self._subscribe(socket, number)),
                asyncio.create_task(self._close_when_due(socket, number, replace)),
            ]
            try:
                reason = await self._receive(socket, number)
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
                await socket.close()
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            reason = str(failure) or type(failure).__name__
        finally:
            self._closed(number, reason)

    async def _subscribe(self, socket: _Socket, number: int) -> None:
        """Subscribe as fast as the venue allows, while the first messages are received already."""
        for index, command in enumerate(self._venue.commands(self.streams)):
            if index:
                await asyncio.sleep(1 / self._venue.commands_per_s)
            await socket.send_str(command)
        self._subscribed.add(number)
        self._newly_subscribed.set()
        self.detail = ""
        if len(self._subscribed) == 1:
            self._on_connected(self.streams)

    def _closed(self, number: int, reason: str) -> None:
        """Note the end of a connection; `reason` is empty where the feed itself ends."""
        self._received_at.pop(number, None)
        if number in self._subscribed:
            self._subscribed.remove(number)
            if not self._subscribed:
                self.detail = f"disconnected: {reason}"
                self._on_disconnected(self.streams, "disconnected")
        elif not self._subscribed:
            self.detail = f"{self._url}: {reason}"
        if reason and not self._subscribed:
            _log.warning(
                "venue disconnected", venue=self._venue.name, streams=len(self.streams), reason=reason
            )

    async def _receive(self, socket: _Socket, number: int) -> str:
        """Queue messages until the connection ends; returns why it ended."""
        while True:
            message = await socket.receive()
            if message.type not in _DATA:
                return f"closed with {socket.close_code}" if socket.close_code else "connection broken"
            self._received_at[number] = time.monotonic()
            await self._queue.put((time.time_ns(), message.data))

    async def _close_when_due(self, socket: _Socket, number: int, replace: asyncio.Event) -> None:
        """Close a connection that is silent or near the end of its lifetime, after its replacement took over."""
        lifetime_s = self._venue.connection_lifetime_s
        self._received_at[number] = began = time.monotonic()
        renew_at = began + lifetime_s * _RENEW_SHARE if lifetime_s else math.inf
        while True:
            ends = min(self._received_at[number] + self._settings.silence_s, renew_at)
            if ends <= time.monotonic():
                break
            await asyncio.sleep(ends - time.monotonic())
        _log.info(
            "replacing connection",
            venue=self._venue.name,
            reason="lifetime" if ends == renew_at else "silence",
        )
        if self._venue.allows_overlap:
            replace.set()
            while max(self._subscribed, default=0) <= number:
                self._newly_subscribed.clear()
                await self._newly_subscribed.wait()
            await asyncio.sleep(self._settings.overlap_s)
        await socket.close()


def group_streams(streams: Sequence[VenueStream], max_streams: int) -> list[tuple[VenueStream, ...]]:
    """The streams of each connection."""
    return [tuple(streams[start : start + max_streams]) for start in range(0, len(streams), max_streams)]
