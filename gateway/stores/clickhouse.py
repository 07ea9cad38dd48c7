"""ClickHouse, the cold store: rows and bars as Arrow streams over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from gateway import arrow
from gateway.candles import PARTS
from gateway.query import Query, RowKey
from gateway.stores.contract import DaySize, Page, symbols_frame
from tapehouse.clock import INTERVALS, MAX_TS, MINUTE, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import ACCOUNT_CANDLES, ACCOUNT_TRADES, BARS, NO_BAR, TRADES, Kind
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.clickhouse_parts import read_stored_days

_TIMEOUT_S = 30
_TIE_ROWS = 16
_TIME_SPAN = (
    "{time} >= fromUnixTimestamp64Nano({{start:Int64}}, 'UTC') "
    "AND {time} < fromUnixTimestamp64Nano({{end:Int64}}, 'UTC')"
)
# The aggregates of a bar over trades, and over 1-minute bars; the same as those of QuestDB's views.
_BARS_FROM_TRADES = f"""argMin(price, seq) AS open, max(price) AS high, min(price) AS low,
    argMax(price, seq) AS close, sum(size) AS volume, sum(price * size) AS turnover, toInt64(count()) AS trades,
    sumIf(size, side = 1) AS buy_volume, min(seq) AS seq_first, max(seq) AS seq_last
    FROM trades WHERE bitAnd(flags, {int(NO_BAR)}) = 0 AND """
_BARS_FROM_1M = """argMin(b.open, b.seq_first) AS open, max(b.high) AS high, min(b.low) AS low,
    argMax(b.close, b.seq_last) AS close, sum(b.volume) AS volume, sum(b.turnover) AS turnover,
    toInt64(sum(b.trades)) AS trades, sum(b.buy_volume) AS buy_volume,
    min(b.seq_first) AS seq_first, max(b.seq_last) AS seq_last
    FROM bars_1m AS b WHERE """
# A sum of Decimal(38, 18) wraps in silence; one of 76 digits holds more rows than there can be.
_CANDLES = """argMin(amount, (ts_event, id)) AS open, max(amount) AS high, min(amount) AS low,
    argMax(amount, (ts_event, id)) AS close, sum(toDecimal256(trx_amount, 18)) AS volume, toInt64(count()) AS trades
    FROM account_trades WHERE """
# Compression costs more than it saves on a local network. The second setting is for weeks and months after 2149.
_ARROW_SETTINGS = (
    "SETTINGS output_format_arrow_compression_method = 'none', "
    "enable_extended_results_for_datetime_functions = 1"
)
# The table is sorted by `seq_code`, the stored form of seq. Within one timestamp its order differs from that of seq
# only if some seqs are close to the timestamp and others below it.
_SORT_COLUMNS = {"seq": "seq_code"}
_PARAMETER_TYPES = {"symbol": "String", "long": "Int64", "flag": "Bool"}
Parameters = dict[str, Any]


class ClickHouseStore:
    """The cold store; implements `Store`."""

    name = "clickhouse"

    def __init__(self, settings: ClickHouse, timeout_s: int = _TIMEOUT_S) -> None:
        self._settings = settings
        self._client = ClickHouseClient(settings, timeout_s=timeout_s, reading=True)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def check_health(self) -> None:
        """Raise ConnectError unless ClickHouse answers."""
        self._client.fetch("SELECT 1")

    def day_sizes(self, kind: Kind) -> Mapping[int, DaySize]:
        """The size of each stored day, from `system.parts`."""
        stored = read_stored_days(self._client, self._settings, kind.name)
        return {parse_ns(day): DaySize(rows, size) for day, (rows, size) in stored.items()}

    def oldest_time(self, kind: Kind) -> int:
        """The oldest stored time, ns; MAX_TS if there are no rows."""
        found = self._client.fetch(
            f"SELECT count(), toUnixTimestamp64Nano(min({kind.time})) FROM {kind.name}"
        )
        rows, oldest = found[0]
        return int(oldest) if rows else MAX_TS

    def read(self, query: Query, start_ns: int, end_ns: int, after: RowKey | None, most: int) -> Page:
        """The first rows of a span after a key."""
        kind = query.source_kind
        wanted = arrow.schema(kind.name, query.read_columns)
        statement, bound = _rows_statement(query, kind, start_ns, end_ns, after)
        by_code = "seq_code" in statement
        # Rows of the last timestamp are then dropped; the extra rows make up for them.
        most += _TIE_ROWS if by_code else 0
        while True:
            table = self._table(f"{statement} LIMIT {{most:UInt64}}", {**bound, "most": most})
            batch = arrow.conform_to_schema(table, wanted, self.name, query.constant_columns)
            is_last = batch.num_rows < most
            if by_code and not is_last:
                # Rows of the last timestamp with lower seqs may be missing here.
                times = arrow.times_ns(batch, kind)
                batch = batch.slice(0, int(np.searchsorted(times, times[-1])))
            if is_last or batch.num_rows:
                return Page(
                    arrow.sort_by_key(batch, kind, query.constant_columns) if by_code else batch, is_last
                )
            most *= 2

    def bars(
        self, query: Query, start_ns: int, end_ns: int, unchanged_since_ns: int | None = None
    ) -> tuple[pa.RecordBatch, int | None]:
        """Bars aggregated from `bars_1m`; those of 15s and 30s from the trades."""
        table = self._table(*_bars_statement(query, start_ns, end_ns))
        return arrow.conform_to_schema(table, arrow.schema(BARS.name, BARS.names), self.name), None

    def account_candles(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """Candles aggregated from the account trades, which are sorted by account."""
        table = self._table(*_candles_statement(query, start_ns, end_ns))
        return arrow.conform_to_schema(table, PARTS, self.name), None

    def count_newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """The number of newest rows, `count` at most, and the time of the oldest of them."""
        kind = query.source_kind
        where, bound = _row_filter(query, start_ns, end_ns)
        found = self._client.fetch(
            f"SELECT count(), min(at) FROM (SELECT toUnixTimestamp64Nano({kind.time}) AS at FROM {kind.name} "
            f"WHERE {where} ORDER BY {kind.time} DESC LIMIT {{most:UInt64}})",
            {**bound, "most": count},
        )
        rows, oldest = found[0]
        return int(rows), int(oldest) if rows else end_ns

    def last_bar_time(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """The time of a symbol's last trade in the span that counts in bars; None if there is none."""
        found = self._client.fetch(
            f"SELECT toUnixTimestamp64Nano(ts_event) FROM trades WHERE bitAnd(flags, {int(NO_BAR)}) = 0 "
            f"AND venue = {{venue:String}} AND symbol = {{symbol:String}} AND {_TIME_SPAN.format(time='ts_event')} "
            "ORDER BY ts_event DESC LIMIT 1",
            {"venue": query.venue, "symbol": symbol, "start": start_ns, "end": end_ns},
        )
        return int(found[0][0]) if found else None

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """Each symbol's last trade that counts in bars."""
        wanted = arrow.schema(TRADES.name, TRADES.names)
        minutes = self._client.fetch(
            "SELECT symbol, toUnixTimestamp64Nano(max(ts)) FROM bars_1m "
            "WHERE venue = {venue:String} AND symbol IN {symbols:Array(String)} GROUP BY symbol ORDER BY symbol",
            {"venue": venue, "symbols": list(symbols)},
        )
        rows = [
            self._table(
                f"SELECT {', '.join(TRADES.names)} FROM trades WHERE bitAnd(flags, {int(NO_BAR)}) = 0 "
                f"AND venue = {{venue:String}} AND symbol = {{symbol:String}} AND {_TIME_SPAN.format(time='ts_event')} "
                "ORDER BY ts_event DESC, seq DESC LIMIT 1",
                {"venue": venue, "symbol": symbol, "start": minute, "end": minute + MINUTE},
            )
            for symbol, minute in minutes
        ]
        batches = [arrow.conform_to_schema(row, wanted, self.name) for row in rows]
        return pa.Table.from_batches(batches, schema=wanted)

    def symbols(self, kind: Kind, start_ns: int, end_ns: int, *, exact: bool) -> pl.DataFrame:
        """The series of a kind in a span; the times are exact always."""
        counted = f"bitAnd(flags, {int(NO_BAR)}) = 0 AND " if kind is TRADES else ""
        found = self._client.fetch(
            f"SELECT venue, symbol, toUnixTimestamp64Nano(min({kind.time})), toUnixTimestamp64Nano(max({kind.time})), "
            f"count() FROM {kind.name} WHERE {counted}{_TIME_SPAN.format(time=kind.time)} "
            "GROUP BY venue, symbol ORDER BY venue, symbol",
            {"start": start_ns, "end": end_ns},
        )
        return symbols_frame(found)

    def count_rows(self, query: Query, start_ns: int, end_ns: int) -> int | None:
        """The rows of the names, which the table is sorted by."""
        kind = query.source_kind
        where, bound = _row_filter(replace(query, flags=0), start_ns, end_ns)
        counted = f"bitAnd(flags, {int(NO_BAR)}) = 0 AND " if kind is TRADES else ""
        found = self._client.fetch(f"SELECT count() FROM {kind.name} WHERE {counted}{where}", bound)
        return int(found[0][0])

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """The SQL for a span, preceded by a SET of its parameters."""
        if query.kind == "bars":
            statement, bound = _bars_statement(query, start_ns, end_ns)
        elif query.kind == ACCOUNT_CANDLES.name:
            statement, bound = _candles_statement(query, start_ns, end_ns)
        else:
            statement, bound = _rows_statement(query, query.source_kind, start_ns, end_ns, None)
        set_to = ", ".join(f"param_{name} = {value!r}" for name, value in bound.items())
        return f"SET {set_to}; {' '.join(statement.split())}"

    def _table(self, statement: str, bound: Parameters) -> pa.Table:
        body = self._client.arrow(f"{statement} {_ARROW_SETTINGS}", bound)
        try:
            return pa.ipc.open_stream(body).read_all()
        except (pa.ArrowInvalid, OSError) as reason:
            raise ConnectError(f"clickhouse: the response was truncated: {reason}") from reason


def _row_filter(query: Query, start_ns: int, end_ns: int) -> tuple[str, Parameters]:
    """The WHERE condition of a query in a span, and its parameters."""
    kind = query.source_kind
    bound: Parameters = {"start": start_ns, "end": end_ns}
    where = []
    values: list[Any]
    if kind is ACCOUNT_TRADES:
        column, values, type_ = "account_id", list(query.accounts), "Int64"
    else:
        column, values, type_ = "symbol", list(query.symbols), "String"
        if query.venue:
            where.append("venue = {venue:String}")
            bound["venue"] = query.venue
    if len(values) == 1:
        # ClickHouse reads in the table's own order for an equality, but not for IN.
        where.append(f"{column} = {{name:{type_}}}")
        bound["name"] = values[0]
    elif values:
        where.append(f"{column} IN {{names:Array({type_})}}")
        bound["names"] = values
    if query.flags and query.kind != "bars":
        where.append(f"bitAnd(flags, {query.flags:d}) = 0")
    where.append(_TIME_SPAN.format(time=kind.time))
    return " AND ".join(where), bound


def _rows_statement(
    query: Query, kind: Kind, start_ns: int, end_ns: int, after: RowKey | None
) -> tuple[str, Parameters]:
    first = start_ns if after is None else max(start_ns, int(after[0]))
    where, bound = _row_filter(query, first, end_ns)
    if after is not None:
        rest = [kind.column(name) for name in kind.key[1:]]
        last = ", ".join(f"{{after_{column.name}:{_PARAMETER_TYPES[column.type]}}}" for column in rest)
        where += (
            f" AND ({kind.time} > fromUnixTimestamp64Nano({{after:Int64}}, 'UTC') "
            f"OR ({', '.join(column.name for column in rest)}) > ({last}))"
        )
        bound["after"] = int(after[0])
        bound |= {f"after_{column.name}": value for column, value in zip(rest, after[1:], strict=True)}
    fixed = {"venue": bool(query.venue), "symbol": "name" in bound, "account_id": "name" in bound}
    stored = _SORT_COLUMNS if kind is TRADES and "name" in bound else {}
    order = ", ".join(stored.get(name, name) for name in kind.key if not fixed.get(name))
    return f"SELECT {', '.join(query.fetched_columns)} FROM {kind.name} WHERE {where} ORDER BY {order}", bound


def _bars_statement(query: Query, start_ns: int, end_ns: int) -> tuple[str, Parameters]:
    assert query.interval is not None
    time, made = (
        ("ts_event", _BARS_FROM_TRADES) if query.interval in ("15s", "30s") else ("b.ts", _BARS_FROM_1M)
    )
    where, bound = _row_filter(query, start_ns, end_ns)
    where = where.replace("ts_event", time)
    return (
        f"SELECT {_bucket_expression(query.interval, time)} AS ts, venue, symbol, {made}{where} "
        "GROUP BY ts, venue, symbol ORDER BY ts, symbol",
        bound,
    )


def _candles_statement(query: Query, start_ns: int, end_ns: int) -> tuple[str, Parameters]:
    assert query.interval is not None
    where, bound = _row_filter(query, start_ns, end_ns)
    return (
        f"SELECT {_bucket_expression(query.interval, 'ts_event')} AS ts, account_id, {_CANDLES}{where} "
        "GROUP BY ts, account_id ORDER BY ts, account_id",
        bound,
    )


def _bucket_expression(interval: str, time: str) -> str:
    if interval == "1w":
        return f"toDateTime64(toMonday({time}), 9, 'UTC')"
    if interval == "1M":
        return f"toDateTime64(toStartOfMonth({time}), 9, 'UTC')"
    length = INTERVALS[interval].length
    ns = f"toUnixTimestamp64Nano({time})"
    return f"fromUnixTimestamp64Nano(intDiv({ns}, {length}) * {length}, 'UTC')"
