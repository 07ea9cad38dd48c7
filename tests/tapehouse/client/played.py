"""A fake gateway that a test scripts, to misbehave in ways that a real one cannot be made to on demand."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from tapehouse.client.transport import ARROW

SEGMENTS = [
    {"store": "clickhouse", "start": "2024-01-01T00:00:00Z", "end": "2024-01-02T00:00:00Z", "rows": 2, "ms": 1.5,
     "quality": ["unproven"], "why": "cold owns the day"},
    {"store": "questdb", "start": "2024-01-02T00:00:00Z", "end": "2024-01-02T00:00:00.000000001Z", "rows": 1,
     "ms": 0.5, "quality": [], "why": "hot owns the day"},
]  # fmt: skip
Act = Callable[[BaseHTTPRequestHandler], None]


class Played:
    """Performs one act per request, in order, then repeats the last; records the requests' paths and headers."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        played = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                played.paths.append(self.path)
                played.headers.append(dict(self.headers))
                act = played.acts.pop(0) if len(played.acts) > 1 else played.acts[0]
                # Some tests disconnect the client.
                with contextlib.suppress(ConnectionError):
                    act(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def asked(self) -> dict[str, list[str]]:
        """The parameters of the last request."""
        return parse_qs(urlsplit(self.paths[-1]).query)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def playing(*acts: Act) -> Iterator[Played]:
    gateway = Played(*acts)
    try:
        yield gateway
    finally:
        gateway.stop()


def answering(status: int, body: bytes, kind: str = "application/json", **headers: str) -> Act:
    """A complete response."""

    def act(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        to.send_header("Content-Type", kind)
        to.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    return act


def saying(document: Any) -> Act:
    """A JSON document with status 200."""
    return answering(200, json.dumps(document).encode())


def refusing(status: int, kind: str, detail: str, remedy: str = "", **headers: str) -> Act:
    """A problem document."""
    problem = {"type": f"/problems/{kind}", "title": kind, "status": status, "detail": detail, "remedy": remedy,
               "fields": {"symbol": "A"}}  # fmt: skip
    return answering(status, json.dumps(problem).encode(), "application/problem+json", **headers)


def streaming(stream: bytes, *, ended: bool = True) -> Act:
    """An Arrow stream in chunks of an odd size; without the end of the chunked body unless `ended`."""

    def act(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", ARROW)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        for place in range(0, len(stream), 1009):
            piece = stream[place : place + 1009]
            to.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if ended:
            to.wfile.write(b"0\r\n\r\n")
        else:
            to.close_connection = True

    return act


def hanging_up(to: BaseHTTPRequestHandler) -> None:
    """Close the connection before sending a byte."""
    to.close_connection = True


def stream(table: pa.Table, batch: int = 1000, metadata: dict[str, Any] | None = None) -> bytes:
    """An answer as the gateway sends it: batches, then an empty one with the segments or an error as metadata."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for rows in table.to_batches(batch):
            writer.write_batch(rows)
        empty = pa.record_batch([pa.array([], field.type) for field in table.schema], table.schema)
        metadata = {"segments": SEGMENTS} if metadata is None else metadata
        writer.write_batch(
            empty, custom_metadata={name: json.dumps(value) for name, value in metadata.items()}
        )
    return sink.getvalue()


def trades(rows: int) -> pa.Table:
    """Some columns of trades, a second apart."""
    seq = pa.array(range(rows), pa.int64())
    times = pa.array([place * 10**9 for place in range(rows)], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    return pa.table({
        "ts_event": times, "venue": pa.array(["sim"] * rows), "symbol": pa.array(["Ä/B"] * rows), "seq": seq,
        "price": pa.array([place / 4 for place in range(rows)], pa.float64()),
        "size": pa.array([1.0] * rows, pa.float64()),
    })  # fmt: skip


def catalog(rows: Sequence[tuple[str, str, str, int]]) -> pa.Table:
    """kind, venue, symbol and rows of each series."""
    at = pa.array([10**18] * len(rows), pa.int64()).cast(pa.timestamp("ns", "UTC"))
    kinds, venues, symbols, counts = ([row[place] for row in rows] for place in range(4))
    return pa.table({
        "kind": pa.array(kinds, pa.string()), "venue": pa.array(venues, pa.string()),
        "symbol": pa.array(symbols, pa.string()), "first": at, "last": at, "rows": pa.array(counts, pa.int64()),
    })  # fmt: skip
