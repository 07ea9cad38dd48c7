"""The tables of account trades in TimescaleDB: rows of a frame go there within a transaction of the caller.

The last of a key wins. Rows of new keys are copied straight to `trades`; where some key is stored already they go to a
temporary table first, by COPY or in arrays, and from there to `trades`. Trades older than `trades` takes go to
`diverted_trades`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tapehouse.clock import DAY, SECOND, day_of
from tapehouse.errors import TimescaleError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stores.timescale import TimescaleClient

TRADE_ORDER = "ts_event::NUMERIC * 10000000000000000000 + id"
"""SQL of a number by which the trades of `account_trades` are in order of (time, id): ids are below 10^19."""
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
_STAGED_LOADS = 20
"""So many loads go by the temporary table after one that found a key stored: corrections and repeats come in groups."""
_KEY_IS_STORED = "23505"
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


class TradeTables:
    """Puts rows into the tables. Blocking; use it from one thread at a time. Raises as `TimescaleClient`."""

    def __init__(self, client: TimescaleClient, load: str) -> None:
        """`load`: the setting `timescale.load`."""
        self._client = client
        self._copies = load == "copy"
        self._staged_loads = 0
        """How many loads go by the temporary table before one is copied straight again."""
        self._limit_ns = 0
        self._limit_read_at = float("-inf")

    def oldest_taken(self) -> int:
        """The oldest time that `trades` takes, ns; 0 when its retention has no policy, so that it takes all."""
        if time.monotonic() - self._limit_read_at > _LIMIT_READ_S:
            ((self._limit_ns,),) = self._client.fetch(_LIMIT, [MARGIN])
            self._limit_read_at = time.monotonic()
        return self._limit_ns

    def lock(self) -> int:
        """Until the transaction ends nobody else changes rows; returns the server's time, ns."""
        self._client.execute("LOCK TABLE loads IN SHARE ROW EXCLUSIVE MODE")
        ((now,),) = self._client.fetch("SELECT (extract(epoch FROM now()) * 1000000)::BIGINT * 1000")
        return int(now)

    def mark_stale(self, days: Sequence[int]) -> None:
        """Readers make candles of these days (their starts in ns) of trades, until the aggregates are refreshed."""
        if days:
            self._client.execute(
                "INSERT INTO stale_days SELECT unnest(%s::DATE[]), now() "
                "ON CONFLICT (day) DO UPDATE SET marked = excluded.marked",
                [[day_of(day) for day in days]],
            )

    def put(self, frame: pl.DataFrame, limit_ns: int, now: int) -> int:
        """Put the rows of a frame, with all columns of ACCOUNT_TRADES, into their tables; see `merge`."""
        frame = frame.unique(ACCOUNT_TRADES.key, keep="last", maintain_order=True)
        if self._copies and not self._staged_loads and self._copied_straight(frame, limit_ns):
            self.mark_stale(_late_days(_times(frame), limit_ns, now))
            return 0
        self._staged_loads = max(0, self._staged_loads - 1)
        return self.merge(self.stage(frame), limit_ns, now)

    def _copied_straight(self, frame: pl.DataFrame, limit_ns: int) -> bool:
        """Copy the rows to `trades`; False, and nothing is copied, when one is old or the key of one is stored."""
        if (_times(frame) < limit_ns).any() or self._has_diverted():
            return False
        try:
            with self._client.transaction():
                self._client.copy(
                    f"COPY trades ({_KEY}, {', '.join(_VALUES)}) FROM STDIN (FORMAT csv)", _csv(frame)
                )
        except TimescaleError as reason:
            if reason.fields.get("code") != _KEY_IS_STORED:
                raise
            self._staged_loads = _STAGED_LOADS
            return False
        return True

    def _has_diverted(self) -> bool:
        return self._client.fetch("SELECT EXISTS (SELECT FROM diverted_trades)") == [(True,)]

    def stage(self, frame: pl.DataFrame) -> NDArray[np.int64]:
        """Put the rows of a frame, with all columns of ACCOUNT_TRADES, into the temporary table `staged`.

        Returns their times in ns: of rows with one key only the last is put there.
        """
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

    def merge(self, times: NDArray[np.int64], limit_ns: int, now: int) -> int:
        """Move the staged rows, whose times are `times`, to their tables; returns how many were diverted.

        Those older than `limit_ns` are; days of which an aggregate may lack rows at `now` (both ns) are marked stale.
        """
        old = times < limit_ns
        diverted = int(old.sum())
        self.mark_stale(_late_days(times, limit_ns, now))
        if diverted:
            self._client.execute(_MOVED.format(table="diverted_trades", which="ts_event < %s"), [limit_ns])
        if diverted < len(times):
            self._client.execute(_MOVED.format(table="trades", which="ts_event >= %s"), [limit_ns])
        if self._has_diverted():
            # Diverted before the retention was made longer.
            self._client.execute(
                "DELETE FROM diverted_trades AS older USING staged "  # noqa: S608
                "WHERE (older.account_id, older.id) = (staged.account_id, staged.id) "
                f"AND (older.timestamp, older.nanos) = ({_TIMESTAMP}, mod(ts_event, 1000)) AND ts_event >= %s",
                [limit_ns],
            )
        return diverted


def _times(frame: pl.DataFrame) -> NDArray[np.int64]:
    return frame["ts_event"].cast(pl.Int64).to_numpy()


def _late_days(times: NDArray[np.int64], limit_ns: int, now: int) -> list[int]:
    """The starts of the days, in ns, of which an aggregate may have candles without these trades."""
    late: list[int] = np.unique(times[(times >= limit_ns) & (times < now - _FRESH_NS)] // DAY * DAY).tolist()
    return late


def _csv(frame: pl.DataFrame) -> bytes:
    """The rows in the columns of `trades`."""
    shown = pl.col("ts_event").dt.cast_time_unit("us").dt.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00")
    nanos = pl.col("ts_event").cast(pl.Int64) % 1_000
    ordered = ("account_id", "id", pl.col("ts_recv").cast(pl.Int64), *_VALUES[1:])
    return (
        frame.select(shown.alias("timestamp"), nanos.alias("nanos"), *ordered)
        .write_csv(include_header=False)
        .encode()
    )
