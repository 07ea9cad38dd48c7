"""Replay as a venue: recordings served from a local websocket and REST server in the venue's own format.

GET /<market>            what was done so far, JSON
GET /<market>/<path>     the venue's websocket and REST paths

A market begins when all streams of its recording are subscribed to, or five seconds after the first. At a
multiple of the recording's own time a message that nobody listens to is lost, as at the venue; flat out it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import ClientError, WSMsgType, web

from ingest.feeds.dialect import Dialect, Past, Recorded
from ingest.feeds.replay_faults import Faults
from ingest.feeds.venue import Stream

_GATHER_S = 5
_TURN = 64
"""Messages sent flat out before others have their turn."""
_log = structlog.get_logger()


@dataclass
class _Listener:
    """One connection: its transport, and what it asked for."""

    transport: asyncio.Transport | None
    streams: set[Stream] = field(default_factory=set)


class Market:
    """One recording on its way."""

    def __init__(
        self,
        dialect: Dialect,
        streams: frozenset[Stream],
        recording: Iterable[Recorded],
        speed: float | None,
        faults: Faults,
    ) -> None:
        """`speed` is a multiple of the recording's own time, None for flat out."""
        self.dialect = dialect
        self.past = Past()
        self.done = asyncio.Event()
        """All of the recording was played."""
        self.sent: Counter[str] = Counter()
        """Messages by kind that were sent whole to somebody."""
        self._streams = streams
        self._recording = recording
        self._speed = speed
        self.faults = faults
        self._listeners: dict[web.WebSocketResponse, _Listener] = {}
        self._subscribed = asyncio.Condition()

    async def play(self) -> None:
        """Play the recording from its beginning to its end."""
        await self._gather()
        loop = asyncio.get_running_loop()
        began, first_ns, lost = loop.time(), 0, 0
        for number, item in enumerate(self._recording):
            first_ns = first_ns or item.at_ns
            if self._speed is None:
                if number % _TURN == 0:
                    await asyncio.sleep(0)
            elif (wait := began + (item.at_ns - first_ns) / 1e9 / self._speed - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._remember(item)
            fault = self.faults.at(number, item)
            if fault is not None and fault.kind == "cut":
                lost = fault.count
                await self._cut()
            if lost or item.snapshot:
                lost -= not item.snapshot
                continue
            if fault is None:
                await self._send(item.stream, item.message)
            elif fault.kind == "stall":
                await asyncio.sleep(fault.seconds)
                await self._send(item.stream, item.message)
            else:
                for message in fault.messages:
                    await self._send(item.stream, message)
        self.done.set()
        _log.info("replay is at its end", market=self.dialect.name, sent=dict(self.sent))

    def view(self) -> dict[str, Any]:
        """What was done so far."""
        return {
            "market": self.dialect.name,
            "done": self.done.is_set(),
            "sent": dict(self.sent),
            "faults": [
                {"kind": fault.kind, "number": fault.number, "count": fault.count}
                for fault in self.faults.done
            ],
        }

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """One connection from its beginning to its end."""
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        self._listeners[socket] = _Listener(request.transport)
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._command(socket, message.data)
        finally:
            self._listeners.pop(socket, None)
        return socket

    async def _command(self, socket: web.WebSocketResponse, data: str | bytes) -> None:
        streams, answers = self.dialect.subscribed(data.encode() if isinstance(data, str) else data)
        for answer in answers:
            await socket.send_frame(answer, WSMsgType.TEXT)
        async with self._subscribed:
            if socket in self._listeners:
                self._listeners[socket].streams.update(streams)
                self._subscribed.notify_all()

    async def _gather(self) -> None:
        """Wait for the first listener, and a while for the others."""
        async with self._subscribed:
            await self._subscribed.wait_for(self._heard)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_S):
                    await self._subscribed.wait_for(lambda: self._streams <= self._heard())

    def _heard(self) -> set[Stream]:
        return set().union(*(listener.streams for listener in self._listeners.values()))

    def _remember(self, item: Recorded) -> None:
        if item.snapshot:
            self.past.books[item.stream.symbol] = item.message
        elif item.stream.kind == "trades":
            self.past.remember(item.stream.symbol, self.dialect.trade_id(item.message), item.message)

    async def _send(self, stream: Stream, message: bytes) -> None:
        """Send to all who asked for the stream; flat out wait until somebody has."""
        while True:
            listeners = [socket for socket, heard in self._listeners.items() if stream in heard.streams]
            sent = False
            for socket in listeners:
                try:
                    await socket.send_frame(message, WSMsgType.TEXT)
                    sent = True
                except (ClientError, OSError):
                    self._listeners.pop(socket, None)
            if sent:
                self.sent[stream.kind] += 1
            if sent or self._speed is not None or stream not in self._streams:
                return
            async with self._subscribed:
                await self._subscribed.wait_for(lambda: stream in self._heard())

    async def _cut(self) -> None:
        """Break all connections without a word."""
        for listener in self._listeners.values():
            if listener.transport is not None:
                listener.transport.abort()
        self._listeners.clear()


class Replay:
    """The server of some markets."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self.markets: Mapping[str, Market] = {market.dialect.name: market for market in markets}
        self._failed: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve and play; the port, which is a free one where 0 was asked for."""
        app = web.Application()
        app.router.add_get("/{market}", self._view)
        app.router.add_get("/{market}/{path:.*}", self._get)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            async with asyncio.TaskGroup() as tasks:
                playing = [tasks.create_task(market.play()) for market in self.markets.values()]
                yield int(runner.addresses[0][1])
                for task in playing:
                    task.cancel()
        finally:
            await runner.cleanup()

    async def _view(self, request: web.Request) -> web.Response:
        return web.json_response(self._market(request).view())

    async def _get(self, request: web.Request) -> web.StreamResponse:
        market = self._market(request)
        path = "/" + request.match_info["path"]
        if path == market.dialect.path:
            return await market.listen(request)
        answer = market.dialect.answer(path, request.query, market.past)
        if answer is None:
            return web.Response(status=503, text="nothing yet", headers={"Retry-After": "1"})
        return web.Response(body=answer, content_type="application/json")

    def _market(self, request: web.Request) -> Market:
        name = request.match_info["market"]
        if name not in self.markets:
            raise web.HTTPNotFound(text=f"expected a market of {' '.join(self.markets)}, was {name}")
        return self.markets[name]
