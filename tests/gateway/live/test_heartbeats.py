"""Heartbeats: each client gets one every few seconds, and those of many clients are spread over that time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import msgpack
import pytest

from gateway.last_prices import LastPrices
from gateway.live import hub as hub_module
from gateway.live.client import LiveClient
from gateway.live.hub import Hub
from gateway.live.message import Message
from tapehouse.stream.live_messages import HEARTBEAT
from tests.broker import Broker
from tests.gateway.live.receiving import payload
from tests.ingest.barmaker.livebars import connected
from tests.waiting import until


class _Socket:
    """Notes the times of heartbeats, of the loop's clock; tests/gateway/live/test_connection.py has real ones."""

    def __init__(self) -> None:
        self.heartbeats: list[float] = []
        self.closed: list[tuple[int, str]] = []
        self.answers = True

    def write(self, message: Message) -> None:
        assert msgpack.unpackb(payload(message))[0] == HEARTBEAT
        self.heartbeats.append(asyncio.get_running_loop().time())

    def ping(self) -> bool:
        return self.answers

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))


@asynccontextmanager
async def _hub(broker: Broker) -> AsyncIterator[Hub]:
    async with connected(broker.settings, "gateway") as bus:
        hub = Hub(bus, LastPrices(bus), None)  # type: ignore[arg-type]  # no client asks for a history
        task = asyncio.create_task(hub.run())
        try:
            yield hub
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_every_client_gets_them_and_one_that_answers_no_ping_is_closed(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "HEARTBEAT_S", 0.5)
    async with _hub(broker) as hub:
        sockets = [_Socket() for _ in range(120)]
        clients = [LiveClient(hub, socket) for socket in sockets]
        sockets[7].answers = False
        await until(lambda: all(len(socket.heartbeats) >= 3 for socket in sockets), "three heartbeats each")
        assert sockets[7].closed[0] == (4001, "no answer to a ping")
        assert not any(socket.closed for socket in sockets if socket.answers)
        clients[0].closed()
        before = len(sockets[0].heartbeats)
        await until(lambda: len(sockets[1].heartbeats) >= 6, "more heartbeats of another client")
        assert len(sockets[0].heartbeats) == before


async def test_those_of_many_clients_do_not_come_at_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "HEARTBEAT_S", 0.5)
    async with _hub(broker) as hub:
        sockets = [_Socket() for _ in range(200)]
        for socket in sockets:
            LiveClient(hub, socket)
        await until(lambda: all(socket.heartbeats for socket in sockets), "a heartbeat each")
        turns = sorted({socket.heartbeats[0] for socket in sockets})
        # Four clients are told in each turn; their writes are within a moment, those of other turns are not.
        groups = 1 + sum(later - earlier > 0.002 for earlier, later in pairwise(turns))
        assert groups >= 25
