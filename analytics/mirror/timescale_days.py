"""Days of account trades in TimescaleDB: what they hold, whether the candles are those of the trades, and repair."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import polars as pl

from analytics.mirror import fingerprint
from analytics.mirror.fingerprint import Fingerprint
from analytics.mirror.hot_store import TimeSlice
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.settings import Timescale
from tapehouse.stores.questdb import frame
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_trades import TRADE_ORDER, TradeTables

AGGREGATES = {"1m": "1 minute", "30m": "30 minutes", "1h": "1 hour", "4h": "4 hours", "1d": "1 day"}
"""Name of an aggregate's interval -> its length, each made of the one before from 30m on."""
_STATEMENT_S = 600
_NAMES = ", ".join(ACCOUNT_TRADES.names)
_OF_DAY = "timestamp >= %s::DATE AND timestamp < %s::DATE + 1"
_INSTANT = "to_timestamp(%s::BIGINT / 1000000000)"
_OF_SLICE = f"timestamp >= {_INSTANT} AND timestamp < {_INSTANT}"
_STAGED_KEY = (
    "(staged.account_id, staged.id) = (stored.account_id, stored.id) AND staged.ts_event = "
    "(extract(epoch FROM stored.timestamp) * 1000000)::BIGINT * 1000 + stored.nanos"
)
_TIMES = [column.name for column in ACCOUNT_TRADES.columns if column.type == "time"]
_VALUES = [name for name in ACCOUNT_TRADES.names if name not in ACCOUNT_TRADES.key]
_SAME_VALUES = "({}) = ({})".format(
    *(", ".join(f"{of}.{name}" for name in _VALUES) for of in ("staged", "stored"))
)
_DIFFERENT_CANDLES = (
    "WITH made AS (SELECT time_bucket(%s::INTERVAL, timestamp) AS interval_start, account_id, "
    f"first(amount, {TRADE_ORDER}) AS open, max(amount) AS high, min(amount) AS low, "
    f"last(amount, {TRADE_ORDER}) AS close, "
    f"sum(trx_amount) AS volume, count(*) AS trades FROM account_trades WHERE {_OF_DAY} GROUP BY 1, 2), "
    "kept AS (SELECT interval_start, account_id, open_price, high_price, low_price, close_price, volume, "
    "trades::BIGINT AS trades FROM {view} WHERE interval_start >= %s::DATE AND interval_start < %s::DATE + 1) "
    "SELECT count(*) FROM made FULL JOIN kept USING (interval_start, account_id) "
    "WHERE (open, high, low, close, made.volume, made.trades) IS DISTINCT FROM "
    "(open_price, high_price, low_price, close_price, kept.volume, kept.trades)"
)


class TimescaleDays:
    """A connection. Blocking; use it from one thread at a time. Its methods raise as those of `TimescaleClient`."""

    def __init__(self, settings: Timescale) -> None:
        self._client = TimescaleClient(settings, timeout_s=_STATEMENT_S)
        self._tables = TradeTables(self._client, settings.load)
        self._copies = settings.load == "copy"

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._client.close()

    def oldest_taken(self) -> int:
        """The start of the first day that is kept whole, ns; 0 when all are."""
        return self._tables.oldest_taken()

    def loaded_seq(self, created_ns: int) -> int:
        """The last loaded message of the stream created at `created_ns` (ns UTC); 0 for none."""
        found = self._client.fetch("SELECT seq FROM loads WHERE created_ns = %s", [created_ns])
        return int(found[0][0]) if found else 0

    def fingerprint(self, day: str, created_ns: int, max_rows: int) -> tuple[int, Fingerprint]:
        """The rows of a day, and the last message that was loaded when they were read; see `loaded_seq`.

        About `max_rows` rows are in memory at a time.
        """
        found = Fingerprint({})
        with self._client.transaction():
            self._client.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            seq = self.loaded_seq(created_ns)
            counts = self._client.fetch(
                "SELECT extract(epoch FROM date_trunc('minute', timestamp))::BIGINT, count(*) "
                f"FROM account_trades WHERE {_OF_DAY} GROUP BY 1 ORDER BY 1",
                [day, day],
            )
            for part in time_slices(day, ((minute * SECOND, rows) for minute, rows in counts), max_rows):
                part_rows = fingerprint.of_frame(ACCOUNT_TRADES, self._read(part))
                found = Fingerprint.sum([found, part_rows])
        return seq, found

    def _read(self, part: TimeSlice) -> pl.DataFrame:
        empty = frame(ACCOUNT_TRADES.columns, [])
        query = (
            f"SELECT {_NAMES} FROM account_trades WHERE timestamp >= to_timestamp({part.start_ns // SECOND}) "
            f"AND timestamp < to_timestamp({part.end_ns // SECOND})"
        )
        if not self._copies:
            return frame(ACCOUNT_TRADES.columns, self._client.fetch(query))
        body = self._client.copied(query)
        types = {name: pl.Int64() if name in _TIMES else kind for name, kind in empty.schema.items()}
        rows = pl.read_csv(body, has_header=False, schema=types) if body else empty
        return rows.cast(empty.schema)

    def differing_candles(self, day: str) -> list[str]:
        """The names of the aggregates of which candles of a day are not those of its trades."""
        return [
            name
            for name, length in AGGREGATES.items()
            if self._client.fetch(
                _DIFFERENT_CANDLES.replace("{view}", f"candlesticks_{name}"), [length, day, day, day, day]
            )
            != [(0,)]
        ]

    def is_stale(self, day: str) -> bool:
        """Whether readers make candles of the day of its trades, because the aggregates may lack some."""
        return self._client.fetch("SELECT FROM stale_days WHERE day = %s", [day]) != []

    def replace(
        self, part: TimeSlice, rows: pl.DataFrame, created_ns: int, check: Callable[[int], None]
    ) -> None:
        """Make the trades of a slice, which is within a day, those of `rows`: all or nothing, changing no other row.

        `check` is called with `loaded_seq` while nobody can load; what it raises leaves the slice as it was.
        """
        limit_ns = self._tables.oldest_taken()
        with self._client.transaction():
            # A slice is all that is touched: how much of it is compressed need not be bounded.
            self._client.execute("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
            self._tables.stage(rows)
            now = self._tables.lock()
            check(self.loaded_seq(created_ns))
            removed = self._remove_others("trades", part) + self._remove_others("diverted_trades", part)
            if removed:
                self._tables.mark_stale([part.start_ns // DAY * DAY])
            self._client.execute(
                f"DELETE FROM staged USING trades AS stored WHERE {_OF_SLICE} AND {_STAGED_KEY} AND {_SAME_VALUES} "
                "AND NOT EXISTS (SELECT FROM diverted_trades AS diverted WHERE (diverted.timestamp, diverted.nanos, "
                "diverted.account_id, diverted.id) = (stored.timestamp, stored.nanos, stored.account_id, stored.id))",
                [part.start_ns, part.end_ns],
            )
            times = np.array(
                [time for (time,) in self._client.fetch("SELECT ts_event FROM staged")], np.int64
            )
            self._tables.merge(times, limit_ns, now)

    def _remove_others(self, table: str, part: TimeSlice) -> int:
        """Delete the trades of a slice that are not staged; returns how many."""
        others = (
            f"FROM {table} AS stored WHERE {_OF_SLICE} "
            f"AND NOT EXISTS (SELECT FROM staged WHERE {_STAGED_KEY})"
        )
        bound: list[Any] = [part.start_ns, part.end_ns]
        # Asked first: a DELETE decompresses what it looks at.
        ((rows,),) = self._client.fetch(f"SELECT count(*) {others}", bound)
        if rows:
            self._client.execute(f"DELETE {others}", bound)
        return int(rows)

    def refresh(self, day: str) -> None:
        """Make the candles of a day anew in every aggregate, also where no trade of it has changed."""
        for name in AGGREGATES:
            self._client.execute(
                f"CALL refresh_continuous_aggregate('candlesticks_{name}', %s::TIMESTAMPTZ, "
                "%s::TIMESTAMPTZ + INTERVAL '1 day', force => true)",
                [day, day],
            )


def time_slices(day: str, counts: Iterable[tuple[int, int]], max_rows: int) -> list[TimeSlice]:
    """Split a day into slices of about `max_rows` rows that together are all of it; a bucket is not split.

    `counts` has (start in ns, rows) of buckets in ascending order.
    """
    start = parse_ns(day)
    slices: list[TimeSlice] = []
    begin, rows = start, 0
    for bucket, count in counts:
        if rows and rows + count > max_rows:
            slices.append(TimeSlice(begin, bucket, rows))
            begin, rows = bucket, 0
        rows += count
    return [*slices, TimeSlice(begin, start + DAY, rows)]
