"""The ClickHouse client: statements, queries, Parquet inserts. Raises the errors of `tapehouse/errors.py`."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error, StreamFailureError
from clickhouse_connect.driver.httputil import get_pool_manager
from urllib3.exceptions import HTTPError

from tapehouse.errors import ColdStoreError, ConnectError
from tapehouse.settings import ClickHouse

_REMEDIES = {
    241: "Give it more memory (max_server_memory_usage, max_memory_usage), or let the mirror copy fewer days "
    "in parallel (mirror.side_by_side).",
    243: "Free space on its disk, or delete old years: `tapehouse mirror retain --rehearse` prints which.",
    252: "It has too many parts to merge: wait until it has merged them.",
    516: "Check that --home is the platform's folder: its connections.toml has the passwords.",
}
"""By ClickHouse error code."""
_SETTINGS = {
    # Buffer the whole response, so that an error is an HTTP status instead of text within the rows.
    "wait_end_of_query": 1,
    "insert_null_as_default": 0,
    # Late rows may be of many days, each of which is a partition.
    "max_partitions_per_insert_block": 0,
    "input_format_null_as_default": 0,
    "input_format_parquet_allow_missing_columns": 0,
}


class ClickHouseClient:
    """A client with one account and database. Thread-safe."""

    def __init__(
        self,
        settings: ClickHouse,
        *,
        timeout_s: int = 600,
        database: str | None = None,
        reading: bool = False,
    ) -> None:
        """`database` overrides that of the settings; with `reading` the client uses the read-only account."""
        self._account = (settings.user, settings.password)
        if reading:
            self._account = (settings.reader, settings.reader_password)
        self._settings = settings
        self._timeout = timeout_s
        self._database = database or settings.database
        self._pool = get_pool_manager(maxsize=16, block=False)
        self._client: Client | None = None

    def close(self) -> None:
        """Close the connections; the next statement opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._pool.clear()

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that returns no rows, with its {name:Type} bound to `parameters`.

        Like all methods it raises ConnectError when ClickHouse does not answer, ColdStoreError when it rejects the
        statement.
        """
        with self._errors():
            self._connected().command(statement, parameters=dict(parameters or {}))

    def fetch(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Sequence[tuple[Any, ...]]:
        """The rows of a query; see `command`."""
        with self._errors():
            answer = self._connected().query(statement, parameters=dict(parameters or {}))
            return [tuple(row) for row in answer.result_rows]

    def arrow(self, statement: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """The rows of a query as one Arrow IPC stream; see `command`."""
        with self._errors():
            # The format has an end marker, so a truncated stream is detected.
            return bytes(self._connected().raw_query(statement, dict(parameters or {}), fmt="ArrowStream"))

    def insert(self, target: str, parquet: bytes | Generator[bytes, None, None]) -> None:
        """Insert the rows of a Parquet file; atomic for the rows of each partition.

        `target` is the SQL between INSERT INTO and FORMAT: a table, optionally with columns.
        """
        with self._errors():
            self._connected().raw_insert(target, insert_block=parquet, fmt="Parquet")

    def _connected(self) -> Client:
        if self._client is None:
            settings = self._settings
            self._client = clickhouse_connect.get_client(
                host=settings.host,
                port=settings.http_port,
                username=self._account[0],
                password=self._account[1].get_secret_value(),
                database=self._database,
                headers={"X-Gate": settings.gate.get_secret_value()}
                if settings.gate.get_secret_value()
                else {},
                settings=_SETTINGS,
                pool_mgr=self._pool,
                # On a local network compression costs more time than it saves.
                compress=False,
                autogenerate_session_id=False,
                query_retries=0,
                connect_timeout=5,
                send_receive_timeout=self._timeout,
            )
        return self._client

    @contextmanager
    def _errors(self) -> Iterator[None]:
        where = f"{self._settings.host}:{self._settings.http_port}"
        try:
            yield
        except (HTTPError, StreamFailureError, ConnectionError) as reason:
            raise _unreachable(where, reason) from reason
        except Error as reason:
            if reason.code is None:
                raise _unreachable(where, reason) from reason
            message = str(reason).strip().splitlines()[0][:500]
            raise ColdStoreError(
                f"clickhouse: {message}", remedy=_REMEDIES.get(reason.code, ""), code=reason.code
            ) from reason


def _unreachable(where: str, reason: Exception) -> ConnectError:
    return ConnectError(
        f"clickhouse: no answer from {where}: {reason}",
        remedy="Start the platform with `tapehouse up`, or look at its log.",
    )
