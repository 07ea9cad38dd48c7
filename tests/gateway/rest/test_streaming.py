"""Sending answers to clients that read, read slowly, go away, and to stores that fail or hang."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
import urllib3

from gateway.query import Query
from gateway.rest.readers import Limits
from tapehouse.errors import ConnectError, TapehouseError, UsageError
from tests.gateway.serving import Client, application_of
from tests.waiting import DEADLINE_S

_SCHEMA = pa.schema(
    [("ts_event", pa.timestamp("ns", "UTC")), ("symbol", pa.string()), ("price", pa.float64())]
)
_ROWS = 20_000
_PATH = "/v1/trades?venue=V&start=2024-01-01&symbol="


def _batch(place: int) -> pa.RecordBatch:
    times = pa.array(np.arange(_ROWS) + place * _ROWS, pa.timestamp("ns", "UTC"))
    prices = np.random.default_rng(place).random(_ROWS)
    return pa.record_batch([times, pa.array(["S"] * _ROWS), pa.array(prices)], schema=_SCHEMA)


@dataclass
class _Rows:
    """An answer whose batches come from a function of their place; it notes what is done with it."""

    make: Callable[[int], pa.RecordBatch | None]
    next_tier: str = "hot"
    schema: pa.Schema = _SCHEMA
    cursor: str | None = None
    version: str | None = None
    segments: list[dict[str, Any]] = field(default_factory=lambda: [{"store": "questdb", "rows": 1}])
    asked: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    at_work: threading.Lock = field(default_factory=threading.Lock)

    def __next__(self) -> pa.RecordBatch:
        assert self.at_work.acquire(blocking=False), "asked by two threads at once"
        try:
            self.asked += 1
            batch = self.make(self.asked - 1)
        finally:
            self.at_work.release()
        if batch is None:
            raise StopIteration
        return batch

    def cached_json(self) -> None:
        """Nothing of it is in memory."""

    def close(self) -> None:
        assert self.at_work.acquire(blocking=False), "closed while a thread was at it"
        self.at_work.release()
        self.closed.set()


@dataclass
class _Surface:
    """Answers by the symbol asked for."""

    answers: dict[str, Callable[[], _Rows]]
    given: list[_Rows] = field(default_factory=list)

    def answer(self, query: Query) -> _Rows:
        self.given.append(self.answers[query.symbols[0]]())
        return self.given[-1]


@contextmanager
def _served(
    limits: Limits | None = None, **answers: Callable[[], _Rows]
) -> Iterator[tuple[Client, _Surface]]:
    surface = _Surface(answers)
    with application_of(surface, limits or Limits()) as client:
        yield client, surface


def _of(batches: int, fault: Exception | None = None) -> Callable[[], _Rows]:
    """So many batches, then the end or a fault."""

    def make(place: int) -> pa.RecordBatch | None:
        if place < batches:
            return _batch(place)
        if fault is not None:
            raise fault
        return None

    return lambda: _Rows(make)


def _endless() -> _Rows:
    return _Rows(_batch)


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.01)


def _connected(client: Client, path: str) -> socket.socket:
    """A connection that has asked for something, with little room for the answer."""
    address = urlsplit(client.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.connect((address.hostname, address.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return connection


def test_a_long_answer_comes_in_pieces_and_ends_with_its_segments() -> None:
    with _served(LONG=_of(12)) as (client, surface):
        answer = client.get(f"{_PATH}LONG&format=arrow")
        assert "content-length" not in answer.headers
        found = list(pa.ipc.open_stream(answer.data).iter_batches_with_custom_metadata())
        assert [batch for batch, _ in found[:-1]] == [_batch(place) for place in range(12)]
        assert json.loads(found[-1][1]["segments"]) == [{"store": "questdb", "rows": 1}]
        # What is not known before the end is not told before.
        assert json.loads(answer.headers["tapehouse-segments"]) == [{"store": "questdb"}]
        assert surface.given[0].closed.wait(DEADLINE_S)


def test_a_short_answer_is_known_whole() -> None:
    with _served(SHORT=_of(1)) as (client, _):
        answer = client.get(f"{_PATH}SHORT&format=json")
        assert int(answer.headers["content-length"]) == len(answer.data)
        assert len(answer.json()["rows"]) == _ROWS
        assert json.loads(answer.headers["tapehouse-segments"]) == [{"store": "questdb", "rows": 1}]


@pytest.mark.parametrize(
    ("fault", "status", "name"),
    [
        (ConnectError("questdb: gone", remedy="Start it."), 503, "away"),
        (TapehouseError("questdb: no"), 502, "refused"),
        (UsageError("fill: too much"), 400, "usage"),
        (ZeroDivisionError("a defect"), 500, "internal"),
    ],
)
def test_a_fault_before_the_first_rows_is_a_problem(fault: Exception, status: int, name: str) -> None:
    with _served(BAD=_of(0, fault)) as (client, surface):
        answer = client.get(f"{_PATH}BAD&format=arrow")
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["type"] == f"/problems/{name}"
        assert ("retry-after" in answer.headers) == (status == 503)
        assert surface.given[0].closed.wait(DEADLINE_S)


@pytest.fixture(scope="module")
def breaking() -> Iterator[tuple[Client, _Surface]]:
    with _served(CUT=_of(8, ConnectError("questdb: gone"))) as served:
        yield served


@pytest.mark.parametrize("format_name", ["json", "csv", "arrow", "parquet", "msgpack"])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_an_answer_that_breaks_off_is_never_taken_for_a_whole_one(
    breaking: tuple[Client, _Surface], format_name: str, encoding: str
) -> None:
    client, surface = breaking
    # Larger than what of a page of JSON is known before it is sent.
    path = f"{client.url}{_PATH}CUT&format={format_name}&limit=100000"
    answer = client.pool.request("GET", path, headers={"Accept-Encoding": encoding}, preload_content=False)
    assert answer.status == 200
    parts = []
    with pytest.raises(urllib3.exceptions.ProtocolError):
        parts.extend(answer.stream(2**16, decode_content=True))
    received = b"".join(parts)
    if format_name == "arrow":
        *_, (_, metadata) = pa.ipc.open_stream(received).iter_batches_with_custom_metadata()
        assert json.loads(metadata["error"])["type"] == "/problems/away"
    elif format_name == "msgpack":
        *_, last = msgpack.Unpacker(io.BytesIO(received))
        assert last["error"]["type"] == "/problems/away"
    answer.close()
    assert surface.given[-1].closed.wait(DEADLINE_S)


def test_a_client_that_goes_away_ends_its_answer() -> None:
    with _served(ENDLESS=_endless) as (client, surface):
        connection = _connected(client, f"{_PATH}ENDLESS&format=arrow")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.close()
        _until(lambda: bool(surface.given), "the answer")
        assert surface.given[0].closed.wait(DEADLINE_S)
        asked = surface.given[0].asked
        assert client.json("/healthz") == {"alive": True}
        assert surface.given[0].asked == asked


def test_a_client_that_goes_away_before_the_first_rows_ends_its_answer_when_the_thread_is_back() -> None:
    free = threading.Event()

    def make(place: int) -> pa.RecordBatch | None:
        assert free.wait(DEADLINE_S)
        return _batch(place)

    with _served(SLOW=lambda: _Rows(make)) as (client, surface):
        connection = _connected(client, f"{_PATH}SLOW&format=csv")
        _until(lambda: bool(surface.given) and surface.given[0].asked == 1, "a thread to be at it")
        connection.close()
        assert not surface.given[0].closed.wait(0.2)
        free.set()
        assert surface.given[0].closed.wait(DEADLINE_S)
        assert surface.given[0].asked == 1


def test_readers_that_take_nothing_hold_up_nobody_and_are_cut() -> None:
    with _served(Limits(idle_s=3), ENDLESS=_endless, SHORT=_of(3)) as (client, surface):
        slow = [_connected(client, f"{_PATH}ENDLESS&format=arrow") for _ in range(200)]
        _until(lambda: len(surface.given) == 200, "all slow readers to be let in")
        for _ in range(5):
            answer = client.get(f"{_PATH}SHORT&format=arrow")
            assert pa.ipc.open_stream(answer.data).read_all().num_rows == 3 * _ROWS
        _until(
            lambda: all(rows.closed.is_set() for rows in surface.given[:200]),
            "the readers to be cut that take nothing",
        )
        for connection in slow:
            connection.close()


def test_what_is_read_ahead_is_bounded() -> None:
    with _served(Limits(max_buffered_bytes=2**20), ENDLESS=_endless) as (client, surface):
        slow = [_connected(client, f"{_PATH}ENDLESS&format=csv") for _ in range(20)]
        _until(
            lambda: len(surface.given) == 20 and all(rows.asked for rows in surface.given), "all to be begun"
        )
        _until(lambda: _stands_still(surface), "the answers to stand still")
        for connection in slow:
            connection.close()


def _stands_still(surface: _Surface) -> bool:
    before = [rows.asked for rows in surface.given]
    time.sleep(0.5)
    return before == [rows.asked for rows in surface.given]


def test_a_store_that_hangs_does_not_hold_up_the_other() -> None:
    free = threading.Event()

    def hang(place: int) -> pa.RecordBatch | None:
        free.wait(DEADLINE_S)
        return None

    limits = Limits(threads=2, max_waiting=4, first_rows_s=1)
    with _served(limits, COLD=lambda: _Rows(hang, next_tier="cold"), HOT=_of(1)) as (client, surface):
        hanging = [_connected(client, f"{_PATH}COLD") for _ in range(4)]
        _until(lambda: len(surface.given) == 4, "the store to be asked")
        refused = client.get(f"{_PATH}COLD")
        assert (refused.status, refused.json()["type"]) == (503, "/problems/busy")
        assert len(client.json(f"{_PATH}HOT")["rows"]) == _ROWS
        for connection in hanging:
            assert connection.recv(100).startswith(b"HTTP/1.1 504")
            connection.close()
        free.set()


def test_too_many_answers_at_once_are_refused_with_when_to_come_again() -> None:
    with _served(Limits(max_answers=2), ENDLESS=_endless) as (client, surface):
        slow = [_connected(client, f"{_PATH}ENDLESS&format=csv") for _ in range(2)]
        for connection in slow:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        refused = client.get(f"{_PATH}ENDLESS&format=csv")
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        assert "at most 2 at once" in refused.json()["detail"]
        for connection in slow:
            connection.close()
        _until(lambda: surface.given[0].closed.is_set() and surface.given[1].closed.is_set(), "room")
