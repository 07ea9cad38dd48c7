"""Applies a store's numbered SQL files in order, each once.

The table `migrations` in the store records number, file, checksum and time. A file that has changed since it was
applied is an error: write a new one instead.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

import psycopg

from tapehouse.clock import now_ns
from tapehouse.errors import ConnectError, MigrationError
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import connect

_ALTERED = re.compile(r"ALTER TABLE (\w+)")
_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True)
class Migration:
    """A numbered SQL file with one statement."""

    number: int
    name: str
    statement: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, as hexadecimal digits."""
        return hashlib.sha256(self.statement.encode()).hexdigest()


class MigratedStore(Protocol):
    """A store that applies migrations and records them."""

    def applied(self) -> dict[int, str]:
        """Number -> checksum of the applied migrations; creates the table that records them if needed."""

    def apply(self, migration: Migration) -> None:
        """Run the statement, then record it."""


def migrations(store: str) -> list[Migration]:
    """The migrations of a store (`questdb`, ...) by number. Raises MigrationError when two files share one."""
    files = [file for file in (resources.files("ddl") / store).iterdir() if file.name.endswith(".sql")]
    found: dict[int, Migration] = {}
    for file in sorted(files, key=lambda file: file.name):
        match = _NAME.fullmatch(file.name)
        if match is None or int(match[1]) in found:
            raise MigrationError(f"ddl: expected NNNN_name.sql with a number of its own, was {file.name}")
        found[int(match[1])] = Migration(int(match[1]), file.name, file.read_text())
    return list(found.values())


def migrate(store: MigratedStore, files: Sequence[Migration]) -> list[str]:
    """Apply the migrations that are not applied yet; returns their file names. Safe to repeat and to interrupt.

    Raises MigrationError when an applied file has changed or been removed.
    """
    applied = store.applied()
    known = {file.number: file for file in files}
    for number, checksum in applied.items():
        file = known.get(number)
        if file is None or file.checksum != checksum:
            change = "changed" if file else "removed"
            raise MigrationError(
                f"ddl: migration {number:04} was applied, but its file has been {change} since",
                remedy="Restore the file and put the change into a new one with the next number.",
                number=number,
            )
    pending = [file for file in files if file.number not in applied]
    for file in pending:
        store.apply(file)
    return [file.name for file in pending]


class QuestDBMigrations:
    """The table of applied migrations in QuestDB, called `table`."""

    table = "migrations"

    def __init__(self, settings: QuestDB) -> None:
        try:
            self._connection = connect(settings, settings.user, settings.password)
        except psycopg.OperationalError as reason:
            raise ConnectError(
                f"questdb: no answer on {settings.host}:{settings.pg_port}: {reason}",
                remedy="Start the platform with `tapehouse up`.",
            ) from reason

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def applied(self) -> dict[int, str]:
        """Number -> checksum of the applied migrations; creates the table if needed."""
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.table} "
            "(applied TIMESTAMP, number INT, file VARCHAR, checksum VARCHAR) "
            "TIMESTAMP(applied) PARTITION BY YEAR WAL".encode()
        )
        self._wait_until_visible(self.table)
        rows = self._connection.execute(
            f"SELECT number, checksum FROM {self.table} ORDER BY number".encode()  # noqa: S608
        ).fetchall()
        return {int(number): str(checksum) for number, checksum in rows}

    def apply(self, migration: Migration) -> None:
        """Run the statement, then record it. If killed in between it runs again, so it must be idempotent.

        Raises MigrationError when QuestDB rejects it.
        """
        try:
            self._connection.execute(migration.statement.encode())
        except psycopg.DatabaseError as reason:
            if not _changes_nothing(migration, str(reason)):
                raise MigrationError(f"ddl: {migration.name}: rejected by QuestDB: {reason}") from reason
        if altered := _ALTERED.search(migration.statement):
            self._wait_until_visible(altered[1])
        self._connection.execute(
            f"INSERT INTO {self.table} VALUES (%s, %s, %s, %s)".encode(),  # noqa: S608
            (now_ns() // 1000, migration.number, migration.name, migration.checksum),
        )
        self._wait_until_visible(self.table)

    def _wait_until_visible(self, table: str) -> None:
        self._connection.execute(f"SELECT wait_wal_table('{table}')".encode())


def _changes_nothing(migration: Migration, reason: str) -> bool:
    """Whether QuestDB rejected a column because the table has it: of WAL tables it does not take IF NOT EXISTS."""
    return "ADD COLUMN IF NOT EXISTS" in migration.statement and "is either no-op" in reason
