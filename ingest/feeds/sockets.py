"""Websockets of a venue: connected, subscribed, replaced before the venue cuts them, and again after a loss.

What they bring goes into one `Inbox`; when it is full, reading stops, and the venue is told so by TCP.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
import structlog

from ingest.feeds.parsed import Message
from ingest.feeds.venue import Stream, Venue

_CONNECT_S = 10
_PING_S = 15.0
_MESSAGE_BYTES = 16 * 2**20
_BACK_OFF_S = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60)
_STABLE_S = 5
_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
_RENEW_SHARE = 0.95
"""Of a connection's life, after which the next one is made ready."""
_Socket = aiohttp.ClientWebSocketResponse[bool]
_log = structlog.get_logger()


class Inbox:
    """Messages on their way from the sockets to the feed, in the order they were received."""

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._messages: list[Message] = []
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.full = False
        """Sockets wait for the feed."""
        self.received = 0
        """Messages put in so far."""
        self.taken = 0
        """Messages taken out so far."""

    async def put(self, message: Message) -> None:
        """Add a message; waits while there are too many."""
        while len(self._messages) >= self._at_most:
            self.full = True
            self._room.clear()
            await self._room.wait()
        self._messages.append(message)
        self.received += 1
        if not self._filled.is_set():
            self._filled.set()

    async def filled(self, within_s: float) -> bool:
        """Wait for the first message; whether there is one."""
        try:
            async with asyncio.timeout(within_s):
                await self._filled.wait()
        except TimeoutError:
            return False
        return True

    def __len__(self) -> int:
        return len(self._messages)

    def take(self, at_most: int) -> list[Message]:
        """The first messages; makes room."""
        taken = self._messages[:at_most]
        self.taken += len(taken)
        self._messages = self._messages[at_most:]
        if not self._messages:
            self._filled.clear()
        self.full = False
        self._room.set()
        return taken


@dataclass(frozen=True)
class Times:
    """`silence_s` without a message and a connection is replaced; the old one goes on for `overlap_s`."""

    silence_s: float
    overlap_s: float
    pace: float = 1
    """A factor of the pauses before connecting again."""


class Line:
    """The connection that brings some streams, and its successors."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        venue: Venue,
        socket: str,
        streams: Sequence[Stream],
        inbox: Inbox,
        times: Times,
        lost: Callable[[Sequence[Stream], str], None],
        found: Callable[[Sequence[Stream]], None],
    ) -> None:
        """`lost` is told when no connection brings the streams any more, `found` when one does again."""
        self._session = session
        self._venue = venue
        self._url = venue.url(socket)
        self.streams = tuple(streams)
        self._inbox = inbox
        self._times = times
        self._lost = lost
        self._found = found
        self._open: set[int] = set()
        self._begun = 0
        self._heard_at: dict[int, float] = {}
        self._opened = asyncio.Event()
        self.detail = "connecting"
        """What is wrong; empty while messages come."""

    @property
    def up(self) -> bool:
        """A connection stands and is subscribed."""
        return bool(self._open)

    async def run(self) -> None:
        """Keep the streams coming until cancelled."""
        failures = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                began = time.monotonic()
                leaving = asyncio.Event()
                self._begun += 1
                holding = tasks.create_task(self._hold(self._begun, leaving))
                watching = tasks.create_task(leaving.wait())
                await asyncio.wait((holding, watching), return_when=asyncio.FIRST_COMPLETED)
                watching.cancel()
                if not holding.done():
                    continue  # it goes on beside its successor
                failures = 0 if time.monotonic() - began > _STABLE_S else failures + 1
                pause_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
                await asyncio.sleep(pause_s * self._times.pace * random.uniform(0.5, 1))  # noqa: S311 - not all at once

    async def _hold(self, number: int, leaving: asyncio.Event) -> None:
        """One connection from its beginning to its end; sets `leaving` when a successor should begin."""
        reason = ""
        try:
            async with asyncio.timeout(_CONNECT_S):
                socket = await self._session.ws_connect(
                    self._url, heartbeat=_PING_S, max_msg_size=_MESSAGE_BYTES, decode_text=False
                )
            beside = [
                asyncio.create_task(self._subscribe(socket, number)),
                asyncio.create_task(self._watch(socket, number, leaving)),
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
        """Ask for the streams, as fast as the venue allows, while the first messages come in already."""
        for place, command in enumerate(self._venue.commands(self.streams)):
            if place:
                await asyncio.sleep(1 / self._venue.commands_per_s)
            await socket.send_str(command)
        self._open.add(number)
        self._opened.set()
        self.detail = ""
        if len(self._open) == 1:
            self._found(self.streams)

    def _closed(self, number: int, reason: str) -> None:
        """A connection is at its end; without a reason because the feed is."""
        self._heard_at.pop(number, None)
        if number in self._open:
            self._open.remove(number)
            if not self._open:
                self.detail = f"disconnected: {reason}"
                self._lost(self.streams, "disconnected")
        elif not self._open:
            self.detail = f"{self._url}: {reason}"
        if reason and not self._open:
            _log.warning("venue lost", venue=self._venue.name, streams=len(self.streams), reason=reason)

    async def _receive(self, socket: _Socket, number: int) -> str:
        """Take messages until the connection ends; why it ended."""
        while True:
            message = await socket.receive()
            if message.type not in _DATA:
                return f"closed with {socket.close_code}" if socket.close_code else "it broke"
            self._heard_at[number] = time.monotonic()
            await self._inbox.put((time.time_ns(), message.data))

    async def _watch(self, socket: _Socket, number: int, leaving: asyncio.Event) -> None:
        """Ask for a successor in time, and end this connection when that one has taken over."""
        life_s = self._venue.lifetime_s
        self._heard_at[number] = began = time.monotonic()
        renew_at = began + life_s * _RENEW_SHARE if life_s else math.inf
        while True:
            ends = min(self._heard_at[number] + self._times.silence_s, renew_at)
            if ends <= time.monotonic():
                break
            await asyncio.sleep(ends - time.monotonic())
        _log.info("connection is replaced", venue=self._venue.name, renewed=ends == renew_at)
        if self._venue.overlaps:
            leaving.set()
            while max(self._open, default=0) <= number:
                self._opened.clear()
                await self._opened.wait()
            await asyncio.sleep(self._times.overlap_s)
        await socket.close()


def spread(streams: Sequence[Stream], at_most: int) -> list[tuple[Stream, ...]]:
    """Streams by connection."""
    return [tuple(streams[start : start + at_most]) for start in range(0, len(streams), at_most)]
