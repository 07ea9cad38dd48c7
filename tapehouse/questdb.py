"""Reading from QuestDB over its PostgreSQL wire, by the account that may only read."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import polars as pl
import psycopg
from pydantic import SecretStr

from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import ACCOUNT_TRADES, NO_BAR, Column, Kind
from tapehouse.questwatch import answered_within
from tapehouse.settings import QuestDB
from tapehouse.tabular import TIME

PAGE_ROWS = 50_000
# What makes a bar of rows of trades, and of smaller bars; the materialized views use the same.
_OF_TRADES = f"""arg_min(price, seq) AS open, max(price) AS high, min(price) AS low,
    arg_max(price, seq) AS close, sum(size) AS volume, sum(price * size) AS turnover, count() AS trades,
    sum(CASE WHEN side = 1 THEN size ELSE 0.0 END) AS buy_volume, min(seq) AS seq_first, max(seq) AS seq_last
    FROM trades WHERE (flags & {int(NO_BAR)}) = 0 AND"""
_OF_BARS = """arg_min(open, seq_first) AS open, max(high) AS high, min(low) AS low,
    arg_max(close, seq_last) AS close, sum(volume) AS volume, sum(turnover) AS turnover,
    sum(trades) AS trades, sum(buy_volume) AS buy_volume,
    min(seq_first) AS seq_first, max(seq_last) AS seq_last
    FROM {view} WHERE"""
_BAR_SOURCES = {"15s": "trades", "30s": "trades", "1d": "bars_1d", "1w": "bars_1d", "1M": "bars_1d"}
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

    def __init__(self, settings: QuestDB, patience_s: float | None = None) -> None:
        """A statement that is not answered within `patience_s` fails: a server that stands still says nothing."""
        self._settings = settings
        self._patience = patience_s
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
                self._connection = connect(
                    self._settings, self._settings.reader, self._settings.reader_password
                )
            with (
                answered_within(self._connection, self._patience),
                self._connection.cursor(binary=True) as cursor,
            ):
                return cursor.execute(statement.encode(), parameters or None).fetchall()
        except psycopg.OperationalError as reason:
            self.close()
            raise ConnectError(
                f"questdb: no answer on {self._settings.host}:{self._settings.pg_port}: {reason}",
                remedy="Start the platform with `tapehouse up`, or look at its log.",
            ) from reason
        except psycopg.Error as reason:
            raise TapehouseError(f"questdb: {reason}", statement=statement) from reason

    def rows(
        self,
        kind: Kind,
        venue: str,
        symbols: Sequence[str],
        start_ns: int,
        end_ns: int,
        names: Sequence[str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """Rows of a kind of symbols with start_ns <= time < end_ns, in the order of the kind's key.

        All columns, or those in `names`, which begin with the time and hold symbol and seq. Frames of about
        50,000 rows, times as Datetime(ns, UTC). A frame never ends inside a timestamp, so each is in order
        though QuestDB orders by time alone.
        """
        chosen = kind.columns if names is None else tuple(kind.column(name) for name in names)
        where = f"venue = %s AND symbol IN ({', '.join(['%s'] * len(symbols))})"
        return self._pages(kind, chosen, where, [venue, *symbols], start_ns, end_ns)

    def account_rows(self, first: int, last: int, start_ns: int, end_ns: int) -> Iterator[pl.DataFrame]:
        """As `rows`, all columns of the trades of the accounts from `first` to `last`, inclusive."""
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
        held = {column.name for column in chosen}
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
                yield frame(chosen, rows).sort([name for name in kind.key if name in held])
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

    def last_seq(self, kind: Kind, venue: str, symbol: str, ts_ns: int) -> int | None:
        """The highest seq of a symbol at or before `ts_ns`, looked for in its last stored timestamp there."""
        last = self.fetch(
            f"SELECT cast({kind.time} AS long) FROM {kind.name} WHERE venue = %s AND symbol = %s "  # noqa: S608
            f"AND {kind.time} <= cast(%s AS timestamp_ns) ORDER BY {kind.time} DESC LIMIT 1",
            [venue, symbol, ts_ns],
        )
        if not last:
            return None
        names = (kind.time, "symbol", "seq")
        pages = self.rows(kind, venue, [symbol], last[0][0], last[0][0] + 1, names)
        return max(int(page["seq"].max()) for page in pages)  # type: ignore[arg-type]

    def wait_applied(self, table: str) -> None:
        """Wait until what is committed to a table is visible."""
        self.fetch(f"SELECT wait_wal_table('{table}')")

    def wait_refreshed(self, view: str, patience_s: float) -> None:
        """Wait until a materialized view shows all that is visible in its base now.

        Raises ConnectError when it does not within `patience_s`, TapehouseError when the view is invalid.
        """
        deadline = time.monotonic() + patience_s
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
                # Its rows are a commit of its own.
                self.wait_applied(view)
                return
            time.sleep(0.01)
        raise ConnectError(f"questdb: expected {view} to be up to date within {patience_s:g} s, was not")

    def started_ns(self) -> int:
        """When the server was started, ns UTC."""
        return int(self.fetch("SELECT cast(pg_postmaster_start_time() AS long)")[0][0]) * 1000


def connect(settings: QuestDB, user: str, password: SecretStr) -> psycopg.Connection[Any]:
    """A connection of an account; psycopg.OperationalError when QuestDB does not answer."""
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
    """A connection of the account that may write, for the length of the context.

    Raises ConnectError when QuestDB does not answer, TapehouseError when it refuses a statement.
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


def bar_source(interval: str) -> str:
    """The table that bars of an interval are sampled from: trades, or a view of bars."""
    return _BAR_SOURCES.get(interval, "bars_1m")


def made_of(source: str) -> tuple[str, str]:
    """The time column of a bar's source, and from open to seq_last what makes a bar of its rows, up to WHERE."""
    return ("ts_event", _OF_TRADES) if source == "trades" else ("ts", _OF_BARS.format(view=source))


def _selected(column: Column) -> str:
    return f"cast({column.name} AS long)" if column.type == "time" else column.name


def frame(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> pl.DataFrame:
    """Rows in the order of `columns`, times in ns, as a frame with times as Datetime(ns, UTC)."""
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    series = [
        pl.Series(column.name, data, _POLARS[column.type])
        for column, data in zip(columns, values, strict=True)
    ]
    times = [column.name for column in columns if column.type == "time"]
    return pl.DataFrame(series).with_columns(pl.col(times).cast(TIME))
