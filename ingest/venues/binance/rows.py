"""Binance's messages of one form -> columns of the model: the one place that knows their keys.

Each `*_columns` function takes decoded messages and their receive times (ns UTC) and raises FieldError when any
message is malformed. Where the venue sends no time, `estimated` is ts_event, ns UTC.

Trades of USD-M and COIN-M futures carry an order type `X`. Anything but MARKET (INSURANCE_FUND and ADL,
takeovers of a position outside the book, at prices off the tick grid; NA, price and size 0) is no trade on
the book: Binance documents that its aggregate trades leave them out, and its candles agree. Such a trade
keeps its id and is flagged NOT_IN_BARS, with `X` in `conditions`; the others have no condition, so that a
trade is the same row from REST, which has no `X`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ingest.venues.fields import (
    FieldError,
    describe,
    expect_types,
    min_max,
    parse_booleans,
    parse_decimals,
    parse_integers,
    parse_names,
)
from ingest.venues.levels import parse_levels
from ingest.venues.message_block import Columns, field_values
from tapehouse.batch import Strings
from tapehouse.clock import MAX_TS, MICROSECOND, MILLISECOND, Nanos
from tapehouse.model import DEPTH, NULL_LONG, PRICE_MAX, QUOTES, SIZE_MAX, TRADES, Flags, Kind

Bodies = Sequence[dict[str, Any]]
Estimated = Sequence[int] | None

_MILLISECONDS = MAX_TS // MILLISECOND
_MICROSECONDS = MAX_TS // MICROSECOND
_FIRST_MICROSECONDS = 10**14
"""From this number on a time counts microseconds (from 1973 on); below, milliseconds (to 5138)."""
_SIDES = np.array([1, -1], np.int8)
"""By whether the buyer was the maker: if so, the seller took."""


def parse_time(value: Any) -> int | None:
    """A time in ms or us as ns UTC; None where it is malformed."""
    if type(value) is not int:
        return None
    if 0 <= value < _MILLISECONDS:
        return value * MILLISECOND
    return value * MICROSECOND if _FIRST_MICROSECONDS <= value < _MICROSECONDS else None


def parse_times(name: str, values: Sequence[Any], unit_ns: int) -> Nanos:
    """Times in ms or us, floored to `unit_ns`, as ns UTC."""
    numbers = parse_integers(name, values, _MICROSECONDS - 1)
    if min_max(numbers)[1] < _MILLISECONDS:
        ts = numbers * MILLISECOND
        if MILLISECOND % unit_ns == 0:
            return ts
    else:
        fine = numbers >= _FIRST_MICROSECONDS
        coarse = numbers[~fine]
        if len(coarse) and coarse.max() >= _MILLISECONDS:
            raise FieldError(f"{name}: expected ms or us since 1970, was {coarse.max()}")
        ts = numbers * np.where(fine, MICROSECOND, MILLISECOND)
    return ts // unit_ns * unit_ns


def trade_columns(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`trade` messages; their ids rise by one within a symbol."""
    columns = _trades(bodies, received, unit_ns, "t")
    types = [body.get("X", "MARKET") for body in bodies]
    if types.count("MARKET") < len(types):
        expect_types("X", "an order type", types, str)
        parse_names("X", types)
        off_book = np.array([kind != "MARKET" for kind in types])
        columns["conditions"] = Strings.of(None if kind == "MARKET" else kind for kind in types)
        columns["flags"] = np.where(off_book, np.int16(Flags.NOT_IN_BARS), np.int16(0))
    return columns


def aggregate_trade_columns(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`aggTrade` messages: fills of one price and taker order, with ids of their own."""
    return _trades(bodies, received, unit_ns, "a")


def rest_trade_columns(bodies: Bodies, received: Nanos, unit_ns: int, symbol: str) -> Columns:
    """Trades of one symbol in a REST response: the same columns as `trade_columns`."""
    columns = _fills(bodies, received, unit_ns, ("id", "price", "qty", "time", "isBuyerMaker"))
    columns["symbol"] = Strings.constant(symbol, len(bodies))
    return columns


def _trades(bodies: Bodies, received: Nanos, unit_ns: int, id_key: str) -> Columns:
    symbols, sent = field_values(bodies, "s", "E")
    columns = _fills(bodies, received, unit_ns, (id_key, "p", "q", "T", "m"))
    columns["symbol"] = parse_names("s", symbols)
    parse_times("E", sent, unit_ns)
    return columns


def _fills(bodies: Bodies, received: Nanos, unit_ns: int, keys: tuple[str, str, str, str, str]) -> Columns:
    """All columns but the symbol; `keys` are those of id, price, size, time and "the buyer was the maker"."""
    ids, price, size, traded_at, maker = field_values(bodies, *keys)
    absent = Strings.constant(None, len(bodies))
    return {
        "ts_event": parse_times(keys[3], traded_at, unit_ns),
        "ts_recv": received,
        "seq": parse_integers(keys[0], ids),
        "price": parse_decimals(keys[1], price, -PRICE_MAX, PRICE_MAX),
        "size": parse_decimals(keys[2], size, 0, SIZE_MAX),
        "side": _SIDES[parse_booleans(keys[4], maker).view(np.int8)],
        "flags": np.zeros(len(bodies), np.int16),
        "exchange": absent,
        "conditions": absent,
    }


def timed_quote_columns(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`bookTicker` messages of futures."""
    happened, sent = field_values(bodies, "T", "E")
    parse_times("E", sent, unit_ns)
    return _quotes(bodies, received, parse_times("T", happened, unit_ns), Flags(0))


def untimed_quote_columns(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`bookTicker` messages of spot, which have no time."""
    assert estimated is not None
    return _quotes(bodies, received, _in_range(estimated), Flags.ESTIMATED_TIME)


def _quotes(bodies: Bodies, received: Nanos, ts_event: Nanos, flags: Flags) -> Columns:
    ids, symbols, bid, bid_size, ask, ask_size = field_values(bodies, "u", "s", "b", "B", "a", "A")
    columns: Columns = {
        "ts_event": ts_event,
        "ts_recv": received,
        "symbol": parse_names("s", symbols),
        "seq": parse_integers("u", ids),
    }
    for side, price, size in (("bid", bid, bid_size), ("ask", ask, ask_size)):
        key = side[0]
        prices = parse_decimals(key, price, -PRICE_MAX, PRICE_MAX)
        sizes = parse_decimals(key.upper(), size, 0, SIZE_MAX)
        empty = (prices == 0) & (sizes == 0)
        prices[empty] = sizes[empty] = np.nan
        columns[side], columns[f"{side}_size"] = prices, sizes
    columns["flags"] = np.full(len(bodies), flags, np.int16)
    return columns


def depth_update_columns(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`depthUpdate` messages. Futures have the trade time T and the previous id pu; spot has neither."""
    first, last, symbols, sent, bids, asks = field_values(bodies, "U", "u", "s", "E", "b", "a")
    ts = parse_times("E", sent, unit_ns)
    futures = ["pu" in body for body in bodies]
    if futures != ["T" in body for body in bodies]:
        raise FieldError("message: expected the keys T and pu, or neither, was with one of them")
    previous = np.full(len(bodies), NULL_LONG, np.int64)
    if any(futures):
        rows = np.flatnonzero(futures)
        happened, before = field_values([body for body in bodies if "pu" in body], "T", "pu")
        ts[rows] = parse_times("T", happened, unit_ns)
        previous[rows] = parse_integers("pu", before)
    columns = _book(symbols, received, ts, parse_integers("u", last), bids, asks)
    columns["seq_first"] = parse_integers("U", first)
    columns["seq_previous"] = previous
    return columns


def snapshot_columns(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """The REST snapshot of a book, its symbol under `symbol`; futures have the trade time T and E."""
    ids, symbols, bids, asks = field_values(bodies, "lastUpdateId", "symbol", "bids", "asks")
    if estimated is None:
        happened, sent = field_values(bodies, "T", "E")
        parse_times("E", sent, unit_ns)
        ts, flags = parse_times("T", happened, unit_ns), Flags(0)
    else:
        ts, flags = _in_range(estimated), Flags.ESTIMATED_TIME
    columns = _book(symbols, received, ts, parse_integers("lastUpdateId", ids), bids, asks)
    columns["snapshot"] = np.ones(len(bodies), np.bool_)
    columns["flags"] = np.full(len(bodies), flags, np.int16)
    return columns


def _book(
    symbols: Sequence[Any], received: Nanos, ts: Nanos, ids: Nanos, bids: Sequence[Any], asks: Sequence[Any]
) -> Columns:
    rows = len(ids)
    bid_prices, bid_sizes = parse_levels("bids", bids)
    ask_prices, ask_sizes = parse_levels("asks", asks)
    return {
        "ts_event": ts,
        "ts_recv": received,
        "symbol": parse_names("s", symbols),
        "seq": ids,
        "snapshot": np.zeros(rows, np.bool_),
        "seq_first": np.full(rows, NULL_LONG, np.int64),
        "seq_previous": np.full(rows, NULL_LONG, np.int64),
        "bid_prices": bid_prices,
        "bid_sizes": bid_sizes,
        "ask_prices": ask_prices,
        "ask_sizes": ask_sizes,
        "flags": np.zeros(rows, np.int16),
    }


def _in_range(estimated: Sequence[int]) -> Nanos:
    if min(estimated) < 0 or max(estimated) >= MAX_TS:
        raise FieldError(f"receive time: expected 1970 to 2261, was {describe(min(estimated))} ns")
    return np.array(estimated, np.int64)


class Form(NamedTuple):
    """A form of message."""

    kind: Kind
    numbering: str
    """What its seq is."""
    read_columns: Callable[[Bodies, Nanos, int, Estimated], Columns]
    """(decoded messages, receive times in ns, the clock's unit in ns, estimated times) -> columns."""


FORMS: dict[str, Form] = {
    "trade": Form(TRADES, "trade id", trade_columns),
    "aggTrade": Form(TRADES, "aggregate trade id", aggregate_trade_columns),
    "bookTicker": Form(QUOTES, "update id", timed_quote_columns),
    "bookTicker without time": Form(QUOTES, "update id", untimed_quote_columns),
    "depthUpdate": Form(DEPTH, "update id", depth_update_columns),
    "snapshot": Form(DEPTH, "update id", snapshot_columns),
    "snapshot without time": Form(DEPTH, "update id", snapshot_columns),
}
"""By name: the event, or the message without an event that it is."""

OTHER_EVENTS = frozenset(
    {"24hrMiniTicker", "24hrTicker", "1hTicker", "4hTicker", "1dTicker", "avgPrice", "kline"}
    | {"continuous_kline", "markPriceUpdate", "markPrice_kline", "indexPriceUpdate", "indexPrice_kline"}
    | {"forceOrder", "compositeIndex", "contractInfo", "assetIndexUpdate", "tradingSession"}
)
"""Events of Binance that hold no rows of the model."""
