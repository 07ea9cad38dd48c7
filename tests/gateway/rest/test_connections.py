"""More connections to the gateway than it takes: the new ones are refused, the others go on."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from gateway.rest.connection import MAX_TURNED_AWAY
from gateway.rest.readers import Limits
from tests.gateway.serving import application_of
from tests.waiting import DEADLINE_S

_MOST = 4
_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _connected(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port or 0), DEADLINE_S)


def _asked(connection: socket.socket) -> bytes:
    """The answer to a request on a connection that stays open."""
    connection.sendall(_REQUEST)
    answer = connection.recv(2**16)
    while not answer.endswith(b"}"):
        piece = connection.recv(2**16)
        assert piece, answer
        answer += piece
    return answer


def _ended(connection: socket.socket) -> bytes:
    """All that comes until the gateway closes the connection."""
    received = b""
    try:
        while piece := connection.recv(2**16):
            received += piece
    except ConnectionResetError:
        pass
    return received


def test_one_connection_too_many_is_a_503_and_the_others_go_on() -> None:
    with application_of(None, Limits(), max_connections=_MOST) as client, ExitStack() as opened:
        connections = [opened.enter_context(_connected(client.url)) for _ in range(_MOST)]
        for connection in connections:
            assert _asked(connection).startswith(b"HTTP/1.1 200 ")
        for sent in (b"", _REQUEST, _REQUEST[:9]):
            surplus = opened.enter_context(_connected(client.url))
            surplus.sendall(sent)
            head, _, body = _ended(surplus).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 2" in head
            assert b"application/problem+json" in head
            problem = json.loads(body)
            assert problem["type"] == "/problems/busy"
            assert problem["detail"] == f"connections: expected at most {_MOST} at once, was one more"
            assert "gateway.max_connections" in problem["remedy"]
        for connection in connections:
            assert _asked(connection).startswith(b"HTTP/1.1 200 ")
        connections.pop().close()
        deadline = time.monotonic() + DEADLINE_S
        while client.get("/healthz").status != 200:
            assert time.monotonic() < deadline, "the place of a closed connection is not free"


def test_of_a_flood_of_connections_few_are_answered_and_all_are_closed() -> None:
    with application_of(None, Limits(), max_connections=1) as client, ExitStack() as opened:
        first = opened.enter_context(_connected(client.url))
        assert _asked(first).startswith(b"HTTP/1.1 200 ")
        flood = [opened.enter_context(_connected(client.url)) for _ in range(3 * MAX_TURNED_AWAY)]
        answers = [_ended(connection) for connection in flood]
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        assert len(refused) == MAX_TURNED_AWAY
        assert answers.count(b"") == 2 * MAX_TURNED_AWAY
        assert _asked(first).startswith(b"HTTP/1.1 200 ")
