"""Queries to QuestDB over the PostgreSQL protocol, with the read-only account."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import polars as pl
import psycopg
from pydantic import SecretStr

from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import ACCOUNT_TRADES, Column, Kind
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb_watch import NoAnswerInTimeError, answered_within
from tapehouse.tabular import TIME

PAGE_ROWS = 50_000
_POLARS: dict[str, Any] = {
    "time": pl.Int64,
    "symbol": pl.String,
    "text": pl.String,
    "long": pl.Int64,
    "byte": pl.Int8,
    "short": pl.Int16,
    "double": pl.Float64,
    "doubles": pl.List(pl.Float64),
    "flag": pl.Boolean,
    "decimal": pl.Decimal(38, 18),
}


@dataclass(frozen=True)
class DayPartition:
    """The rows and bytes that QuestDB stores for one day of a table."""

    rows: int
    bytes: int
    """On the disk."""


class QuestReader:
    """A read-only connection, opened by the first query. Not thread-safe.

    QuestDB closes connections that were idle for five minutes, and all when it is restarted: a query that finds its
    connection closed is sent again on a new one.
    """

    def __init__(self, settings: QuestDB, timeout_s: float | None = None) -> None:
        """A query without a response within `timeout_s` fails with ConnectError; None: no limit."""
        self._settings = settings
        self._timeout_s = timeout_s
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next query opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query, with its %s bound to `parameters`.

        Raises ConnectError when QuestDB does not answer, TapehouseError when it rejects the statement.
        """
        reused = self._connection is not None and not self._connection.closed
        try:
            try:
                return self._fetched(statement, parameters)
            except psycopg.OperationalError as reason:
                if not reused or isinstance(reason, NoAnswerInTimeError) or not self._is_lost():
                    raise
                return self._fetched(statement, parameters)
        except psycopg.OperationalError as reason:
            self.close()
            raise ConnectError(
                f"questdb: no answer on {self._settings.host}:{self._settings.pg_port}: {reason}",
                remedy="Start the platform with `tapehouse up`, or look at its log.",
            ) from reason
        except psycopg.Error as reason:
            raise TapehouseError(f"questdb: {reason}", statement=statement) from reason

    def _fetched(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._connection is None or self._is_lost():
            self._connection = connect(self._settings, self._settings.reader, self._settings.reader_password)
        with (
            answered_within(self._connection, self._timeout_s),
            self._connection.cursor(binary=True) as cursor,
        ):
            return cursor.execute(statement.encode(), parameters or None).fetchall()

    def _is_lost(self) -> bool:
        return self._connection is not None and self._connection.closed

    def rows(
        self,
        kind: Kind,
        venue: str,
        symbols: Sequence[str],
        start_ns: int,
        end_ns: int,
        names: Sequence[str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Rows of a kind, venue and symbols with start_ns <= time < end_ns, in the order of the kind's key.

        All columns, or those in `names`, which must start with the time and contain symbol and seq. Yields frames of
        about 50,000 rows, with times as Datetime(ns, UTC). QuestDB sorts only by time; a frame never ends within a
        timestamp, so that each can be sorted by key.
        """
        chosen = kind.columns if names is None else tuple(kind.column(name) for name in names)
        where = f"venue = %s AND {is_one_of('symbol', len(symbols))}"
        return self._pages(kind, chosen, where, [venue, *symbols], start_ns, end_ns)

    def account_rows(self, first: int, last: int, start_ns: int, end_ns: int) -> Iterator[pl.DataFrame]:
        """Like `rows`: all columns of the trades of accounts `first` to `last`, inclusive."""
        where = "account_id >= %s AND account_id <= %s"
        return self._pages(ACCOUNT_TRADES, ACCOUNT_TRADES.columns, where, [first, last], start_ns, end_ns)

    def _pages(
        self,
        kind: Kind,
        chosen: tuple[Column, ...],
        where: str,
        bound: Sequence[Any],
        start_ns: int,
        end_ns: int,
    ) -> Iterator[pl.DataFrame]:
        selected = {column.name for column in chosen}
        columns = ", ".join(_selected(column) for column in chosen)
        statement = (
            f"SELECT {columns} FROM {kind.name} WHERE {where} "  # noqa: S608
            f"AND {kind.time} >= cast(%s AS timestamp_ns) AND {kind.time} < cast(%s AS timestamp_ns) "
            f"ORDER BY {kind.time} LIMIT %s"
        )
        limit = PAGE_ROWS
        while start_ns < end_ns:
            rows = self.fetch(statement, [*bound, start_ns, end_ns, limit])
            full = len(rows) == limit
            times = [row[0] for row in rows]
            if full and times[0] == times[-1]:
                limit *= 2
                continue
            if full:
                start_ns = times[-1]
                rows = rows[: times.index(start_ns)]
            if rows:
                yield frame(chosen, rows).sort([name for name in kind.key if name in selected])
            if not full:
                return
            limit = PAGE_ROWS

    def day_partitions(self, kind: Kind) -> dict[str, DayPartition]:
        """Stored rows and bytes of a kind by day (YYYY-MM-DD); days without rows are left out."""
        days: dict[str, DayPartition] = {}
        statement = f"SELECT name, numRows, diskSize FROM table_partitions('{kind.name}')"  # noqa: S608
        for name, rows, size in self.fetch(statement):
            if rows:
                # QuestDB may split a partition; the name of each piece begins with the day.
                day = name[:10]
                before = days.get(day, DayPartition(0, 0))
                days[day] = DayPartition(before.rows + rows, before.bytes + size)
        return days

    def count(self, kind: Kind, venue: str, start_ns: int, end_ns: int) -> int:
        """The number of rows of a kind and venue with start_ns <= time < end_ns."""
        statement = (
            f"SELECT count() FROM {kind.name} WHERE venue = %s "  # noqa: S608
            f"AND {kind.time} >= cast(%s AS timestamp_ns) AND {kind.time} < cast(%s AS timestamp_ns)"
        )
        return int(self.fetch(statement, [venue, start_ns, end_ns])[0][0])

    def wait_applied(self, table: str) -> None:
        """Wait until all rows committed to a table are visible."""
        self.fetch(f"SELECT wait_wal_table('{table}')")

    def wait_refreshed(self, view: str, timeout_s: float) -> None:
        """Wait until a materialized view includes all rows that are visible in its base table now.

        It must have been told to: see `refresh_bar_views`. Raises ConnectError when it does not within `timeout_s`,
        TapehouseError when the view is invalid.
        """
        deadline = time.monotonic() + timeout_s
        target: int | None = None
        while time.monotonic() < deadline:
            status, reason, done, base = self.fetch(
                "SELECT view_status, invalidation_reason, refresh_base_table_txn, base_table_txn "
                "FROM materialized_views() WHERE view_name = %s",
                [view],
            )[0]
            if status == "invalid":
                raise TapehouseError(
                    f"questdb: the view {view} is invalid: {reason}",
                    remedy=f"Rebuild it: REFRESH MATERIALIZED VIEW {view} FULL.",
                )
            target = base if target is None else target
            if target is None or (done or 0) >= target:
                # The refresh is a commit to the view itself.
                self.wait_applied(view)
                return
            time.sleep(0.01)
        raise ConnectError(f"questdb: expected {view} to be up to date within {timeout_s:g} s, was not")

    def started_ns(self) -> int:
        """When the server was started, ns UTC."""
        return int(self.fetch("SELECT cast(pg_postmaster_start_time() AS long)")[0][0]) * 1000


def connect(settings: QuestDB, user: str, password: SecretStr) -> psycopg.Connection[Any]:
    """Connect as `user`. Raises psycopg.OperationalError when QuestDB does not answer."""
    return psycopg.connect(
        host=settings.host,
        port=settings.pg_port,
        user=user,
        password=password.get_secret_value(),
        dbname="qdb",
        autocommit=True,
        connect_timeout=5,
    )


@contextmanager
def as_owner(settings: QuestDB) -> Iterator[psycopg.Connection[Any]]:
    """Context manager of a connection with the account that may write.

    Raises ConnectError when QuestDB does not answer, TapehouseError when it rejects a statement.
    """
    try:
        with connect(settings, settings.user, settings.password) as connection:
            yield connection
    except psycopg.OperationalError as reason:
        raise ConnectError(
            f"questdb: no answer on {settings.host}:{settings.pg_port}: {reason}",
            remedy="Start the platform with `tapehouse up`, or look at its log.",
        ) from reason
    except psycopg.Error as reason:
        raise TapehouseError(f"questdb: {reason}") from reason


def is_one_of(column: str, count: int) -> str:
    """The condition that a column equals one of `count` bound values, each a %s.

    Never IN with one value: over the PostgreSQL wire QuestDB takes a single text such as null, {a} or [] for a list,
    and finds nothing.
    """
    if count == 1:
        return f"{column} = %s"
    return f"{column} IN ({', '.join(['%s'] * count)})"


def _selected(column: Column) -> str:
    return f"cast({column.name} AS long)" if column.type == "time" else column.name


def frame(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """A frame of rows with values in the order of `columns`; int64 ns become Datetime(ns, UTC)."""
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    series = [
        pl.Series(column.name, data, _POLARS[column.type])
        for column, data in zip(columns, values, strict=True)
    ]
    times = [column.name for column in columns if column.type == "time"]
    return pl.DataFrame(series).with_columns(pl.col(times).cast(TIME))
