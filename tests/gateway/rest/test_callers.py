"""Who may call the gateway, and how long and large a request may be."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from gateway.rest.connection import MAX_REQUEST_BYTES
from gateway.rest.readers import Limits
from tests.gateway.serving import Client, application_of
from tests.waiting import DEADLINE_S

_CONFIGURED = "market.example"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with application_of(None, Limits(request_s=0.5), hosts=[_CONFIGURED]) as served:
        yield served


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LocalHost", "[::1]:9", _CONFIGURED, "Market.Example:443"],
)
def test_the_gateway_answers_by_its_names(client: Client, host: str) -> None:
    assert client.get("/healthz", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "evil.example@localhost",
            "10.0.0.1",
        ),
        *("", "127.0.0.1.", "localhost/", "localhost:x", "::1", "[::1", "localhost:80:80"),
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/v1/catalog", "/docs", "/openapi.json", "/nothing"])
def test_another_name_is_refused_so_that_no_site_can_point_its_own_here(
    client: Client, path: str, host: str
) -> None:
    answer = client.get(path, Host=host)
    assert (answer.status, answer.json()["type"]) == (421, "/problems/unknown-host")
    assert "gateway.hosts" in answer.json()["remedy"]


def test_a_page_of_the_gateway_or_of_a_configured_name_may_call(client: Client) -> None:
    own = client.url
    assert client.get("/healthz", Origin=own).status == 200
    assert client.get("/healthz", Host="localhost:9", Origin="http://localhost:9").status == 200
    assert client.get("/healthz", Origin=f"https://{_CONFIGURED}:8443").status == 200
    assert client.get("/healthz", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors").status == 200
    assert client.get("/healthz", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate").status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": f"http://{_CONFIGURED}.evil.example"},
        {"Origin": f"http://evil.example@{_CONFIGURED}"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_a_page_of_another_site_is_refused(client: Client, method: str, headers: dict[str, str]) -> None:
    answer = client.pool.request(method, client.url + "/v1/catalog", headers=headers)
    assert (answer.status, answer.json()["type"]) == (403, "/problems/foreign-page")


def test_the_page_of_the_documentation_loads_nothing_and_shows_every_path(client: Client) -> None:
    answer = client.get("/docs")
    text = answer.data.decode()
    assert answer.status == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for remote in ("://", "src=", "<script", "<link", "@import"):
        assert remote not in text
    for path in client.json("/openapi.json")["paths"]:
        assert f"GET {path}<" in text


def _opened(client: Client, *sent: bytes) -> socket.socket:
    """A connection on which so much was sent."""
    address = urlsplit(client.url)
    connection = socket.create_connection((address.hostname, address.port or 0), DEADLINE_S)
    for piece in sent:
        connection.sendall(piece)
    return connection


def _ended(connection: socket.socket) -> bytes:
    """All that the gateway sends until it closes the connection."""
    with connection:
        received = []
        while piece := connection.recv(2**16):
            received.append(piece)
        return b"".join(received)


def _problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    document = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {document['status']} ".encode())
    return document["status"], document["type"]


_LINE = b"GET /healthz HTTP/1.1\r\n"
_HOST = b"Host: localhost\r\n"


def test_half_a_request_is_cut_in_time(client: Client) -> None:
    halves = [b"", b"\r\n", b"G", _LINE, _LINE + _HOST + b"A: b"]
    # Answered before their second half.
    after = {
        b"405": b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 9\r\n\r\nabc",
        b"200": _LINE + _HOST + b"\r\n" + _LINE,
    }
    connections = [_opened(client, sent) for sent in (*halves, *after.values())]
    answers = [_ended(connection) for connection in connections]
    for answer, status in zip(answers[len(halves) :], after, strict=True):
        assert answer.startswith(b"HTTP/1.1 " + status)
    for answer in answers:
        assert _problem(answer[answer.index(b"HTTP/1.1 408 ") :]) == (408, "/problems/slow-request")


def test_a_request_that_comes_in_pieces_is_answered(client: Client) -> None:
    assert b'{"alive":true}' in _ended(_opened(client, _LINE, _HOST, b"Connection: close\r\n", b"\r\n"))


@pytest.mark.parametrize(
    "endless", [b"A: b\r\n", b"A" * 1000, b"A: " + b"b" * 997], ids=["headers", "name", "value"]
)
def test_headers_without_end_are_refused_and_not_kept(client: Client, endless: bytes) -> None:
    pieces = [endless * (2**16 // len(endless))] * (3 * MAX_REQUEST_BYTES // 2**16)
    if endless.startswith(b"A: bb"):
        pieces = [piece.replace(b"A: ", b"bbb") for piece in pieces]
        pieces[0] = b"A: " + pieces[0]
    assert _problem(_ended(_opened(client, _LINE + _HOST, *pieces))) == (431, "/problems/too-large")


def test_a_sender_without_end_is_cut(client: Client) -> None:
    deadline = time.monotonic() + DEADLINE_S
    with _opened(client, _LINE + _HOST) as connection, pytest.raises(ConnectionError):
        _send_until(deadline, connection)


def _send_until(deadline: float, connection: socket.socket) -> None:
    while time.monotonic() < deadline:
        connection.sendall(b"A: b\r\n" * 10_000)


def test_what_is_not_http_is_a_problem(client: Client) -> None:
    assert _problem(_ended(_opened(client, b"\x16\x03\x01 hello\r\n\r\n"))) == (400, "/problems/usage")
