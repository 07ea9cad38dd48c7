"""Kraken's messages of one channel -> columns of the model: the one index that knows their keys.

A message holds a list of rows. Each `*_columns` function raises FieldError when any is malformed. Trades by REST
are read too, with the values that REST sends: text for price and size, seconds for the time, the first letters of
side and order type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.venues.fields import FieldError, describe, expect_types, parse_decimals, parse_integers
from ingest.venues.iso_times import parse_iso_times
from ingest.venues.message_block import Columns, field_values
from tapehouse.batch import Strings
from tapehouse.clock import MAX_TS, MILLISECOND, Nanos
from tapehouse.model import PRICE_MAX, SIZE_MAX, Flags

UNIT_NS = MILLISECOND
_SIDES = {"buy": 1, "sell": -1, "b": 1, "s": -1}
_ORDER_TYPES = {"m": "market", "l": "limit"}
_NAME_MAX = 64
_SECONDS_MAX = MAX_TS / 1e9

_TRADE = ("trade_id", "symbol", "price", "qty", "side", "ord_type", "timestamp")
_TICKER = ("symbol", "bid", "bid_qty", "ask", "ask_qty")


def trade_columns(bodies: Sequence[Any], received: Nanos, indices: Sequence[int]) -> Columns:
    """Messages of the channel `trade`."""
    rows, counts = _rows(bodies)
    ids, symbols, price, size, takers, types, times = field_values(rows, *_TRADE)
    try:
        sides = np.array([_SIDES[taker] for taker in takers], np.int8)
    except (KeyError, TypeError):
        odd = next(taker for taker in takers if not (isinstance(taker, str) and taker in _SIDES))
        raise FieldError(f"side: expected buy or sell, was {describe(odd)}") from None
    seq = parse_integers("trade_id", ids)
    if not seq.all():
        raise FieldError("trade_id: expected 1 or more, was 0")
    return {
        "ts_event": _times(times),
        "ts_recv": np.repeat(received, counts),
        "symbol": _names("symbol", symbols),
        "seq": seq,
        "price": _numbers("price", price, -PRICE_MAX, PRICE_MAX),
        "size": _numbers("qty", size, 0, SIZE_MAX),
        "side": sides,
        "flags": np.zeros(len(rows), np.int16),
        "exchange": Strings.constant(None, len(rows)),
        "conditions": _names("ord_type", types, _ORDER_TYPES),
    }


def quote_columns(
    skews: dict[int, int], bodies: Sequence[Any], received: Nanos, indices: Sequence[int]
) -> Columns:
    """Messages of the channel `ticker`; `skews` has the clock skew, ns, of those without a time, by index."""
    rows, counts = _rows(bodies)
    symbols, bid, bid_size, ask, ask_size = field_values(rows, *_TICKER)
    received_by_row = np.repeat(received, counts)
    ts, flags = _quote_times(rows, received_by_row, np.repeat(indices, counts), skews)
    columns: Columns = {
        "ts_event": ts,
        "ts_recv": received_by_row,
        "symbol": _names("symbol", symbols),
        "seq": np.zeros(len(rows), np.int64),
        "flags": flags,
    }
    for side, price, size in (("bid", bid, bid_size), ("ask", ask, ask_size)):
        prices = _numbers(side, price, -PRICE_MAX, PRICE_MAX)
        sizes = _numbers(f"{side}_qty", size, 0, SIZE_MAX)
        empty = (prices == 0) & (sizes == 0)
        prices[empty] = sizes[empty] = np.nan
        columns[side], columns[f"{side}_size"] = prices, sizes
    return columns


def _quote_times(
    rows: Sequence[Any], received: Nanos, indices: Nanos, skews: dict[int, int]
) -> tuple[Nanos, NDArray[np.int16]]:
    """(times of tickers, ns UTC; flags, which mark the estimated ones)."""
    times = [row.get("timestamp") for row in rows]
    if None not in times:
        return parse_iso_times("timestamp", times, UNIT_NS), np.zeros(len(rows), np.int16)
    ts = received.copy()
    timed = np.array([time is not None for time in times])
    ts[timed] = parse_iso_times("timestamp", [time for time in times if time is not None], UNIT_NS)
    ts[~timed] -= np.array([skews[index] for index in indices[~timed].tolist()], np.int64)
    ts = ts // UNIT_NS * UNIT_NS
    if not 0 <= ts.min() <= ts.max() < MAX_TS:
        raise FieldError(f"receive time: expected 1970 to 2261, was {int(ts.min())} ns")
    return ts, np.where(timed, np.int16(0), np.int16(Flags.ESTIMATED_TIME))


def _rows(bodies: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """(the rows of messages, how many each message has)."""
    lists = [body["data"] for body in bodies]
    try:
        rows = list(chain.from_iterable(lists))
    except TypeError:
        rows = []
    if set(map(type, rows)) != {dict}:
        expect_types("data", "a list", lists, list)
        expect_types("data", "objects", rows, dict)
    return rows, list(map(len, lists))


def _times(values: Sequence[Any]) -> Nanos:
    if set(map(type, values)) - {int, float}:
        return parse_iso_times("timestamp", values, UNIT_NS)
    seconds = np.array(values, np.float64)
    if not (seconds.min() >= 0 and seconds.max() < _SECONDS_MAX):
        raise FieldError(f"timestamp: expected seconds from 1970 to 2261, was {describe(values[0])}")
    milliseconds: Nanos = np.floor(seconds * 1_000).astype(np.int64)
    return milliseconds * UNIT_NS


def _numbers(name: str, values: Sequence[Any], low: float, high: float) -> NDArray[np.float64]:
    """JSON numbers, or their text as in REST, from `low` to `high`, inclusive."""
    types = set(map(type, values))
    if types == {str}:
        return parse_decimals(name, values, low, high)
    if types - {int, float}:
        odd = next(value for value in values if type(value) not in (int, float))
        raise FieldError(f"{name}: expected a number, was {describe(odd)}")
    numbers = np.array(values, np.float64)
    if not (numbers.min() >= low and numbers.max() <= high):
        odd = next(value for value in values if not low <= value <= high)
        raise FieldError(f"{name}: expected {low:g} to {high:g}, was {describe(odd)}")
    return numbers


def _names(name: str, values: Sequence[Any], spelled: Mapping[str, str] | None = None) -> Strings:
    """Symbols and order types as the venue spells them, or as `spelled` maps them."""
    expect_types(name, "a name", values, str)
    distinct = list(dict.fromkeys(values))
    for value in distinct:
        if not (0 < len(value) <= _NAME_MAX and value.isprintable()):
            raise FieldError(f"{name}: expected a name, was {describe(value)}")
    spelling = tuple((spelled or {}).get(value, value) for value in distinct)
    codes = {
        value: spelling.index(spelled_value) for value, spelled_value in zip(distinct, spelling, strict=True)
    }
    return Strings(spelling, np.fromiter(map(codes.__getitem__, values), np.int32, len(values)))
