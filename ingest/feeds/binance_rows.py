"""Binance's messages of one form -> columns of the model: the one place that knows their keys.

Each function takes decoded messages with their receive times and raises `Fault` when any is unsound. Where
the venue gives no time it takes `estimated`, ns.

Trades of USD-M and COIN-M futures carry an order type `X`. Anything but MARKET (INSURANCE_FUND and ADL,
takeovers of a position outside the book, at prices off the tick grid; NA, price and size 0) is no trade on
the book: Binance documents that its aggregate trades leave them out, and its candles agree. Such a trade
keeps its id and is flagged NOT_IN_BARS, with `X` in `conditions`; the others have no condition, so that a
trade reads the same from a path that does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ingest.feeds.fields import Fault, doubles, ends, expect_types, longs, names, shown, truths
from ingest.feeds.levels import levels
from tapehouse.batch import ColumnData, Strings
from tapehouse.clock import MAX_TS, MICROSECOND, MILLISECOND, Nanos
from tapehouse.model import DEPTH, NULL_LONG, PRICE_MAX, QUOTES, SIZE_MAX, TRADES, Flags, Kind

Columns = dict[str, ColumnData]
Bodies = Sequence[dict[str, Any]]
Estimated = Sequence[int] | None

_MILLISECONDS = MAX_TS // MILLISECOND
_MICROSECONDS = MAX_TS // MICROSECOND
_FIRST_MICROSECONDS = 10**14
"""Numbers from here on count microseconds (from 1973 on); below they count milliseconds (to 5138)."""
_SIDES = np.array([1, -1], np.int8)
"""By whether the buyer was the maker: then the seller took."""


def _values(bodies: Bodies, *keys: str) -> list[list[Any]]:
    try:
        return [[body[key] for body in bodies] for key in keys]
    except KeyError as missing:
        raise Fault(f"message: expected the key {missing.args[0]}, was without") from None


def instant(value: Any) -> int | None:
    """A time of the venue as ns UTC; None where it is none."""
    if type(value) is not int:
        return None
    if 0 <= value < _MILLISECONDS:
        return value * MILLISECOND
    return value * MICROSECOND if _FIRST_MICROSECONDS <= value < _MICROSECONDS else None


def times(name: str, values: Sequence[Any], unit_ns: int) -> Nanos:
    """The venue's clock, floored to its unit, as ns UTC."""
    numbers = longs(name, values, _MICROSECONDS - 1)
    if ends(numbers)[1] < _MILLISECONDS:
        ts = numbers * MILLISECOND
        if MILLISECOND % unit_ns == 0:
            return ts
    else:
        fine = numbers >= _FIRST_MICROSECONDS
        coarse = numbers[~fine]
        if len(coarse) and coarse.max() >= _MILLISECONDS:
            raise Fault(f"{name}: expected ms or us since 1970, was {coarse.max()}")
        ts = numbers * np.where(fine, MICROSECOND, MILLISECOND)
    return ts // unit_ns * unit_ns


def trade(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`trade` messages; their ids rise by one within a symbol."""
    columns = _trades(bodies, received, unit_ns, "t")
    types = [body.get("X", "MARKET") for body in bodies]
    if types.count("MARKET") < len(types):
        expect_types("X", "an order type", types, str)
        names("X", types)
        off_book = np.array([kind != "MARKET" for kind in types])
        columns["conditions"] = Strings.of(None if kind == "MARKET" else kind for kind in types)
        columns["flags"] = np.where(off_book, np.int16(Flags.NOT_IN_BARS), np.int16(0))
    return columns


def aggregate_trade(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`aggTrade` messages: fills of one price and taker, numbered on their own."""
    return _trades(bodies, received, unit_ns, "a")


def rest_trade(bodies: Bodies, received: Nanos, unit_ns: int, symbol: str) -> Columns:
    """Rows of REST's answers of trades of one symbol, the same columns as those of `trade`."""
    columns = _fills(bodies, received, unit_ns, ("id", "price", "qty", "time", "isBuyerMaker"))
    columns["symbol"] = Strings.constant(symbol, len(bodies))
    return columns


def _trades(bodies: Bodies, received: Nanos, unit_ns: int, id_key: str) -> Columns:
    symbols, sent = _values(bodies, "s", "E")
    columns = _fills(bodies, received, unit_ns, (id_key, "p", "q", "T", "m"))
    columns["symbol"] = names("s", symbols)
    times("E", sent, unit_ns)
    return columns


def _fills(bodies: Bodies, received: Nanos, unit_ns: int, keys: tuple[str, str, str, str, str]) -> Columns:
    """All columns but the symbol, by the keys of id, price, size, time, and whether the buyer was the maker."""
    ids, price, size, happened, maker = _values(bodies, *keys)
    nothing = Strings.constant(None, len(bodies))
    return {
        "ts_event": times(keys[3], happened, unit_ns),
        "ts_recv": received,
        "seq": longs(keys[0], ids),
        "price": doubles(keys[1], price, -PRICE_MAX, PRICE_MAX),
        "size": doubles(keys[2], size, 0, SIZE_MAX),
        "side": _SIDES[truths(keys[4], maker).view(np.int8)],
        "flags": np.zeros(len(bodies), np.int16),
        "exchange": nothing,
        "conditions": nothing,
    }


def timed_quote(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`bookTicker` messages of futures."""
    happened, sent = _values(bodies, "T", "E")
    times("E", sent, unit_ns)
    return _quotes(bodies, received, times("T", happened, unit_ns), Flags(0))


def untimed_quote(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`bookTicker` messages of spot, which have no time."""
    assert estimated is not None
    return _quotes(bodies, received, _in_range(estimated), Flags.ESTIMATED_TIME)


def _quotes(bodies: Bodies, received: Nanos, ts_event: Nanos, flags: Flags) -> Columns:
    ids, symbols, bid, bid_size, ask, ask_size = _values(bodies, "u", "s", "b", "B", "a", "A")
    columns: Columns = {
        "ts_event": ts_event,
        "ts_recv": received,
        "symbol": names("s", symbols),
        "seq": longs("u", ids),
    }
    for side, price, size in (("bid", bid, bid_size), ("ask", ask, ask_size)):
        key = side[0]
        prices = doubles(key, price, -PRICE_MAX, PRICE_MAX)
        sizes = doubles(key.upper(), size, 0, SIZE_MAX)
        empty = (prices == 0) & (sizes == 0)
        prices[empty] = sizes[empty] = np.nan
        columns[side], columns[f"{side}_size"] = prices, sizes
    columns["flags"] = np.full(len(bodies), flags, np.int16)
    return columns


def update(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """`depthUpdate` messages. Futures have the trade time T and the previous id pu; spot has neither."""
    first, last, symbols, sent, bids, asks = _values(bodies, "U", "u", "s", "E", "b", "a")
    ts = times("E", sent, unit_ns)
    futures = ["pu" in body for body in bodies]
    if futures != ["T" in body for body in bodies]:
        raise Fault("message: expected the keys T and pu, or neither, was with one of them")
    previous = np.full(len(bodies), NULL_LONG, np.int64)
    if any(futures):
        rows = np.flatnonzero(futures)
        happened, before = _values([body for body in bodies if "pu" in body], "T", "pu")
        ts[rows] = times("T", happened, unit_ns)
        previous[rows] = longs("pu", before)
    columns = _book(symbols, received, ts, longs("u", last), bids, asks)
    columns["seq_first"] = longs("U", first)
    columns["seq_previous"] = previous
    return columns


def snapshot(bodies: Bodies, received: Nanos, unit_ns: int, estimated: Estimated) -> Columns:
    """The REST snapshot of a book, its symbol under `symbol`; futures have the trade time T and E."""
    ids, symbols, bids, asks = _values(bodies, "lastUpdateId", "symbol", "bids", "asks")
    if estimated is None:
        happened, sent = _values(bodies, "T", "E")
        times("E", sent, unit_ns)
        ts, flags = times("T", happened, unit_ns), Flags(0)
    else:
        ts, flags = _in_range(estimated), Flags.ESTIMATED_TIME
    columns = _book(symbols, received, ts, longs("lastUpdateId", ids), bids, asks)
    columns["snapshot"] = np.ones(len(bodies), np.bool_)
    columns["flags"] = np.full(len(bodies), flags, np.int16)
    return columns


def _book(
    symbols: Sequence[Any], received: Nanos, ts: Nanos, ids: Nanos, bids: Sequence[Any], asks: Sequence[Any]
) -> Columns:
    rows = len(ids)
    bid_prices, bid_sizes = levels("bids", bids)
    ask_prices, ask_sizes = levels("asks", asks)
    return {
        "ts_event": ts,
        "ts_recv": received,
        "symbol": names("s", symbols),
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
        raise Fault(f"receive time: expected 1970 to 2261, was {shown(min(estimated))} ns")
    return np.array(estimated, np.int64)


Reader = Callable[[Bodies, Nanos, int, Estimated], Columns]

FORMS: dict[str, tuple[Kind, str, Reader]] = {
    "trade": (TRADES, "trade id", trade),
    "aggTrade": (TRADES, "aggregate trade id", aggregate_trade),
    "bookTicker": (QUOTES, "update id", timed_quote),
    "bookTicker without time": (QUOTES, "update id", untimed_quote),
    "depthUpdate": (DEPTH, "update id", update),
    "snapshot": (DEPTH, "update id", snapshot),
    "snapshot without time": (DEPTH, "update id", snapshot),
}
"""Each form of message: its kind, how it is numbered, and what reads it."""

OTHER_EVENTS = frozenset(
    {"24hrMiniTicker", "24hrTicker", "1hTicker", "4hTicker", "1dTicker", "avgPrice", "kline"}
    | {"continuous_kline", "markPriceUpdate", "markPrice_kline", "indexPriceUpdate", "indexPrice_kline"}
    | {"forceOrder", "compositeIndex", "contractInfo", "assetIndexUpdate", "tradingSession"}
)
"""Events that Binance sends and this reads nothing from."""
