"""Applies a store's numbered SQL files in order, each once.

The record is the table `migrations` in the store itself: number, file, checksum, time. A file that was
changed after it was applied is refused: write a new one instead.
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
from tapehouse.questdb import connect
from tapehouse.settings import QuestDB

_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True)
class Migration:
    """One numbered file: one statement."""

    number: int
    name: str
    statement: str

    @property
    def checksum(self) -> str:
        """Of the file's whole text."""
        return hashlib.sha256(self.statement.encode()).hexdigest()


class Ledger(Protocol):
    """A store that keeps the record of its migrations and can apply one."""

    def applied(self) -> dict[int, str]:
        """Number -> checksum of what was applied; creates the record when there is none."""

    def apply(self, migration: Migration) -> None:
        """Run the statement, then record it."""


def migrations(store: str) -> list[Migration]:
    """The files of a store (`questdb`, ...) in order; MigrationError when two share a number."""
    files = [file for file in (resources.files("ddl") / store).iterdir() if file.name.endswith(".sql")]
    found: dict[int, Migration] = {}
    for file in sorted(files, key=lambda file: file.name):
        match = _NAME.fullmatch(file.name)
        if match is None or int(match[1]) in found:
            raise MigrationError(f"ddl: expected NNNN_name.sql with a number of its own, was {file.name}")
        found[int(match[1])] = Migration(int(match[1]), file.name, file.read_text())
    return list(found.values())


def migrate(ledger: Ledger, files: Sequence[Migration]) -> list[str]:
    """Apply what is not applied yet; returns the names. Safe to repeat and to interrupt.

    Raises MigrationError when an applied file has changed or is gone.
    """
    applied = ledger.applied()
    known = {file.number: file for file in files}
    for number, checksum in applied.items():
        file = known.get(number)
        if file is None or file.checksum != checksum:
            raise MigrationError(
                f"ddl: migration {number:04} was applied and has {'changed' if file else 'gone'} since",
                remedy="Restore the file and put the change into a new one with the next number.",
                number=number,
            )
    fresh = [file for file in files if file.number not in applied]
    for file in fresh:
        ledger.apply(file)
    return [file.name for file in fresh]


class QuestLedger:
    """The record of migrations in QuestDB: the table called `table`."""

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
        """Number -> checksum; creates the record when there is none."""
        self._connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.table} "
            "(applied TIMESTAMP, number INT, file VARCHAR, checksum VARCHAR) "
            "TIMESTAMP(applied) PARTITION BY YEAR WAL".encode()
        )
        self._until_applied()
        rows = self._connection.execute(
            f"SELECT number, checksum FROM {self.table} ORDER BY number".encode()  # noqa: S608
        ).fetchall()
        return {int(number): str(checksum) for number, checksum in rows}

    def apply(self, migration: Migration) -> None:
        """Run the statement, then record it; every statement may be run twice, for a kill in between.

        Raises MigrationError when QuestDB refuses it.
        """
        try:
            self._connection.execute(migration.statement.encode())
        except psycopg.DatabaseError as reason:
            raise MigrationError(f"ddl: {migration.name}: questdb refused it: {reason}") from reason
        self._connection.execute(
            f"INSERT INTO {self.table} VALUES (%s, %s, %s, %s)".encode(),  # noqa: S608
            (now_ns() // 1000, migration.number, migration.name, migration.checksum),
        )
        self._until_applied()

    def _until_applied(self) -> None:
        self._connection.execute(f"SELECT wait_wal_table('{self.table}')".encode())
