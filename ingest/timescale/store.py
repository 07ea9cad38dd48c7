"""Loads account trades into TimescaleDB: each group of messages is one transaction, with the floor in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tapehouse.batch import Batch
from tapehouse.errors import TimescaleConflictError
from tapehouse.settings import Timescale
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_trades import TradeTables
from tapehouse.tabular import as_frame


@dataclass(frozen=True)
class LoadedUpTo:
    """A floor: the messages up to `seq` are loaded, with `rows` rows, of which `diverted` were diverted."""

    seq: int
    rows: int = 0
    diverted: int = 0
    consumer_ns: int = 0
    """When the consumer was created whose messages were loaded last, ns UTC."""


class TimescaleLoader:
    """A connection that loads account trades. Blocking; use it from one thread at a time.

    Its methods raise as those of `TimescaleClient`.
    """

    def __init__(self, settings: Timescale) -> None:
        self._client = TimescaleClient(settings)
        self._tables = TradeTables(self._client, settings.load)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._client.close()

    def floor(self, created_ns: int) -> LoadedUpTo:
        """How far the stream created at `created_ns` (ns UTC) is loaded; message 0 for one that is not known."""
        found = self._client.fetch(
            "SELECT seq, rows, diverted, consumer_ns FROM loads WHERE created_ns = %s", [created_ns]
        )
        return LoadedUpTo(*found[0]) if found else LoadedUpTo(0)

    def load(
        self, batches: Sequence[Batch], created_ns: int, before: LoadedUpTo, seq: int, consumer_ns: int = 0
    ) -> LoadedUpTo:
        """Load batches of account trades, those of the messages after `before` up to `seq`; returns the new floor.

        `created_ns`, `consumer_ns`: when the stream and its consumer were created, ns UTC. All or nothing.

        Raises TimescaleConflictError when another process has loaded since `before`.
        """
        limit_ns = self._tables.oldest_taken()
        with self._client.transaction():
            now = self._lock(created_ns, before)
            diverted = 0
            rows = sum(batch.rows for batch in batches)
            if rows:
                frame = pl.concat([as_frame(batch) for batch in batches])
                diverted = self._tables.put(frame, limit_ns, now)
            after = LoadedUpTo(seq, before.rows + rows, before.diverted + diverted, consumer_ns)
            self._client.execute(
                "INSERT INTO loads (created_ns, seq, rows, diverted, consumer_ns) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (created_ns) DO UPDATE SET seq = excluded.seq, rows = excluded.rows, "
                "diverted = excluded.diverted, consumer_ns = excluded.consumer_ns",
                [created_ns, after.seq, after.rows, after.diverted, after.consumer_ns],
            )
        return after

    def _lock(self, created_ns: int, before: LoadedUpTo) -> int:
        """Nobody else loads until the transaction ends, nor has since `before`: older rows would replace newer ones.

        Returns the server's time, ns.
        """
        now = self._tables.lock()
        found = self.floor(created_ns)
        if found != before:
            raise TimescaleConflictError(
                f"timescale: expected message {before.seq} to be the last one loaded, was {found.seq}",
                remedy="Another process loads the same stream; this one goes on after it.",
            )
        return now
