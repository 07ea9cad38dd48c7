"""The TimescaleDB client: statements, queries, transactions. Raises the errors of `tapehouse/errors.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tapehouse.errors import ConnectError, TimescaleConflictError, TimescaleError
from tapehouse.settings import Timescale

OLDEST = (2, 20)
"""The oldest version of the extension that the schema is tried with."""
_CONNECT_S = 10
_CONFLICTS = {
    "40001": "a transaction could not be serialized with others",
    "40P01": "a transaction was rolled back to resolve a deadlock",
}
_REPEAT = (
    "It is repeated by itself; if it goes on, look in pg_stat_activity for what else writes to these tables."
)
_REMEDIES = {
    "25001": "It cannot run within a transaction: run it alone, in autocommit.",
    "42501": "Give the account of timescale.dsn the right, or name the owner of the tables there.",
    "42P01": "Apply the schema: `tapehouse timescale check --apply`.",
    "53100": "Free space on its disk, or shorten the retention: `tapehouse timescale check` prints it.",
    "53300": "Raise max_connections of the server, or end connections that nobody needs.",
    "53400": "Late rows touch too many compressed ones at once: raise "
    "timescaledb.max_tuples_decompressed_per_dml_transaction, or lower timescale.load_bytes.",
    "57014": "It took longer than its time limit: look in pg_stat_activity for what it waited for.",
}
"""By SQLSTATE."""
_COMMUNITY = (
    "Install the community edition (the image timescale/timescaledb, not one whose tag ends in -oss) and set "
    "timescaledb.license = 'timescale' in postgresql.conf."
)
_INSTALL = "Install TimescaleDB on that server, or let timescale.dsn name one that has it."
_PRELOAD = "Set shared_preload_libraries = 'timescaledb' in its postgresql.conf and restart it."


class TimescaleClient:
    """One connection in autocommit, opened by the first statement and again after it was lost. Not thread-safe."""

    def __init__(self, settings: Timescale, *, timeout_s: float = 60) -> None:
        """`timeout_s` bounds each statement; 0: none."""
        self._dsn = settings.dsn.get_secret_value()
        self._timeout = timeout_s
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._where = _address(self._dsn)

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def execute(self, statement: str, bound: Sequence[Any] = ()) -> None:
        """Run a statement, with each %s bound to a value, or several without values.

        Like all methods it raises ConnectError when TimescaleDB does not answer or the connection is lost,
        TimescaleConflictError for a transaction to be repeated, TimescaleError for one that it rejects.
        """
        with self._errors():
            self._connected().execute(_query(statement), bound or None)

    def fetch(self, statement: str, bound: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query; see `execute`."""
        with self._errors():
            return self._connected().execute(_query(statement), bound or None).fetchall()

    def copy(self, statement: str, rows: bytes) -> None:
        """Run a COPY ... FROM STDIN with the bytes of its format; see `execute`."""
        with self._errors(), self._connected().cursor() as cursor, cursor.copy(_query(statement)) as copy:
            copy.write(rows)

    def copied(self, query: str) -> bytes:
        """The rows of a query, without bound values, as CSV without a header: much faster than `fetch` for many."""
        statement = _query(f"COPY ({query}) TO STDOUT (FORMAT csv)")
        rows = bytearray()
        with self._errors(), self._connected().cursor() as cursor, cursor.copy(statement) as copy:
            # A row each: joined at the end, they would all be kept as objects until then.
            for row in copy:
                rows += row
        return bytes(rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """The statements of the context are one transaction, rolled back by an error."""
        with self._errors(), self._connected().transaction():
            yield

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None:
            options = f"-c statement_timeout={int(self._timeout * 1000)} -c TimeZone=UTC"
            self._connection = psycopg.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=_CONNECT_S,
                options=options,
                application_name="tapehouse",
                # Poolers between two transactions do not keep prepared statements.
                prepare_threshold=None,
            )
        return self._connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as reason:
            if self._connection and isinstance(reason, psycopg.ProgrammingError) and reason.sqlstate is None:
                # Of the driver, about the statement: a defect of ours.
                raise
            if self._connection is None or self._connection.closed or reason.sqlstate is None:
                self.close()
            raise translated(reason, self._where) from reason


def translated(reason: psycopg.Error, where: str) -> ConnectError | TimescaleError:
    """The error of the platform for one of the driver, of the server at `where`."""
    code = reason.sqlstate or ""
    message = str(reason).strip()
    first = message.splitlines()[0][:500] if message else repr(reason)
    if "must be preloaded" in message:
        return TimescaleError(
            f"timescale: expected timescaledb in shared_preload_libraries of {where}, was not preloaded",
            remedy=_PRELOAD,
            code=code,
        )
    if code in _CONFLICTS:
        return TimescaleConflictError(f"timescale: {_CONFLICTS[code]}: {first}", remedy=_REPEAT, code=code)
    if "apache" in message.lower() and code == "0A000":
        return TimescaleError(
            f"timescale: expected the community edition on {where}, was the Apache edition: {first}",
            remedy=_COMMUNITY,
            code=code,
        )
    if code[:2] in ("", "08") or code in ("57P01", "57P02", "57P03") or code[:2] == "28" or code == "3D000":
        return ConnectError(
            f"timescale: no connection to {where}: {first}",
            remedy="Start the server, or correct timescale.dsn; what was not committed is sent again.",
            code=code,
        )
    return TimescaleError(f"timescale: {first}", remedy=_REMEDIES.get(code, ""), code=code)


def check_server(client: TimescaleClient) -> str:
    """The version of the extension, which it creates where it is missing.

    Raises TimescaleError, which says what is missing and how to mend it: the extension, its preloading, the community
    edition, or a version of at least `OLDEST`.
    """
    available = client.fetch("SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'")
    if not available:
        ((server,),) = client.fetch("SELECT version()")
        raise TimescaleError(
            f"timescale: expected the extension timescaledb, was not installed on the server ({server[:60]})",
            remedy=_INSTALL,
        )
    client.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    ((version, edition),) = client.fetch(
        "SELECT extversion, current_setting('timescaledb.license', true) FROM pg_extension "
        "WHERE extname = 'timescaledb'"
    )
    check_version(str(version))
    if edition == "apache":
        raise TimescaleError(
            "timescale: expected the community edition, was the Apache edition "
            "(timescaledb.license = 'apache'), which has no continuous aggregates and policies",
            remedy=_COMMUNITY,
        )
    return str(version)


def check_version(version: str) -> None:
    """Raise TimescaleError for a version of the extension below `OLDEST`."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        raise TimescaleError(
            f"timescale: expected version {OLDEST[0]}.{OLDEST[1]} or newer, was {version}",
            remedy="Install a newer TimescaleDB, then run ALTER EXTENSION timescaledb UPDATE in the database.",
        )


def _address(dsn: str) -> str:
    """host:port/database of a DSN, without its password."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "timescale.dsn"
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def _query(statement: str) -> bytes:
    # Statements are made of the model's names; values are bound.
    return statement.encode()
