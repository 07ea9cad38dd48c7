"""Queries to QuestDB's Parquet export over HTTP, the fastest way to read more than a few thousand rows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3
from urllib3.connection import HTTPConnection

from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.lost_connections import reason_in_words
from tapehouse.settings import QuestDB

_CONNECTIONS = 16
_FOOTER = b"PAR1"
"""The last bytes of every complete Parquet file."""
_MAX_REQUEST_BYTES = 60_000
"""QuestDB closes the connection on longer requests."""


class QuestExport:
    """A client of QuestDB's export with pooled connections. Thread-safe."""

    def __init__(self, settings: QuestDB, timeout_s: float) -> None:
        """A request fails after `timeout_s` without received data."""
        self._address = f"{settings.host}:{settings.http_port}"
        self._sockets = _OpenSockets()
        account = f"{settings.user}:{settings.password.get_secret_value()}"
        self._pool = urllib3.HTTPConnectionPool(
            settings.host,
            settings.http_port,
            timeout=urllib3.Timeout(connect=5, read=timeout_s),
            maxsize=_CONNECTIONS,
            retries=False,
            headers=urllib3.make_headers(basic_auth=account),
            open_sockets=self._sockets,
        )
        self._pool.ConnectionCls = _Connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections permanently; running requests in other threads fail at once with ConnectError."""
        self._sockets.shut_down()
        self._pool.close()

    def parquet(self, statement: str, bound: Sequence[str | int] = (), *, zstd: bool = False) -> bytes:
        """The rows of a query as a Parquet file, compressed with zstd or uncompressed.

        `bound` are the values of its %s, written into it as literals. Raises ConnectError when QuestDB does not
        answer or the response is incomplete, TapehouseError when it rejects the statement.
        """
        parameters = {"fmt": "parquet", "query": render_statement(statement, bound)}
        if zstd:
            parameters |= {"compression_codec": "zstd", "compression_level": "1"}
        path = "/exp?" + urlencode(parameters)
        if len(path) > _MAX_REQUEST_BYTES:
            raise TapehouseError(
                f"questdb: expected a request of at most {_MAX_REQUEST_BYTES:,} bytes, was {len(path):,}",
                remedy="Request fewer symbols at a time.",
            )
        try:
            response = self._begun_response(path)
            body = response.data
        except (urllib3.exceptions.HTTPError, OSError) as reason:
            raise ConnectError(
                f"questdb: no answer from {self._address}, or an incomplete one: {reason_in_words(reason)}",
                remedy="Start the platform with `tapehouse up`, or look at QuestDB's log.",
            ) from reason
        if response.status != 200:
            raise TapehouseError(f"questdb: {response.status} {body[:300].decode(errors='replace')}")
        if not body.endswith(_FOOTER):
            # urllib3 does not detect a response that is cut off between two chunks.
            raise ConnectError(
                f"questdb: incomplete response from {self._address}",
                remedy="Start the platform with `tapehouse up`, or look at QuestDB's log.",
            )
        return body

    def _begun_response(self, path: str) -> urllib3.BaseHTTPResponse:
        """The response once its headers are there; asked for again if the connection is lost before."""
        # QuestDB closes idle connections; urllib3 notices that unless it happens just then.
        with suppress(urllib3.exceptions.ProtocolError):
            return self._pool.request("GET", path, preload_content=False)
        return self._pool.request("GET", path, preload_content=False)

    def table(self, statement: str, bound: Sequence[str | int] = ()) -> pa.Table:
        """The rows of a statement; see `parquet` for `bound` and the errors."""
        body = self.parquet(statement, bound)
        try:
            # One thread for each file: requests run in parallel already.
            return pq.read_table(pa.BufferReader(body), use_threads=False)
        except (pa.ArrowInvalid, OSError) as reason:
            raise ConnectError(f"questdb: incomplete response from {self._address}: {reason}") from reason


class _OpenSockets:
    """The open sockets of one client, so that another thread can abort their requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_shut_down = False

    def add(self, end: socket.socket) -> None:
        with self._lock:
            self._open.add(end)
            if self._is_shut_down:
                _shut_down(end)

    def discard(self, end: socket.socket) -> None:
        with self._lock:
            self._open.discard(end)

    def shut_down(self) -> None:
        with self._lock:
            self._is_shut_down = True
            for end in self._open:
                _shut_down(end)


def _shut_down(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    """Registers its socket with the client while it is open."""

    def __init__(self, *args: object, open_sockets: _OpenSockets, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._open_sockets = open_sockets

    def connect(self) -> None:
        super().connect()
        assert self.sock is not None
        self._open_sockets.add(self.sock)

    def close(self) -> None:
        if self.sock is not None:
            self._open_sockets.discard(self.sock)
        super().close()


def render_statement(statement: str, bound: Sequence[str | int]) -> str:
    """A statement with its %s replaced by literals, because the export has no bind parameters.

    Raises TapehouseError when the number of values differs from that of %s, or a text contains NUL.
    """
    parts = statement.split("%s")
    literals = [str(value) if isinstance(value, int) else _quoted(value) for value in bound]
    if len(parts) != len(literals) + 1:
        raise TapehouseError(f"statement: expected {len(parts) - 1} values, was {len(literals)}")
    return "".join(part + literal for part, literal in zip(parts, [*literals, ""], strict=True))


def _quoted(text: str) -> str:
    if "\0" in text:
        raise TapehouseError(f"questdb: expected text without NUL, was {text!r}")
    return "'" + text.replace("'", "''") + "'"
