"""Talking to ClickHouse: statements, Parquet in, rows out, its errors as ours."""

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
    "side by side (mirror.side_by_side).",
    243: "Free space on its disk, or let old years go: `tapehouse mirror retain --rehearse` prints what would.",
    252: "It has too many parts to merge: wait until it has caught up.",
    516: "Is the home folder the platform's? The passwords are in its connections.toml.",
}
"""By ClickHouse's error code."""
_SETTINGS = {
    # Anything else would let two roles that speak at the same time disturb each other.
    "wait_end_of_query": 1,
    "insert_null_as_default": 0,
    # Late rows may be of any days, each of which is a partition.
    "max_partitions_per_insert_block": 0,
    "input_format_null_as_default": 0,
    "input_format_parquet_allow_missing_columns": 0,
}


class ClickHouseClient:
    """One account on ClickHouse in one database. For several threads at a time."""

    def __init__(
        self,
        settings: ClickHouse,
        *,
        timeout_s: int = 600,
        database: str | None = None,
        reading: bool = False,
    ) -> None:
        """`database` is another than that of the settings; `reading` is as the account that may only read."""
        self._account = (settings.user, settings.password)
        if reading:
            self._account = (settings.reader, settings.reader_password)
        self._settings = settings
        self._timeout = timeout_s
        self._database = database or settings.database
        self._pool = get_pool_manager(maxsize=16, block=False)
        self._client: Client | None = None

    def close(self) -> None:
        """Close the connections; the next statement opens others."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._pool.clear()

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that has no rows, its {name:Type} bound to `parameters`.

        As all here it raises ConnectError where ClickHouse does not answer, ColdStoreError where it refuses.
        """
        with self._errors():
            self._connected().command(statement, parameters=dict(parameters or {}))

    def fetch(self, statement: str, parameters: Mapping[str, Any] | None = None) -> Sequence[tuple[Any, ...]]:
        """The rows of a statement."""
        with self._errors():
            answer = self._connected().query(statement, parameters=dict(parameters or {}))
            return [tuple(row) for row in answer.result_rows]

    def arrow(self, statement: str, parameters: Mapping[str, Any] | None = None) -> bytes:
        """The rows of a statement as one Arrow stream."""
        with self._errors():
            # Without the end that the format writes the stream is known to be cut.
            return bytes(self._connected().raw_query(statement, dict(parameters or {}), fmt="ArrowStream"))

    def insert(self, target: str, parquet: bytes | Generator[bytes, None, None]) -> None:
        """Insert the rows of a Parquet file, whole or not at all as far as they go to one partition.

        `target` is what stands between INSERT INTO and FORMAT.
        """
        with self._errors():
            self._connected().raw_insert(target, insert_block=parquet, fmt="Parquet")

    def _connected(self) -> Client:
        if self._client is None:
            said = self._settings
            self._client = clickhouse_connect.get_client(
                host=said.host,
                port=said.http_port,
                username=self._account[0],
                password=self._account[1].get_secret_value(),
                database=self._database,
                headers={"X-Gate": said.gate.get_secret_value()} if said.gate.get_secret_value() else {},
                settings=_SETTINGS,
                pool_mgr=self._pool,
                # It costs more than it saves on a local network.
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
            raise _unreached(where, reason) from reason
        except Error as reason:
            if reason.code is None:
                raise _unreached(where, reason) from reason
            said = str(reason).strip().splitlines()[0][:500]
            raise ColdStoreError(
                f"clickhouse: {said}", remedy=_REMEDIES.get(reason.code, ""), code=reason.code
            ) from reason


def _unreached(where: str, reason: Exception) -> ConnectError:
    return ConnectError(
        f"clickhouse: no answer from {where}: {reason}",
        remedy="Start the platform with `tapehouse up`, or look at its log.",
    )
