"""Requests: what is tried again, what is not, and what a broken gateway looks like."""

from __future__ import annotations

import gzip
import pickle
import socket
from http.server import BaseHTTPRequestHandler

import pytest

from tapehouse.client.transport import StreamedResponse, Transport, encoding_for
from tapehouse.errors import ConnectError, NaiveTimeError, TapehouseError, UsageError
from tests.tapehouse.client.played import answering, hanging_up, playing, refusing, saying, streaming


def _body(answer: StreamedResponse) -> bytes:
    with answer:
        return b"".join(iter(lambda: answer.read(1000), b""))


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_an_answer_is_read_and_its_connection_used_again() -> None:
    ports = []

    def act(to: BaseHTTPRequestHandler) -> None:
        ports.append(to.client_address[1])
        saying({"a": 1})(to)

    with playing(act) as gateway:
        transport = Transport(gateway.url)
        assert transport.json("/v1/a") == transport.json("/v1/a") == {"a": 1}
        transport.close()
    assert ports[0] == ports[1]


def test_parameters_are_repeated_and_left_out_and_escaped() -> None:
    with playing(saying({})) as gateway:
        transport = Transport(gateway.url + "/below/")
        transport.json("/v1/a", {"symbol": ["A&B", "Ä/€"], "start": None, "limit": 5, "columns": []})
        transport.close()
    assert gateway.paths == ["/below/v1/a?symbol=A%26B&symbol=%C3%84%2F%E2%82%AC&limit=5"]


def test_where_nothing_listens_the_error_says_what_starts_it() -> None:
    transport = Transport(f"http://127.0.0.1:{_free_port()}", "tapehouse up --home there")
    with pytest.raises(ConnectError, match="does not answer: Connection refused") as raised:
        transport.json("/v1/catalog")
    assert "`tapehouse up --home there`" in raised.value.remedy
    assert not transport.answers()


def test_a_connection_lost_before_any_byte_is_tried_again() -> None:
    with playing(hanging_up, hanging_up, saying([7])) as gateway:
        transport = Transport(gateway.url)
        assert transport.json("/v1/catalog") == [7]
        transport.close()
    assert len(gateway.paths) == 3


def test_a_gateway_that_never_says_a_byte_is_given_up() -> None:
    with playing(hanging_up) as gateway:
        transport = Transport(gateway.url)
        with pytest.raises(ConnectError, match="does not answer"):
            transport.json("/v1/catalog")
        transport.close()
    assert len(gateway.paths) == 4


def test_a_gateway_that_says_when_to_come_again_is_asked_again() -> None:
    away = refusing(503, "away", "questdb: away", Retry_After="0")
    with playing(away, away, saying([7])) as gateway:
        transport = Transport(gateway.url)
        assert transport.json("/v1/catalog") == [7]
        transport.close()
    assert len(gateway.paths) == 3


@pytest.mark.parametrize(
    "headers", [{}, {"Retry_After": "3600"}, {"Retry_After": "Sat, 1 Jan 2028 00:00:00 GMT"}]
)
def test_otherwise_a_store_that_is_away_is_an_error_at_once(headers: dict[str, str]) -> None:
    with playing(refusing(503, "away", "questdb: away", "Look at its log.", **headers)) as gateway:
        transport = Transport(gateway.url)
        with pytest.raises(ConnectError, match="questdb: away") as raised:
            transport.json("/v1/catalog")
        transport.close()
    assert raised.value.remedy == "Look at its log."
    assert len(gateway.paths) == 1


def test_a_part_that_was_read_is_never_asked_for_again() -> None:
    with playing(streaming(b"x" * 5000, ended=False), saying({})) as gateway:
        transport = Transport(gateway.url)
        with pytest.raises(ConnectError, match="the answer was truncated") as raised:
            _body(transport.get("/v1/trades"))
        transport.close()
    assert len(gateway.paths) == 1
    assert raised.value.remedy.startswith("Ask again")
    assert raised.value.message == "gateway: the answer was truncated: the connection was closed"


def test_a_gateway_that_has_answered_is_waited_for_while_it_starts_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tapehouse.client.transport.time.sleep", pauses.append)
    with playing(saying([1]), *[hanging_up] * 6, saying([7])) as gateway:
        transport = Transport(gateway.url)
        assert [transport.json("/v1/catalog"), transport.json("/v1/catalog")] == [[1], [7]]
        transport.close()
    assert sum(pauses) > 10


def test_a_transport_can_be_pickled() -> None:
    with playing(saying([7])) as gateway:
        one = Transport(gateway.url, "tapehouse up --home there")
        one.json("/v1/catalog")
        other = pickle.loads(pickle.dumps(one))
        assert other.json("/v1/catalog") == [7]
        for transport in (one, other):
            transport.close()


def test_an_answer_shorter_than_it_said_is_an_error() -> None:
    def act(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", "100")
        to.end_headers()
        to.wfile.write(b"x" * 99)
        to.close_connection = True

    with playing(act) as gateway:
        transport = Transport(gateway.url)
        with pytest.raises(ConnectError, match="the answer was truncated"):
            _body(transport.get("/v1/trades"))
        transport.close()


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "usage", UsageError),
        (400, "naive-time", NaiveTimeError),
        (404, "not-found", UsageError),
        (502, "refused", TapehouseError),
        (503, "busy", ConnectError),
        (504, "of-a-newer-gateway", ConnectError),
        (500, "of-a-newer-gateway", TapehouseError),
    ],
)
def test_a_problem_is_the_error_that_it_names(status: int, kind: str, error: type[TapehouseError]) -> None:
    with playing(refusing(status, kind, "symbol: expected one", "Name it.")) as gateway:
        transport = Transport(gateway.url)
        with pytest.raises(TapehouseError, match="symbol: expected one") as raised:
            transport.get("/v1/trades")
        transport.close()
    assert type(raised.value) is error
    assert (raised.value.remedy, raised.value.fields) == ("Name it.", {"symbol": "A"})


@pytest.mark.parametrize(
    "act",
    [
        answering(500, b"<h1>Oops</h1>", "text/html"),
        answering(500, b"[1]"),
        answering(302, b"", Location="http://127.0.0.1:1/"),
        answering(204, b""),
    ],
)
def test_something_else_than_a_gateway_is_said_to_be(act: object) -> None:
    with playing(act) as gateway:  # type: ignore[arg-type]
        transport = Transport(gateway.url)
        with pytest.raises(TapehouseError, match="expected a gateway's answer, was status"):
            transport.json("/v1/catalog")
        transport.close()


def test_text_where_json_is_due_is_refused() -> None:
    with playing(answering(200, b"hello", "text/plain")) as gateway:
        transport = Transport(gateway.url)
        with pytest.raises(TapehouseError, match="expected JSON from /v1/explain"):
            transport.json("/v1/explain")
        transport.close()


@pytest.mark.parametrize(
    "url", ["", "localhost", "127.0.0.1:8000", "ftp://a", "http://", "http://a:port", "http://[::"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="url: expected"):
        Transport(url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "[::1]"])
def test_nothing_is_compressed_on_the_machine_itself(host: str) -> None:
    assert encoding_for(host) == "identity"


@pytest.mark.parametrize("host", ["10.0.0.1", "gateway.example", "[2001:db8::1]"])
def test_elsewhere_answers_are_compressed(host: str) -> None:
    assert encoding_for(host) in ("zstd", "gzip")


def test_an_answer_that_is_compressed_all_the_same_is_read() -> None:
    body = gzip.compress(b"x" * 100_000)
    with playing(answering(200, body, "text/plain", Content_Encoding="gzip")) as gateway:
        transport = Transport(gateway.url)
        assert _body(transport.get("/v1/trades")) == b"x" * 100_000
        transport.close()
    assert gateway.headers[0]["Accept-Encoding"] == "identity"


def test_an_answer_left_early_closes_its_connection_and_the_next_one_is_whole() -> None:
    with playing(streaming(b"x" * 10_000_000), saying([7])) as gateway:
        transport = Transport(gateway.url)
        with transport.get("/v1/trades") as answer:
            assert answer.read(10) == b"x" * 10
        assert transport.json("/v1/catalog") == [7]
        transport.close()
