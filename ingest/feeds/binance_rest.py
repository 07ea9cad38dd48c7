"""Trades as Binance's REST answers give them -> the rows that its sockets would have given.

`/api/v3/historicalTrades` and `/trades` of spot, `/fapi/v1/...` of USD-M and `/dapi/v1/...` of COIN-M answer
with a list of {"id", "price", "qty", "time", "isBuyerMaker", ...}, oldest first. The futures' answers leave out
trades off the book (insurance fund, auto-deleveraging), so their ids do not come this way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from ingest.feeds.binance_rows import rest_trade
from ingest.feeds.fields import Fault, expect_types
from ingest.feeds.parsed import Parsed
from ingest.rejected import Rejected
from tapehouse.batch import Batch
from tapehouse.model import TRADES

_KEPT = 4_096
"""Bytes kept of an answer that is none."""


def rest_trades(body: bytes, symbol: str, received_ns: int, unit_ns: int, venue: str) -> Parsed:
    """The trades of an answer, received at `received_ns`, times floored to `unit_ns`, the venue's unit.

    A row that cannot be read is rejected alone, as `<receive ns> <row>`; an answer that is no list as a whole.
    """
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        return _refused(body, f"answer: expected JSON, was unreadable: {fault}", symbol, received_ns)
    if not isinstance(rows, list):
        return _refused(body, f"answer: expected a list of trades, was {body[:200]!r}", symbol, received_ns)
    try:
        return Parsed((_batch(rows, symbol, received_ns, unit_ns, venue),) if rows else (), (), {})
    except Fault:
        return _one_by_one(rows, symbol, received_ns, unit_ns, venue)


def _batch(rows: list[Any], symbol: str, received_ns: int, unit_ns: int, venue: str) -> Batch:
    expect_types("row", "an object", rows, dict)
    received = np.full(len(rows), received_ns, np.int64)
    return Batch(TRADES, venue, len(rows), rest_trade(rows, received, unit_ns, symbol))


def _one_by_one(rows: list[Any], symbol: str, received_ns: int, unit_ns: int, venue: str) -> Parsed:
    parts = []
    for number, row in enumerate(rows, 1):
        try:
            parts.append(Parsed((_batch([row], symbol, received_ns, unit_ns, venue),), (), {}))
        except Fault as fault:
            parts.append(_refused(_json(row), str(fault), symbol, received_ns, number))
    return Parsed.joined(parts)


def _json(row: Any) -> bytes:
    try:
        return orjson.dumps(row)
    except orjson.JSONEncodeError:  # nested deeper than it writes
        return b"null"


def _refused(
    original: bytes, reason: str, symbol: str, received_ns: int, number: int | None = None
) -> Parsed:
    where = f"REST trades of {symbol}" + (f" row {number}" if number else "")
    return Parsed((), (Rejected(b"%d %b" % (received_ns, original[:_KEPT]), reason, where),), {})
