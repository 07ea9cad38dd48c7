"""Reading from QuestDB over its PostgreSQL wire, by the account that may only read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl
import psycopg

from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import Column, Kind
from tapehouse.settings import QuestDB

PAGE_ROWS = 100_000
TIME = pl.Datetime("ns", "UTC")
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


class QuestReader:
    """One reading connection, opened when first needed; for one caller at a time."""

    def __init__(self, settings: QuestDB) -> None:
        self._settings = settings
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement, its %s bound to `parameters`.

        Raises ConnectError when QuestDB does not answer, TapehouseError when it refuses the statement.
        """
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            with self._connection.cursor(binary=True) as cursor:
                return cursor.execute(statement.encode(), parameters or None).fetchall()
        except psycopg.OperationalError as reason:
            self.close()
            raise ConnectError(
                f"questdb: no answer on {self._settings.host}:{self._settings.pg_port}: {reason}",
                remedy="Start the platform with `tapehouse up`, or look at its log.",
            ) from reason
        except psycopg.Error as reason:
            raise TapehouseError(f"questdb: {reason}", statement=statement) from reason

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self._settings.host,
            port=self._settings.pg_port,
            user=self._settings.reader,
            password=self._settings.reader_password.get_secret_value(),
            dbname="qdb",
            autocommit=True,
            connect_timeout=5,
        )

    def rows(
        self, kind: Kind, venue: str, symbols: Sequence[str], start_ns: int, end_ns: int
    ) -> Iterator[pl.DataFrame]:
        """Rows of trades or quotes with start_ns <= time < end_ns, ordered by (time, symbol, seq).

        Frames of about 100,000 rows, times as Datetime(ns, UTC). A frame never ends inside a timestamp, so
        each is in order though QuestDB orders by time alone.
        """
        columns = ", ".join(_selected(column) for column in kind.columns)
        places = ", ".join(["%s"] * len(symbols))
        statement = (
            f"SELECT {columns} FROM {kind.name} WHERE venue = %s AND symbol IN ({places}) "  # noqa: S608
            f"AND {kind.time} >= cast(%s AS timestamp_ns) AND {kind.time} < cast(%s AS timestamp_ns) "
            f"ORDER BY {kind.time} LIMIT %s"
        )
        limit = PAGE_ROWS
        while start_ns < end_ns:
            rows = self.fetch(statement, [venue, *symbols, start_ns, end_ns, limit])
            full = len(rows) == limit
            times = [row[0] for row in rows]
            if full and times[0] == times[-1]:
                limit *= 2
                continue
            if full:
                start_ns = times[-1]
                rows = rows[: times.index(start_ns)]
            if rows:
                yield frame(kind, rows).sort(kind.time, "symbol", "seq")
            if not full:
                return
            limit = PAGE_ROWS

    def count(self, kind: Kind, venue: str, start_ns: int, end_ns: int) -> int:
        """How many rows of a kind and venue have start_ns <= time < end_ns."""
        statement = (
            f"SELECT count() FROM {kind.name} WHERE venue = %s "  # noqa: S608
            f"AND {kind.time} >= cast(%s AS timestamp_ns) AND {kind.time} < cast(%s AS timestamp_ns)"
        )
        return int(self.fetch(statement, [venue, start_ns, end_ns])[0][0])

    def wait_applied(self, table: str) -> None:
        """Wait until what is committed to a table is visible."""
        self.fetch(f"SELECT wait_wal_table('{table}')")

    def started_ns(self) -> int:
        """When the server was started, ns UTC."""
        return int(self.fetch("SELECT cast(pg_postmaster_start_time() AS long)")[0][0]) * 1000


def _selected(column: Column) -> str:
    return f"cast({column.name} AS long)" if column.type == "time" else column.name


def frame(kind: Kind, rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Rows in the kind's column order, times in ns, as a frame with times as Datetime(ns, UTC)."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(kind.columns)
    series = [
        pl.Series(column.name, values, _POLARS[column.type])
        for column, values in zip(kind.columns, columns, strict=True)
    ]
    times = [column.name for column in kind.columns if column.type == "time"]
    return pl.DataFrame(series).with_columns(pl.col(times).cast(TIME))
