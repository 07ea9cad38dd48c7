"""Fills the documented table `candlesticks` from the closed candles of the aggregates, and clears `stale_days`.

A candle is filled once a minute has passed since its end. A day that late trades have touched is filled again when
every aggregate was refreshed after the last of them; readers of candles go by `stale_days` until then.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapehouse.settings import Timescale
from tapehouse.stores.timescale import TimescaleClient

FILLED = {"30m": "30 minutes", "1h": "1 hour", "4h": "4 hours", "1d": "1 day"}
"""Name of an interval that the table has -> its length."""
_GRACE = "1 minute"
_COMMIT = "2 minutes"
"""More than a transaction may last: what marks a day is seen by a refresh that starts so long after."""
_REFRESHED = """SELECT CASE WHEN bool_and(stats.last_run_status = 'Success') THEN min(stats.last_run_started_at) END
    FROM timescaledb_information.jobs AS jobs LEFT JOIN timescaledb_information.job_stats AS stats USING (job_id)
    WHERE jobs.proc_name = 'policy_refresh_continuous_aggregate' AND jobs.hypertable_name LIKE 'candlesticks_%'"""
_PRICES = "open_price, high_price, low_price, close_price, volume"


class CandlestickFiller:
    """A connection that fills the table. Blocking; use it from one thread at a time."""

    def __init__(self, settings: Timescale) -> None:
        self._client = TimescaleClient(settings)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._client.close()

    def fill(self) -> int:
        """Fill what has closed or changed since the last call; returns how many candles were written.

        Raises as the methods of `TimescaleClient`; repeating the call is safe.
        """
        ((refreshed,),) = self._client.fetch(_REFRESHED)
        with self._client.transaction():
            days = self._client.fetch(
                f"DELETE FROM stale_days WHERE marked < %s::TIMESTAMPTZ - INTERVAL '{_COMMIT}' "  # noqa: S608
                "RETURNING day",
                [refreshed],
            )
            return sum(self._fill(name, length, [day for (day,) in days]) for name, length in FILLED.items())

    def _fill(self, name: str, length: str, days: Sequence[object]) -> int:
        ((until,),) = self._client.fetch(
            f"SELECT time_bucket(%s::INTERVAL, now() - INTERVAL '{_GRACE}')",
            [length],
        )
        since = self._client.fetch("SELECT filled FROM filled WHERE interval_type = %s", [name])
        written = self._client.fetch(
            f"INSERT INTO candlesticks AS stored (interval_start, interval_type, account_id, {_PRICES}) "  # noqa: S608
            f"SELECT interval_start, %s, account_id, {_PRICES} FROM candlesticks_{name} "
            "WHERE interval_start < %s AND (interval_start >= %s::TIMESTAMPTZ "
            "OR (interval_start AT TIME ZONE 'UTC')::DATE = ANY(%s::DATE[])) "
            "ON CONFLICT (interval_start, interval_type, account_id) DO UPDATE SET "
            + ", ".join(f"{column} = excluded.{column}" for column in _PRICES.split(", "))
            + " RETURNING 1",
            [name, until, since[0][0] if since else "-infinity", list(days)],
        )
        self._client.execute(
            "INSERT INTO filled VALUES (%s, %s) ON CONFLICT (interval_type) DO UPDATE SET filled = excluded.filled",
            [name, until],
        )
        return len(written)
