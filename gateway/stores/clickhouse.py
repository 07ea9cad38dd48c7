"""The cold store's answers: rows as the Arrow that ClickHouse writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from gateway import arrow
from gateway.query import Key, Query
from gateway.stores.contract import Held, Page
from gateway.stores.questdb import listed
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.clock import INTERVALS, MAX_TS, MINUTE, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import ACCOUNT_TRADES, BARS, NO_BAR, TRADES, Kind
from tapehouse.settings import ClickHouse

_TIMEOUT_S = 30
_TIES = 16
_SPAN = (
    "{time} >= fromUnixTimestamp64Nano({{start:Int64}}, 'UTC') "
    "AND {time} < fromUnixTimestamp64Nano({{end:Int64}}, 'UTC')"
)
# What makes a bar of rows of trades, and of 1-minute bars; QuestDB's views use the same words.
_OF_TRADES = f"""argMin(price, seq) AS open, max(price) AS high, min(price) AS low,
    argMax(price, seq) AS close, sum(size) AS volume, sum(price * size) AS turnover, toInt64(count()) AS trades,
    sumIf(size, side = 1) AS buy_volume, min(seq) AS seq_first, max(seq) AS seq_last
    FROM trades WHERE bitAnd(flags, {int(NO_BAR)}) = 0 AND """
_OF_BARS = """argMin(b.open, b.seq_first) AS open, max(b.high) AS high, min(b.low) AS low,
    argMax(b.close, b.seq_last) AS close, sum(b.volume) AS volume, sum(b.turnover) AS turnover,
    toInt64(sum(b.trades)) AS trades, sum(b.buy_volume) AS buy_volume,
    min(b.seq_first) AS seq_first, max(b.seq_last) AS seq_last
    FROM bars_1m AS b WHERE """
# Compressed it would be smaller, and slower on a local network. And weeks and months beyond 2149.
_PLAIN = "SETTINGS output_format_arrow_compression_method = 'none', enable_extended_results_for_datetime_functions = 1"
# The table is sorted by what seq is stored as. Within a timestamp that is another order only where some seqs are
# near it and others below it.
_SORTED_BY = {"seq": "seq_code"}
_BOUND = {"symbol": "String", "long": "Int64", "flag": "Bool"}
Bound = dict[str, Any]


class ClickStore:
    """ClickHouse as a `Store`; see there."""

    name = "clickhouse"

    def __init__(self, settings: ClickHouse, timeout_s: int = _TIMEOUT_S) -> None:
        self._database = settings.database
        self._client = ClickHouseClient(settings, timeout_s=timeout_s, reading=True)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def health(self) -> None:
        """Return when it answers."""
        self._client.fetch("SELECT 1")

    def coverage(self, kind: Kind) -> Mapping[int, Held]:
        """By day what is held, by its parts."""
        found = self._client.fetch(
            "SELECT partition, sum(rows), sum(bytes_on_disk) FROM system.parts "
            "WHERE active AND database = {database:String} AND table = {table:String} GROUP BY partition",
            {"database": self._database, "table": kind.name},
        )
        return {
            parse_ns(f"{day[:4]}-{day[4:6]}-{day[6:]}"): Held(int(rows), int(size))
            for day, rows, size in found
        }

    def oldest(self, kind: Kind) -> int:
        """The oldest time held."""
        found = self._client.fetch(
            f"SELECT count(), toUnixTimestamp64Nano(min({kind.time})) FROM {kind.name}"
        )
        rows, oldest = found[0]
        return int(oldest) if rows else MAX_TS

    def read(self, query: Query, start_ns: int, end_ns: int, after: Key | None, most: int) -> Page:
        """The first rows of a span behind a key."""
        kind = query.rows_kind
        wanted = arrow.schema(kind.name, query.read_names)
        statement, bound = _rows(query, kind, start_ns, end_ns, after)
        by_code = "seq_code" in statement
        # Of its last timestamp none is used then: so there are as many as are wanted even so.
        most += _TIES if by_code else 0
        while True:
            table = self._table(f"{statement} LIMIT {{most:UInt64}}", {**bound, "most": most})
            batch = arrow.conformed(table, wanted, self.name, query.same)
            ended = batch.num_rows < most
            if by_code and not ended:
                # There may be rows of its last timestamp with lower seqs that are not here.
                times = arrow.times_of(batch, kind)
                batch = batch.slice(0, int(np.searchsorted(times, times[-1])))
            if ended or batch.num_rows:
                return Page(arrow.in_order(batch, kind, query.same) if by_code else batch, ended)
            most *= 2

    def bars(self, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
        """Bars of the 1-minute bars that travel with the trades; 15s and 30s of the trades."""
        table = self._table(*_bars(query, start_ns, end_ns))
        return arrow.conformed(table, arrow.schema(BARS.name, BARS.names), self.name), None

    def newest(self, query: Query, start_ns: int, end_ns: int, count: int) -> tuple[int, int]:
        """How many newest rows there are, and the time of the oldest of them."""
        kind = query.rows_kind
        where, bound = _of(query, start_ns, end_ns)
        found = self._client.fetch(
            f"SELECT count(), min(at) FROM (SELECT toUnixTimestamp64Nano({kind.time}) AS at FROM {kind.name} "
            f"WHERE {where} ORDER BY {kind.time} DESC LIMIT {{most:UInt64}})",
            {**bound, "most": count},
        )
        rows, oldest = found[0]
        return int(rows), int(oldest) if rows else end_ns

    def last_bar(self, query: Query, symbol: str, start_ns: int, end_ns: int) -> int | None:
        """The time of the last trade of a symbol in a span that takes part in bars."""
        found = self._client.fetch(
            f"SELECT toUnixTimestamp64Nano(ts_event) FROM trades WHERE bitAnd(flags, {int(NO_BAR)}) = 0 "
            f"AND venue = {{venue:String}} AND symbol = {{symbol:String}} AND {_SPAN.format(time='ts_event')} "
            "ORDER BY ts_event DESC LIMIT 1",
            {"venue": query.venue, "symbol": symbol, "start": start_ns, "end": end_ns},
        )
        return int(found[0][0]) if found else None

    def latest(self, venue: str, symbols: Sequence[str]) -> pa.Table:
        """The last trade of each symbol that takes part in bars."""
        wanted = arrow.schema(TRADES.name, TRADES.names)
        minutes = self._client.fetch(
            "SELECT symbol, toUnixTimestamp64Nano(max(ts)) FROM bars_1m "
            "WHERE venue = {venue:String} AND symbol IN {symbols:Array(String)} GROUP BY symbol ORDER BY symbol",
            {"venue": venue, "symbols": list(symbols)},
        )
        rows = [
            self._table(
                f"SELECT {', '.join(TRADES.names)} FROM trades WHERE bitAnd(flags, {int(NO_BAR)}) = 0 "
                f"AND venue = {{venue:String}} AND symbol = {{symbol:String}} AND {_SPAN.format(time='ts_event')} "
                "ORDER BY ts_event DESC, seq DESC LIMIT 1",
                {"venue": venue, "symbol": symbol, "start": minute, "end": minute + MINUTE},
            )
            for symbol, minute in minutes
        ]
        batches = [arrow.conformed(row, wanted, self.name) for row in rows]
        return pa.Table.from_batches(batches, schema=wanted)

    def symbols(self, kind: Kind, start_ns: int, end_ns: int) -> pl.DataFrame:
        """What there is of a kind in a span."""
        found = self._client.fetch(
            f"SELECT venue, symbol, toUnixTimestamp64Nano(min({kind.time})), toUnixTimestamp64Nano(max({kind.time})), "
            f"count() FROM {kind.name} WHERE {_SPAN.format(time=kind.time)} "
            "GROUP BY venue, symbol ORDER BY venue, symbol",
            {"start": start_ns, "end": end_ns},
        )
        return listed(found)

    def statement(self, query: Query, start_ns: int, end_ns: int) -> str:
        """The statement of a span with its parameters."""
        if query.kind == "bars":
            statement, bound = _bars(query, start_ns, end_ns)
        else:
            statement, bound = _rows(query, query.rows_kind, start_ns, end_ns, None)
        set_to = ", ".join(f"param_{name} = {value!r}" for name, value in bound.items())
        return f"SET {set_to}; {' '.join(statement.split())}"

    def _table(self, statement: str, bound: Bound) -> pa.Table:
        body = self._client.arrow(f"{statement} {_PLAIN}", bound)
        try:
            return pa.ipc.open_stream(body).read_all()
        except (pa.ArrowInvalid, OSError) as reason:
            raise ConnectError(f"clickhouse: an answer was cut: {reason}") from reason


def _of(query: Query, start_ns: int, end_ns: int) -> tuple[str, Bound]:
    """What chooses the rows of a query in a span."""
    kind = query.rows_kind
    bound: Bound = {"start": start_ns, "end": end_ns}
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
        # Equality lets the table's own order be used; IN does not.
        where.append(f"{column} = {{name:{type_}}}")
        bound["name"] = values[0]
    elif values:
        where.append(f"{column} IN {{names:Array({type_})}}")
        bound["names"] = values
    if query.flags and query.kind != "bars":
        where.append(f"bitAnd(flags, {query.flags:d}) = 0")
    where.append(_SPAN.format(time=kind.time))
    return " AND ".join(where), bound


def _rows(query: Query, kind: Kind, start_ns: int, end_ns: int, after: Key | None) -> tuple[str, Bound]:
    first = start_ns if after is None else max(start_ns, int(after[0]))
    where, bound = _of(query, first, end_ns)
    if after is not None:
        rest = [kind.column(name) for name in kind.key[1:]]
        last = ", ".join(f"{{after_{column.name}:{_BOUND[column.type]}}}" for column in rest)
        where += (
            f" AND ({kind.time} > fromUnixTimestamp64Nano({{after:Int64}}, 'UTC') "
            f"OR ({', '.join(column.name for column in rest)}) > ({last}))"
        )
        bound["after"] = int(after[0])
        bound |= {f"after_{column.name}": value for column, value in zip(rest, after[1:], strict=True)}
    fixed = {"venue": bool(query.venue), "symbol": "name" in bound, "account_id": "name" in bound}
    stored = _SORTED_BY if kind is TRADES and "name" in bound else {}
    order = ", ".join(stored.get(name, name) for name in kind.key if not fixed.get(name))
    return f"SELECT {', '.join(query.fetched_names)} FROM {kind.name} WHERE {where} ORDER BY {order}", bound


def _bars(query: Query, start_ns: int, end_ns: int) -> tuple[str, Bound]:
    assert query.interval is not None
    time, made = ("ts_event", _OF_TRADES) if query.interval in ("15s", "30s") else ("b.ts", _OF_BARS)
    where, bound = _of(query, start_ns, end_ns)
    where = where.replace("ts_event", time)
    return (
        f"SELECT {_bucket(query.interval, time)} AS ts, venue, symbol, {made}{where} "
        "GROUP BY ts, venue, symbol ORDER BY ts, symbol",
        bound,
    )


def _bucket(interval: str, time: str) -> str:
    if interval == "1w":
        return f"toDateTime64(toMonday({time}), 9, 'UTC')"
    if interval == "1M":
        return f"toDateTime64(toStartOfMonth({time}), 9, 'UTC')"
    length = INTERVALS[interval].length
    ns = f"toUnixTimestamp64Nano({time})"
    return f"fromUnixTimestamp64Nano(intDiv({ns}, {length}) * {length}, 'UTC')"
