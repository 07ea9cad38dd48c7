"""What an answer must be, computed from all raw rows in plain hands: nothing here knows of stores, days or seams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from random import Random

import numpy as np
import polars as pl
import pyarrow as pa

from gateway.candles import CANDLES
from gateway.query import Query
from ops.drill.proof import rebuild_bars
from tapehouse.clock import SECOND, Interval, parse_interval
from tapehouse.model import BARS, KINDS, OF_ACCOUNTS
from tapehouse.tabular import TIME

_GRACE = 2 * SECOND
SUMS = ("volume", "turnover", "buy_volume")


def answer(rows: Mapping[str, pl.DataFrame], query: Query, now: int) -> pl.DataFrame:
    """The answer at the moment `now`; `rows` are by kind, each key once."""
    if query.kind == "bars":
        found = _bars(rows["trades"], query, now)
        ends = parse_interval(str(query.interval)).following(found["ts"].cast(pl.Int64).to_numpy())
        found = found.with_columns(final=pl.Series(np.asarray(ends) <= now - _GRACE, dtype=pl.Boolean))
    elif query.kind == "account_candles":
        found = _candles(rows["account_trades"], query)
    else:
        found = chosen(rows[query.kind], query)
    key = KINDS[query.kind].key
    if query.after is not None and found.height:
        times = found[key[0]].cast(pl.Int64).to_list()
        rest = found.select(key[1:]).rows()
        behind = [(at, *row) > query.after for at, row in zip(times, rest, strict=True)]
        found = found.filter(pl.Series(behind, dtype=pl.Boolean))
    if query.limit is not None:
        found = _last_of_each(found, query) if query.last else found.head(query.limit)
    return found.select(query.result_columns)


def _last_of_each(rows: pl.DataFrame, query: Query) -> pl.DataFrame:
    """The last rows of each symbol or account that is named, of all together if none is."""
    assert query.limit is not None
    if not query.symbols:
        return rows.tail(query.limit)
    name = "account_id" if query.kind in OF_ACCOUNTS else "symbol"
    parts = [part.tail(query.limit) for _, part in rows.group_by(name, maintain_order=True)]
    return pl.concat([rows.clear(), *parts]).sort(KINDS[query.kind].key)


def chosen(rows: pl.DataFrame, query: Query) -> pl.DataFrame:
    """The rows of a query's span, venue, names and flags, in order of the key; for bars the trades."""
    kind = query.source_kind
    found = rows.filter(within(kind.time, query.start_ns, query.end_ns))
    found = of_names(found, query)
    if query.flags and query.kind != "bars":
        found = found.filter((pl.col("flags") & query.flags) == 0)
    return found.sort(kind.key)


def within(time: str, start_ns: int, end_ns: int) -> pl.Expr:
    """Rows with start_ns <= time < end_ns."""
    return (pl.col(time).cast(pl.Int64) >= start_ns) & (pl.col(time).cast(pl.Int64) < end_ns)


def of_names(rows: pl.DataFrame, query: Query) -> pl.DataFrame:
    """The rows of a query's venue and symbols, or accounts."""
    if query.kind in OF_ACCOUNTS:
        return rows.filter(pl.col("account_id").is_in(query.accounts))
    if query.venue:
        rows = rows.filter(pl.col("venue") == query.venue)
    return rows.filter(pl.col("symbol").is_in(query.symbols)) if query.symbols else rows


def bars_of(trades: pl.DataFrame, interval: str) -> pl.DataFrame:
    """The bars of trades, by time and symbol."""
    return rebuild_bars(trades, interval)


Candle = tuple[int, int, Decimal, Decimal, Decimal, Decimal, Decimal, int]
"""ts in ns, account_id, open, high, low, close, volume, trades."""


def candles_of(trades: pl.DataFrame, interval: str) -> list[Candle]:
    """The candles of account trades, by time and account; volumes have as many digits as they need."""
    buckets: dict[tuple[int, int], list[tuple[int, int, Decimal, int]]] = defaultdict(list)
    start_of = parse_interval(interval).start_of
    times = trades["ts_event"].cast(pl.Int64).to_list()
    rows = trades.select("account_id", "id", "amount", "trx_amount").rows()
    for at, (account, number, amount, size) in zip(times, rows, strict=True):
        buckets[start_of(at), account].append((at, number, amount, _units(size)))
    return [_candle(key, sorted(buckets[key])) for key in sorted(buckets)]


def _units(amount: Decimal) -> int:
    """An amount of 18 digits after the point, in units of the last of them."""
    sign, digits, _ = amount.as_tuple()
    return (-1 if sign else 1) * int("".join(map(str, digits)))


def _candle(key: tuple[int, int], rows: list[tuple[int, int, Decimal, int]]) -> Candle:
    amounts = [amount for _, _, amount, _ in rows]
    total = sum(size for _, _, _, size in rows)
    return (*key, amounts[0], max(amounts), min(amounts), amounts[-1], amount_of(total), len(rows))


def amount_of(units: int) -> Decimal:
    """An amount of so many units of its 18th digit after the point."""
    # Unlike a tuple, arithmetic rounds to 28 digits.
    return Decimal((int(units < 0), tuple(map(int, str(abs(units)))), -18))


def amounts(chance: Random, count: int) -> pl.Series:
    """Decimals with 18 digits after the point, whose sum fits."""
    most = 10**38 // (count + 1)
    values = [amount_of(chance.randrange(-most, most)) for _ in range(count)]
    return pl.Series(pa.array(values, pa.decimal128(38, 18)))


def candles_frame(candles: list[Candle]) -> pl.DataFrame:
    """Candles as an answer has them; their volumes must fit in 38 digits."""
    columns = list(zip(*candles, strict=True)) or [()] * len(CANDLES)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, CANDLES, strict=True)]
    return pl.DataFrame(pl.from_arrow(pa.table(arrays, CANDLES)))


def _candles(trades: pl.DataFrame, query: Query) -> pl.DataFrame:
    assert query.interval is not None
    candles = candles_of(of_names(trades, query), query.interval)
    return candles_frame([candle for candle in candles if query.start_ns <= candle[0] < query.end_ns])


def assert_answers(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Sums of floats to 1e-9 relative, all else exactly."""
    assert found.schema == expected.schema
    sums = [name for name in SUMS if expected.schema.get(name) == pl.Float64]
    assert found.drop(sums).equals(expected.drop(sums)), f"expected {expected}, was {found}"
    for name in sums:
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-9)


def _bars(trades: pl.DataFrame, query: Query, now: int) -> pl.DataFrame:
    assert query.interval is not None
    interval = parse_interval(query.interval)
    bars = bars_of(of_names(trades, query), query.interval)
    if query.fill == "flat":
        series = [
            _flat(bars.filter(pl.col("symbol") == symbol), query, interval, now) for symbol in query.symbols
        ]
        bars = pl.concat(series).sort(BARS.key)
    return bars.filter(within("ts", query.start_ns, query.end_ns))


def _flat(bars: pl.DataFrame, query: Query, interval: Interval, now: int) -> pl.DataFrame:
    """The bars of one symbol up to the end of the span or now; empty intervals at the close before."""
    if bars.is_empty():
        return bars
    at, starts = int(bars["ts"].cast(pl.Int64)[0]), []
    while at < query.end_ns and at <= now:
        starts.append(at)
        at = int(interval.following(np.array([at]))[0])
    grid = pl.DataFrame({"ts": pl.Series(starts, dtype=pl.Int64).cast(TIME)})
    close = bars.select("ts", before="close")
    return (
        grid.join(bars, on="ts", how="left")
        .sort("ts")
        .join_asof(close, on="ts", check_sortedness=False)
        .with_columns(
            *(pl.coalesce(name, "before").alias(name) for name in ("open", "high", "low", "close")),
            *(pl.col(name).fill_null(0) for name in (*SUMS, "trades")),
            *(pl.lit(bars[name][0]).alias(name) for name in ("venue", "symbol")),
        )
        .select(BARS.names)
    )
