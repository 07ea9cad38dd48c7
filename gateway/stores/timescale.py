"""TimescaleDB: trades of accounts and their candles, for queries that name it.

Candles come from the continuous aggregates, and from the trades where an aggregate may lack some: parts of buckets,
days that late trades have touched since the last refresh, and days with trades older than the retention.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa

from gateway import arrow
from gateway.candles import PARTS, merge_candles
from gateway.query import Query, RowKey
from gateway.stores.contract import DaySize, Page
from tapehouse.clock import DAY, HOUR, MAX_TS, MINUTE, SECOND, parse_interval, parse_ns
from tapehouse.errors import TimescaleError, UsageError
from tapehouse.model import ACCOUNT_CANDLES, ACCOUNT_TRADES, Kind
from tapehouse.settings import Timescale
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_trades import TRADE_ORDER

_TIMEOUT_S = 30.0
_SOURCES = {
    **dict.fromkeys(("1m", "3m", "5m", "15m"), ("candlesticks_1m", MINUTE)),
    "30m": ("candlesticks_30m", 30 * MINUTE),
    "1h": ("candlesticks_1h", HOUR),
    "4h": ("candlesticks_4h", 4 * HOUR),
    **dict.fromkeys(("1d", "1w", "1M"), ("candlesticks_1d", DAY)),
}
"""Interval -> the aggregate whose candles are merged to its own, and how long those are in ns; none for 15s and 30s."""
_REFRESHED_DAYS = 29
"""Older days are in no refresh any more: what marks them stale was left by a role that does not run."""
_INSTANT = "to_timestamp({ns} / 1000000000) + mod({ns} / 1000, 1000000) * INTERVAL '1 microsecond'"
_SPAN = (
    f"timestamp >= {_INSTANT.format(ns='%s::BIGINT')} AND timestamp <= {_INSTANT.format(ns='%s::BIGINT')} "
    "AND ts_event >= %s AND ts_event < %s"
)
Piece = tuple[int, int, bool]
"""[start, end) in ns, and whether its candles are made of the trades."""


class TimescaleStore:
    """Account trades and their candles; implements `Store` for these alone."""

    name = "timescale"
    kinds = (ACCOUNT_TRADES.name, ACCOUNT_CANDLES.name)
    """The kinds of queries that it answers; others raise UsageError."""

    def __init__(self, settings: Timescale, timeout_s: float = _TIMEOUT_S) -> None:
        self._client = TimescaleClient(settings, timeout_s=timeout_s)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def check_health(self) -> None:
        """Raise ConnectError unless TimescaleDB answers."""
        self._fetch("SELECT 1")

    def day_sizes(self, kind: Kind) -> Mapping[int, DaySize]:
        """The size of each stored day; its bytes are its share of those of the table by rows."""
        _check_kind(kind.name)
        found = self._fetch(
            "SELECT ts_event - mod(ts_event, %s), count(*), (hypertable_size('trades') + "
            "pg_total_relation_size('diverted_trades')) / (sum(count(*)) OVER ()) FROM account_trades GROUP BY 1",
            [DAY],
        )
        return {int(day): DaySize(rows, int(rows * size)) for day, rows, size in found}

    def oldest_time(self, kind: Kind) -> int:
        """The oldest stored time, ns; MAX_TS if there are no rows."""
        _check_kind(kind.name)
        ((oldest,),) = self._fetch("SELECT min(ts_event) FROM account_trades")
        return MAX_TS if oldest is None else int(oldest)

    def read(self, query: Query, start_ns: int, end_ns: int, after: RowKey | None, most: int) -> Page:
        """The first rows of a span after a key."""
        statement, bound = _rows_statement(query, start_ns, end_ns, after)
        rows = self._fetch(f"{statement} LIMIT %s", [*bound, most])
        wanted = arrow.schema(ACCOUNT_TRADES.name, query.read_columns)
        return Page(arrow.batch_from_rows(rows, wanted, {}), len(rows) < most)

    def bars(
        self, query: Query, start_ns: int, end_ns: int, unchanged_since_ns: int | None = None
    ) -> tuple[pa.RecordBatch, int | None]:
        """Raises UsageError."""
        raise _not_held("bars")

    def account_candles(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """Candles from the aggregates and, where those may lack a trade, from the trades: of one moment.

        Raises TimescaleError where neither has all trades: some came after the others had been dropped.
        """
        assert query.interval is not None
        if start_ns >= end_ns:
            return arrow.empty_batch(PARTS), None
        source, length = _SOURCES.get(query.interval, ("", 15 * SECOND))
        accounts = list(query.accounts)
        with self._snapshot() as client:
            days = _days_of_trades(client, accounts, start_ns, end_ns)
            found = [
                self._candles(client, accounts, piece, source, length)
                for piece in _pieces(start_ns, end_ns, days, length, made_of_trades=not source)
            ]
        return merge_candles(found, parse_interval(query.interval)), None

    def count_newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """The number of newest rows, `count` at most, and the time of the oldest of them."""
        _check_kind(query.kind)
        ((rows, oldest),) = self._fetch(
            "SELECT count(*), min(ts_event) FROM (SELECT ts_event FROM account_trades "
            f"WHERE account_id = ANY(%s) AND {_SPAN} ORDER BY timestamp DESC, nanos DESC LIMIT %s) AS newest",
            [list(query.accounts), *_span(start_ns, end_ns), count],
        )
        return int(rows), int(oldest) if rows else end_ns

    def last_bar_time(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """Raises UsageError."""
        raise _not_held("bars")

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """Raises UsageError."""
        raise _not_held("trades")

    def symbols(self, kind: Kind, start_ns: int, end_ns: int, *, exact: bool) -> pl.DataFrame:
        """Raises UsageError: account trades have no symbols."""
        raise _not_held(kind.name)

    def count_rows(self, query: Query, start_ns: int, end_ns: int) -> int | None:
        """The rows of the accounts in the span."""
        _check_kind(query.kind)
        ((rows,),) = self._fetch(
            f"SELECT count(*) FROM account_trades WHERE account_id = ANY(%s) AND {_SPAN}",
            [list(query.accounts), *_span(start_ns, end_ns)],
        )
        return int(rows)

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """The SQL for a span, with $1, $2, ... for its values, which follow it."""
        if query.kind == ACCOUNT_CANDLES.name:
            assert query.interval is not None
            source, length = _SOURCES.get(query.interval, ("", 15 * SECOND))
            statement, bound = _candles_statement(
                list(query.accounts), (start_ns, end_ns, not source), source, length
            )
        else:
            statement, bound = _rows_statement(query, start_ns, end_ns, None)
        for number in range(1, len(bound) + 1):
            statement = statement.replace("%s", f"${number}", 1)
        return f"{' '.join(statement.split())} -- {bound}"

    def _candles(
        self, client: TimescaleClient, accounts: list[int], piece: Piece, source: str, length: int
    ) -> pa.RecordBatch:
        rows = client.fetch(*_candles_statement(accounts, piece, source, length))
        return arrow.batch_from_rows(rows, PARTS, {})

    def _fetch(self, statement: str, bound: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._client.fetch(statement, bound)

    @contextmanager
    def _snapshot(self) -> Iterator[TimescaleClient]:
        """Queries of one moment."""
        with self._lock, self._client.transaction():
            self._client.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield self._client


def _rows_statement(query: Query, start_ns: int, end_ns: int, after: RowKey | None) -> tuple[str, list[Any]]:
    _check_kind(query.kind)
    bound: list[Any] = [list(query.accounts), *_span(start_ns, end_ns)]
    where = f"account_id = ANY(%s) AND {_SPAN}"
    if after is not None:
        where += f" AND timestamp >= {_INSTANT.format(ns='%s::BIGINT')} AND (ts_event, account_id, id) > (%s, %s, %s)"
        bound += [int(after[0]), int(after[0]), *after]
    return (
        f"SELECT {', '.join(query.read_columns)} FROM account_trades WHERE {where} "
        "ORDER BY timestamp, nanos, account_id, id",
        bound,
    )


def _span(start_ns: int, end_ns: int) -> list[int]:
    """The values of `_SPAN`."""
    return [start_ns, start_ns, end_ns, end_ns, start_ns, end_ns]


def _candles_statement(accounts: list[int], piece: Piece, source: str, length: int) -> tuple[str, list[Any]]:
    start, end, is_of_trades = piece
    if is_of_trades:
        return (
            f"SELECT ts_event - mod(ts_event, %s), account_id, first(amount, {TRADE_ORDER}), max(amount), min(amount), "
            f"last(amount, {TRADE_ORDER}), sum(trx_amount), count(*) FROM account_trades "
            f"WHERE account_id = ANY(%s) AND {_SPAN} GROUP BY 1, 2 ORDER BY 1, 2",
            [length, accounts, *_span(start, end)],
        )
    return (
        "SELECT (extract(epoch FROM interval_start) * 1000000)::BIGINT * 1000, account_id, open_price, high_price, "
        f"low_price, close_price, volume, trades::BIGINT FROM {source} WHERE account_id = ANY(%s) "
        f"AND interval_start >= {_INSTANT.format(ns='%s::BIGINT')} "
        f"AND interval_start < {_INSTANT.format(ns='%s::BIGINT')} ORDER BY 1, 2",
        [accounts, start, start, end, end],
    )


def _days_of_trades(client: TimescaleClient, accounts: list[int], start_ns: int, end_ns: int) -> set[int]:
    """The days, by their start in ns, whose candles are to be made of trades. Raises TimescaleError if they cannot."""
    stale = client.fetch(
        "SELECT day::TEXT FROM stale_days WHERE day >= (now() AT TIME ZONE 'UTC')::DATE - %s",
        [_REFRESHED_DAYS],
    )
    late = client.fetch(
        "SELECT DISTINCT (timestamp AT TIME ZONE 'UTC')::DATE::TEXT FROM diverted_trades "
        f"WHERE account_id = ANY(%s) AND timestamp >= {_INSTANT.format(ns='%s::BIGINT')} "
        f"AND timestamp <= {_INSTANT.format(ns='%s::BIGINT')}",
        [accounts, start_ns, start_ns, end_ns, end_ns],
    )
    for (day,) in late:
        span = [accounts, day, day]
        where = "WHERE account_id = ANY(%s) AND {time} >= %s::DATE AND {time} < %s::DATE + 1"
        ((kept,),) = client.fetch(f"SELECT count(*) FROM trades {where.format(time='timestamp')}", span)
        ((known,),) = client.fetch(
            f"SELECT coalesce(sum(trades), 0)::BIGINT FROM candlesticks_1d {where.format(time='interval_start')}",
            span,
        )
        if known > kept:
            raise TimescaleError(
                f"timescale: candles of {day} lack trades that came after those of that day had been dropped",
                remedy="Ask without the store: QuestDB and ClickHouse have all of them.",
            )
    return {parse_ns(day) for (day,) in (*stale, *late)}


def _pieces(start_ns: int, end_ns: int, days: set[int], length: int, *, made_of_trades: bool) -> list[Piece]:
    """A span cut where candles change between those of an aggregate and those made of trades; contiguous."""
    first = min(-(-start_ns // length) * length, end_ns)
    last = max(end_ns // length * length, first)
    if made_of_trades or first == last:
        return [(start_ns, end_ns, True)]
    pieces: list[Piece] = [(start_ns, first, True)]
    at = first
    for day in sorted(days):
        begin, end = max(day, at), min(day + DAY, last)
        if begin < end:
            pieces += [(at, begin, False), (begin, end, True)]
            at = end
    pieces += [(at, last, False), (last, end_ns, True)]
    return [piece for piece in pieces if piece[0] < piece[1]]


def _check_kind(kind: str) -> None:
    if kind not in TimescaleStore.kinds:
        raise _not_held(kind)


def _not_held(kind: str) -> UsageError:
    return UsageError(
        f"store: timescale has {' and '.join(TimescaleStore.kinds)}, was asked for {kind}",
        remedy="Ask without the store.",
    )
