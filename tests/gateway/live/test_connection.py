"""Sockets over a real loopback: what is refused, which close code says why, and a reader that stalls."""

from __future__ import annotations

import asyncio
import json
import socket
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from gateway.live import client as live_client
from gateway.live.bars import BarSeries, BarsTopic
from gateway.live.client import LiveClient
from gateway.live.connection import LiveConnection
from gateway.live.outbox import Outbox
from gateway.live.requests import Subscribe
from gateway.live.topic import Topic
from gateway.rest.problems import FOREIGN_PAGE, Problem
from tapehouse.clock import MINUTE
from tapehouse.errors import UnknownSeriesError
from tapehouse.stream.live_messages import BAR_FIELDS, BARS, ERROR, PONG, SLOW, SUBSCRIBED, UNSUBSCRIBED
from tests.waiting import DEADLINE_S, until

_SUBSCRIBE = {"op": "subscribe", "id": 1, "channel": "bars", "venue": "V", "symbol": "A", "interval": "1m"}


class _Hub:
    """Topics of any symbol but one."""

    def __init__(self) -> None:
        self.clients: set[LiveClient] = set()
        self.outbox = Outbox()
        self.topics: dict[str, BarsTopic] = {}
        self.n = 1
        self.url = ""

    async def topic(self, request: Subscribe) -> Topic:
        if request.symbol == "NONE":
            raise UnknownSeriesError("no NONE of V; near: A", remedy="Look.")
        if request.symbol not in self.topics:
            key = ("V", request.symbol, "1m", False)
            self.topics[request.symbol] = BarsTopic(len(self.topics), 1, 1, key, BarSeries(1), self._older)
        return self.topics[request.symbol]

    async def _older(self, end_ns: int, count: int) -> list[Any]:
        return []

    def publish(self, minutes: range, close: float) -> None:
        """Change bars of A."""
        self.n += 1
        values = dict.fromkeys(BAR_FIELDS, 1) | {"close": close}
        row = tuple(values[name] for name in BAR_FIELDS)
        topic = self.topics["A"]
        topic.publish_changes(topic.series.apply([(at * MINUTE, row) for at in minutes], self.n), self.n)


def _refusal(headers: list[tuple[bytes, bytes]]) -> Problem | None:
    origin = dict(headers).get(b"origin", b"")
    return Problem(FOREIGN_PAGE, "a page of another site") if origin == b"http://other.example" else None


@pytest.fixture
async def hub() -> AsyncIterator[_Hub]:
    hub = _Hub()
    server = await asyncio.get_running_loop().create_server(
        lambda: LiveConnection(hub, _refusal), "127.0.0.1", 0
    )
    hub.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/live"
    yield hub
    server.close()
    for client in list(hub.clients):
        client.close(1001, "the test ends")
    await until(lambda: not hub.clients, "all connections to end")
    await server.wait_closed()


async def _said(connection: ClientConnection) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return msgpack.unpackb(await connection.recv(decode=False))


async def _close_code(connection: ClientConnection) -> int | None:
    async with asyncio.timeout(DEADLINE_S):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed:
            return connection.close_code


async def test_a_subscription_a_ping_and_errors_are_answered(hub: _Hub) -> None:
    async with connect(hub.url) as connection:
        for request in (
            _SUBSCRIBE,
            {**_SUBSCRIBE, "id": 2},
            {**_SUBSCRIBE, "id": 3, "symbol": "NONE"},
            {"op": "ping", "sent": "x"},
            {"op": "unsubscribe", "id": 9},
        ):
            await connection.send(json.dumps(request))
        await connection.send("junk")
        found = [await _said(connection) for _ in range(6)]
        errors = {message[1]: message[2:] for message in found if message[0] == ERROR}
        assert [SUBSCRIBED, 1, 0, 1, 1, False, 4, [], "V"] in found
        assert [PONG, "x"] in found
        assert errors[2][1].startswith("channel: the same is subscribed to with the id 1")
        assert errors[3][1:] == ["no NONE of V; near: A", "Look.", "unknown-series"]
        assert errors[None][1].startswith("request: expected a JSON object")
        await connection.send('{"op": "unsubscribe", "id": 1}')
        assert await _said(connection) == [UNSUBSCRIBED, 1]
    await until(lambda: not hub.clients, "the client to be forgotten")


@pytest.mark.parametrize(("sent", "code"), [("x" * 2**20, 1009), (b"\x00", 1003)], ids=["long", "binary"])
async def test_what_no_request_may_be_ends_the_connection(hub: _Hub, sent: str | bytes, code: int) -> None:
    async with connect(hub.url, compression=None) as connection:
        await connection.send(sent)
        assert await _close_code(connection) == code


_BROKEN = {
    "compressed": Frame(Opcode.TEXT, zlib.compress(bytes(10_000_000))).serialize(mask=True),
    "two beginnings": 2 * Frame(Opcode.TEXT, b"{", fin=False).serialize(mask=True),
    "no mask": Frame(Opcode.TEXT, b"{}").serialize(mask=False),
}
_COMPRESSED = 0x40


@pytest.mark.parametrize("name", _BROKEN)
async def test_frames_that_no_client_may_send_end_the_connection(hub: _Hub, name: str) -> None:
    sent = bytearray(_BROKEN[name])
    if name == "compressed":
        sent[0] |= _COMPRESSED
    async with connect(hub.url, compression=None) as connection:
        connection.transport.write(sent)
        assert await _close_code(connection) == 1002


async def test_ten_thousand_subscriptions_at_once_end_the_connection_before_they_cost_anything(
    hub: _Hub,
) -> None:
    requests = (json.dumps({**_SUBSCRIBE, "id": at, "symbol": f"S{at}"}).encode() for at in range(10_000))
    async with connect(hub.url, compression=None) as connection:
        connection.transport.write(
            b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in requests)
        )
        assert await _close_code(connection) == 1008
        assert (connection.close_reason or "").startswith("expected at most 500 subscriptions")
    assert len(hub.topics) <= live_client.MOST_SUBSCRIPTIONS
    assert all(not topic.subscriptions for topic in hub.topics.values())


async def test_too_many_subscriptions_or_requests_end_the_connection(
    hub: _Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(hub.url) as connection:
        for number in range(live_client.MOST_SUBSCRIPTIONS + 1):
            await connection.send(json.dumps({**_SUBSCRIBE, "id": number, "symbol": f"S{number}"}))
        assert await _close_code(connection) == 1008
    assert all(not topic.subscriptions for topic in hub.topics.values())
    monkeypatch.setattr(live_client, "_MOST_REQUESTS_S", 20)
    async with connect(hub.url) as connection:
        for _ in range(100):
            await connection.send('{"op": "ping"}')
        assert await _close_code(connection) == 1008


async def test_another_origin_path_or_format_is_refused(hub: _Hub) -> None:
    with pytest.raises(InvalidStatus) as raised:
        await connect(hub.url, origin="http://other.example")  # type: ignore[arg-type]
    assert raised.value.response.status_code == 403
    assert b"a page of another site" in (raised.value.response.body or b"")
    for url, status in ((hub.url + "/x", 404), (hub.url + "?format=xml", 400)):
        with pytest.raises(InvalidStatus) as raised:
            await connect(url)
        assert raised.value.response.status_code == status
    assert not hub.clients


async def test_a_reader_that_stalls_gets_the_newest_state_and_nobody_else_is_disturbed(hub: _Hub) -> None:
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    port = int(hub.url.rpartition(":")[2].partition("/")[0])
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", port))
    async with connect(hub.url) as other, connect(hub.url, sock=small, max_queue=1) as stalled:
        for connection in (other, stalled):
            await connection.send(json.dumps(_SUBSCRIBE))
            assert (await _said(connection))[0] == SUBSCRIBED
        rounds = 0
        while not any(client.is_slow for client in hub.clients):
            rounds += 1
            hub.publish(range(500), rounds)
            assert (await _said(other))[:3] == [BARS, 0, hub.n]
        for _ in range(3):
            rounds += 1
            hub.publish(range(500), rounds)
            assert (await _said(other))[:3] == [BARS, 0, hub.n]
        received = [await _said(stalled)]
        while received[-1][:3] != [BARS, 0, hub.n]:
            received.append(await _said(stalled))
        assert [message[0] for message in received].count(SLOW) == 1
        assert len(received) - 1 < rounds
        assert received[-1][3] == [[at * 60, 255, *_whole(rounds)] for at in range(500)]


def _whole(close: int) -> list[Any]:
    return [close * 10**4, 1, 1, 10**4, 10**4, 10**4, 1, 1]


async def test_a_client_that_takes_nothing_for_too_long_is_cut_off(
    hub: _Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_client, "_SLOW_S", 0.05)
    async with connect(hub.url, max_queue=1) as stalled:
        await stalled.send(json.dumps(_SUBSCRIBE))
        assert (await _said(stalled))[0] == SUBSCRIBED
        (client,) = hub.clients
        close = 0
        while not client.is_slow:
            close += 1
            hub.publish(range(2_000), close)
            await asyncio.sleep(0)

        def is_cut() -> bool:
            client.check_speed()
            return not hub.clients

        await until(is_cut, "the client to be cut off")
