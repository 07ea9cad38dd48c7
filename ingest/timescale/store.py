"""Loads account trades into TimescaleDB: each group of messages is one transaction, with the floor in it.

Rows go to a temporary table, by COPY or in arrays, and from there to `trades`, where the last of a key wins. Trades
older than `trades` takes go to `diverted_trades`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.batch import Batch
from tapehouse.clock import DAY, SECOND, day_of
from tapehouse.errors import TimescaleConflictError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.settings import Timescale
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.tabular import as_frame

MARGIN = "2 days"
"""So long before the retention would drop a trade it is diverted: an aggregate refreshes whole buckets, of a day at
most, and its policy has a day to do so."""
_FRESH_NS = 30 * SECOND
"""A trade this old at most is in no bucket that an aggregate has: they are refreshed up to a minute ago."""
_LIMIT_READ_S = 60.0
_STAGED = "CREATE TEMPORARY TABLE IF NOT EXISTS staged ({columns}) ON COMMIT DELETE ROWS".format(
    columns=", ".join(f"{column.name} {column.types.timescale} NOT NULL" for column in ACCOUNT_TRADES.columns)
)
_NAMES = ", ".join(ACCOUNT_TRADES.names)
_ARRAYS = ", ".join(f"%s::{column.types.timescale}[]" for column in ACCOUNT_TRADES.columns)
# Whole seconds and their microseconds apart: a product with an interval is made of doubles.
_TIMESTAMP = "to_timestamp(ts_event / 1000000000) + mod(ts_event / 1000, 1000000) * INTERVAL '1 microsecond'"
_VALUES = ("ts_recv", "total_done", "trx_amount", "amount", "trans_type")
_KEY = "timestamp, nanos, account_id, id"
_LIMIT = (
    "SELECT coalesce(extract(epoch FROM date_trunc('day', now(), 'UTC') - (min((config->>'drop_after')::INTERVAL) "
    "- %s::INTERVAL))::BIGINT * 1000000000, 0) "
    "FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention' AND hypertable_name = 'trades'"
)
_MOVED = (
    f"INSERT INTO {{table}} AS stored ({_KEY}, {', '.join(_VALUES)}) "  # noqa: S608
    f"SELECT {_TIMESTAMP}, mod(ts_event, 1000), account_id, id, {', '.join(_VALUES)} FROM staged "
    f"WHERE {{which}} ON CONFLICT ({_KEY}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _VALUES)
)


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
        self._copies = settings.load == "copy"
        self._limit_ns = 0
        self._limit_read_at = float("-inf")

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
        limit_ns = self._oldest_taken()
        with self._client.transaction():
            now = self._lock(created_ns, before)
            diverted = 0
            rows = sum(batch.rows for batch in batches)
            if rows:
                times = self._stage(pl.concat([as_frame(batch) for batch in batches]))
                diverted = self._merge(times, limit_ns, now)
            after = LoadedUpTo(seq, before.rows + rows, before.diverted + diverted, consumer_ns)
            self._client.execute(
                "INSERT INTO loads (created_ns, seq, rows, diverted, consumer_ns) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (created_ns) DO UPDATE SET seq = excluded.seq, rows = excluded.rows, "
                "diverted = excluded.diverted, consumer_ns = excluded.consumer_ns",
                [created_ns, after.seq, after.rows, after.diverted, after.consumer_ns],
            )
        return after

    def _oldest_taken(self) -> int:
        """The oldest time that `trades` takes, ns; 0 when its retention has no policy, so that it takes all."""
        if time.monotonic() - self._limit_read_at > _LIMIT_READ_S:
            ((self._limit_ns,),) = self._client.fetch(_LIMIT, [MARGIN])
            self._limit_read_at = time.monotonic()
        return self._limit_ns

    def _lock(self, created_ns: int, before: LoadedUpTo) -> int:
        """Nobody else loads until the transaction ends, nor has since `before`: older rows would replace newer ones.

        Returns the server's time, ns.
        """
        self._client.execute("LOCK TABLE loads IN SHARE ROW EXCLUSIVE MODE")
        found = self.floor(created_ns)
        if found != before:
            raise TimescaleConflictError(
                f"timescale: expected message {before.seq} to be the last one loaded, was {found.seq}",
                remedy="Another process loads the same stream; this one goes on after it.",
            )
        ((now,),) = self._client.fetch("SELECT (extract(epoch FROM now()) * 1000000)::BIGINT * 1000")
        return int(now)

    def _stage(self, frame: pl.DataFrame) -> NDArray[np.int64]:
        """Returns the times of the rows, of which each key has one."""
        frame = frame.unique(ACCOUNT_TRADES.key, keep="last", maintain_order=True)
        frame = frame.with_columns(pl.col("ts_event", "ts_recv").cast(pl.Int64))
        self._client.execute(_STAGED)
        if self._copies:
            rows = frame.write_csv(include_header=False)
            self._client.copy(f"COPY staged ({_NAMES}) FROM STDIN (FORMAT csv)", rows.encode())
        else:
            self._client.execute(
                f"INSERT INTO staged ({_NAMES}) SELECT * FROM unnest({_ARRAYS})",  # noqa: S608
                [frame[name].to_list() for name in ACCOUNT_TRADES.names],
            )
        return frame["ts_event"].to_numpy()

    def _merge(self, times: NDArray[np.int64], limit_ns: int, now: int) -> int:
        """Move the staged rows, whose times are `times`, to their tables; returns how many were diverted."""
        old = times < limit_ns
        diverted = int(old.sum())
        days = np.unique(times[~old & (times < now - _FRESH_NS)] // DAY * DAY).tolist()
        if days:
            self._client.execute(
                "INSERT INTO stale_days SELECT unnest(%s::DATE[]), now() "
                "ON CONFLICT (day) DO UPDATE SET marked = excluded.marked",
                [[day_of(day) for day in days]],
            )
        if diverted:
            self._client.execute(_MOVED.format(table="diverted_trades", which="ts_event < %s"), [limit_ns])
        if diverted < len(times):
            self._client.execute(_MOVED.format(table="trades", which="ts_event >= %s"), [limit_ns])
        if self._client.fetch("SELECT EXISTS (SELECT FROM diverted_trades)") == [(True,)]:
            # Diverted before the retention was made longer.
            self._client.execute(
                "DELETE FROM diverted_trades AS older USING staged "  # noqa: S608
                "WHERE (older.account_id, older.id) = (staged.account_id, staged.id) "
                f"AND (older.timestamp, older.nanos) = ({_TIMESTAMP}, mod(ts_event, 1000)) AND ts_event >= %s",
                [limit_ns],
            )
        return diverted
