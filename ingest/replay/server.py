"""Replay server: recordings served by a local websocket and REST server in the protocol of their venue.

GET /<market>            progress, as JSON
GET /<market>/<path>     the venue's websocket and REST paths

A market starts when all streams of its recording are subscribed to, or five seconds after the first subscription.
At a multiple of the recorded pace a message without a subscriber is lost, as at the venue; at full speed it waits.
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

from ingest.replay.emulator import RecordedMessage, VenueEmulator, VenueHistory
from ingest.replay.faults import FaultPlan
from ingest.venues.venue import VenueStream

_SUBSCRIPTIONS_S = 5
_YIELD_MESSAGES = 64
"""Messages sent at full speed between yields to the event loop."""
_log = structlog.get_logger()


@dataclass
class _Client:
    """One client connection and its subscriptions."""

    transport: asyncio.Transport | None
    streams: set[VenueStream] = field(default_factory=set)


class Market:
    """One recording being replayed."""

    def __init__(
        self,
        emulator: VenueEmulator,
        streams: frozenset[VenueStream],
        recording: Iterable[RecordedMessage],
        speed: float | None,
        faults: FaultPlan,
    ) -> None:
        """`speed` is a multiple of the recorded pace; None for full speed."""
        self.emulator = emulator
        self.history = VenueHistory()
        self.done = asyncio.Event()
        """Set when the whole recording was replayed."""
        self.sent: Counter[str] = Counter()
        """Messages by kind that were sent to a subscriber."""
        self._streams = streams
        self._recording = recording
        self._speed = speed
        self.faults = faults
        self._clients: dict[web.WebSocketResponse, _Client] = {}
        self._subscribed = asyncio.Condition()

    async def play(self) -> None:
        """Replay the recording once, then return."""
        await self._wait_for_subscriptions()
        loop = asyncio.get_running_loop()
        began, first_ns, lost = loop.time(), 0, 0
        for number, item in enumerate(self._recording):
            first_ns = first_ns or item.at_ns
            if self._speed is None:
                if number % _YIELD_MESSAGES == 0:
                    await asyncio.sleep(0)
            elif (wait := began + (item.at_ns - first_ns) / 1e9 / self._speed - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._add_to_history(item)
            fault = self.faults.fault_at(number, item)
            if fault is not None and fault.kind == "cut":
                lost = fault.count
                await self._abort_connections()
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
        _log.info("replay finished", market=self.emulator.name, sent=dict(self.sent))

    def status(self) -> dict[str, Any]:
        """Progress, of JSON's types."""
        return {
            "market": self.emulator.name,
            "done": self.done.is_set(),
            "sent": dict(self.sent),
            "faults": [
                {"kind": fault.kind, "number": fault.number, "count": fault.count}
                for fault in self.faults.injected
            ],
        }

    async def serve_client(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket connection until it ends."""
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        self._clients[socket] = _Client(request.transport)
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._command(socket, message.data)
        finally:
            self._clients.pop(socket, None)
        return socket

    async def _command(self, socket: web.WebSocketResponse, data: str | bytes) -> None:
        streams, answers = self.emulator.handle_command(data.encode() if isinstance(data, str) else data)
        for answer in answers:
            await socket.send_frame(answer, WSMsgType.TEXT)
        async with self._subscribed:
            if socket in self._clients:
                self._clients[socket].streams.update(streams)
                self._subscribed.notify_all()

    async def _wait_for_subscriptions(self) -> None:
        """Wait for the first subscription, and up to five seconds for the others."""
        async with self._subscribed:
            await self._subscribed.wait_for(self._subscriptions)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SUBSCRIPTIONS_S):
                    await self._subscribed.wait_for(lambda: self._streams <= self._subscriptions())

    def _subscriptions(self) -> set[VenueStream]:
        return set().union(*(client.streams for client in self._clients.values()))

    def _add_to_history(self, item: RecordedMessage) -> None:
        if item.snapshot:
            self.history.books[item.stream.symbol] = item.message
        elif item.stream.kind == "trades":
            self.history.add_trade(item.stream.symbol, self.emulator.trade_id(item.message), item.message)

    async def _send(self, stream: VenueStream, message: bytes) -> None:
        """Send to all subscribers of the stream; at full speed wait until there is one."""
        while True:
            subscribers = [socket for socket, client in self._clients.items() if stream in client.streams]
            sent = False
            for socket in subscribers:
                try:
                    await socket.send_frame(message, WSMsgType.TEXT)
                    sent = True
                except (ClientError, OSError):
                    self._clients.pop(socket, None)
            if sent:
                self.sent[stream.kind] += 1
            if sent or self._speed is not None or stream not in self._streams:
                return
            async with self._subscribed:
                await self._subscribed.wait_for(lambda: stream in self._subscriptions())

    async def _abort_connections(self) -> None:
        """Abort all connections without a close frame."""
        for client in self._clients.values():
            if client.transport is not None:
                client.transport.abort()
        self._clients.clear()


class ReplayServer:
    """Serves some markets."""

    def __init__(self, markets: Iterable[Market]) -> None:
        self.markets: Mapping[str, Market] = {market.emulator.name: market for market in markets}
        self._failed: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve and replay inside the context; yields the port, a free one where `port` is 0."""
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
        return web.json_response(self._market(request).status())

    async def _get(self, request: web.Request) -> web.StreamResponse:
        market = self._market(request)
        path = "/" + request.match_info["path"]
        if path == market.emulator.path:
            return await market.serve_client(request)
        answer = market.emulator.rest_response(path, request.query, market.history)
        if answer is None:
            return web.Response(status=503, text="nothing yet", headers={"Retry-After": "1"})
        return web.Response(body=answer, content_type="application/json")

    def _market(self, request: web.Request) -> Market:
        name = request.match_info["market"]
        if name not in self.markets:
            raise web.HTTPNotFound(text=f"expected a market of {' '.join(self.markets)}, was {name}")
        return self.markets[name]
