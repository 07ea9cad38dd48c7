"""Applies TimescaleDB's numbered SQL files, each in one transaction with its record."""

from __future__ import annotations

from tapehouse.errors import MigrationError, TimescaleConflictError, TimescaleError
from tapehouse.settings import Timescale
from tapehouse.stores.migrations import Migration
from tapehouse.stores.timescale import TimescaleClient, check_server

_RECORD = """CREATE TABLE IF NOT EXISTS migrations (number INT PRIMARY KEY, file TEXT NOT NULL, checksum TEXT NOT NULL,
    applied TIMESTAMPTZ NOT NULL DEFAULT now())"""


class TimescaleMigrations:
    """The table of applied migrations in TimescaleDB."""

    def __init__(self, settings: Timescale) -> None:
        self._client = TimescaleClient(settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def applied(self) -> dict[int, str]:
        """Number -> checksum of the applied migrations; creates the table if needed.

        Raises TimescaleError where the server is none that the files can be applied to.
        """
        check_server(self._client)
        self._client.execute(_RECORD)
        return dict(self._client.fetch("SELECT number, checksum FROM migrations"))

    def apply(self, migration: Migration) -> None:
        """Run the statements and record them, in one transaction. Raises MigrationError when they are rejected."""
        try:
            with self._client.transaction():
                self._client.execute(migration.statement)
                self._client.execute(
                    "INSERT INTO migrations (number, file, checksum) VALUES (%s, %s, %s)",
                    [migration.number, migration.name, migration.checksum],
                )
        except TimescaleConflictError:
            raise
        except TimescaleError as reason:
            raise MigrationError(f"ddl: {migration.name}: {reason.message}", remedy=reason.remedy) from reason
