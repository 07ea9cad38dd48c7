"""A fake gateway on a WebSocket that a test scripts, to misbehave in ways that a real one cannot be made to."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import msgpack
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from tapehouse.client.live import Live
from tapehouse.client.transport import Transport
from tapehouse.stream.live_messages import SUBSCRIBED, TRADES

Act = Callable[[ServerConnection], object]


class LiveGateway:
    """Performs one act per connection, in order, then repeats the last."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.requests: list[dict[str, Any]] = []
        self.closed: list[int | None] = []
        """Close codes of the connections that ended."""
        self.refusals: list[tuple[int, dict[str, str]]] = []
        """Status and problem of the next answers to requests to upgrade."""
        self.all_closed = threading.Condition()
        self._server = serve(
            self._handle, "127.0.0.1", 0, compression=None, process_request=self._refuse, close_timeout=1
        )
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def live(self, away_s: float = 60.0) -> Live:
        live = Live(Transport(self.url), "V")
        live.away_s = away_s
        return live

    def until_closed(self, count: int) -> None:
        """Wait until so many connections have ended."""
        with self.all_closed:
            assert self.all_closed.wait_for(lambda: len(self.closed) >= count, 30)

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        if not self.refusals:
            return None
        status, problem = self.refusals.pop(0)
        body = json.dumps(problem).encode()
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return Response(status, HTTPStatus(status).phrase, headers, body)

    def _handle(self, connection: ServerConnection) -> None:
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        with contextlib.suppress(ConnectionClosed):
            self.requests.append(json.loads(connection.recv()))
            act(connection)
        with self.all_closed:
            self.closed.append(connection.close_code)
            self.all_closed.notify_all()


@contextlib.contextmanager
def serving(*acts: Act) -> Iterator[LiveGateway]:
    gateway = LiveGateway(*acts)
    try:
        yield gateway
    finally:
        gateway.stop()


def saying(*messages: list[Any], then: Act | None = None) -> Act:
    """Sends messages, then does something; by default it waits until the client closes."""

    def act(connection: ServerConnection) -> None:
        for message in messages:
            connection.send(msgpack.packb(message))
        (then or waiting)(connection)

    return act


def waiting(connection: ServerConnection) -> None:
    """Read until the client closes."""
    for _ in connection:
        pass


def cutting(connection: ServerConnection) -> None:
    """End the connection without a word."""
    connection.close_socket()


def subscribed(rows: Any, n: int = 1, *, number: int = 0, epoch: int = 9, resumed: bool = False) -> list[Any]:
    """SUBSCRIBED for topic 5."""
    return [SUBSCRIBED, number, 5, epoch, n, resumed, 2, rows, "V"]


def rows(*seqs: int) -> list[Any]:
    """Trades with these seqs, a second apart."""
    return [0, 0, [[seq * 10**9, seq, 100 + seq, 100, 1, 0] for seq in seqs]]


def trades(n: int, *seqs: int) -> list[Any]:
    """TRADES of topic 5."""
    return [TRADES, 5, n, *rows(*seqs)]
