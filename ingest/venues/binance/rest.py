"""Trades of Binance's REST responses -> the same rows as from its sockets.

`/api/v3/historicalTrades` and `/trades` of spot, `/fapi/v1/...` of USD-M and `/dapi/v1/...` of COIN-M return
a list of {"id", "price", "qty", "time", "isBuyerMaker", ...}, oldest first. The futures' responses omit trades
off the book (insurance fund, auto-deleveraging).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from ingest.rejected import Rejected
from ingest.venues.binance.rows import rest_trade_columns
from ingest.venues.fields import FieldError, expect_types
from ingest.venues.parse_result import ParseResult
from tapehouse.batch import Batch
from tapehouse.model import TRADES

_RESPONSE_BYTES = 4_096
"""Bytes of a rejected response that go to quarantine."""


def parse_rest_trades(body: bytes, symbol: str, received_ns: int, unit_ns: int, venue: str) -> ParseResult:
    """The trades of a response received at `received_ns`; times are floored to `unit_ns`.

    A malformed row is rejected alone, as `<receive ns> <row>`; a response that is no list as a whole.
    """
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        return _rejected(body, f"answer: expected JSON, was unreadable: {fault}", symbol, received_ns)
    if not isinstance(rows, list):
        return _rejected(body, f"answer: expected a list of trades, was {body[:200]!r}", symbol, received_ns)
    try:
        return ParseResult((_batch(rows, symbol, received_ns, unit_ns, venue),) if rows else (), (), {})
    except FieldError:
        return _one_by_one(rows, symbol, received_ns, unit_ns, venue)


def _batch(rows: list[Any], symbol: str, received_ns: int, unit_ns: int, venue: str) -> Batch:
    expect_types("row", "an object", rows, dict)
    received = np.full(len(rows), received_ns, np.int64)
    return Batch(TRADES, venue, len(rows), rest_trade_columns(rows, received, unit_ns, symbol))


def _one_by_one(rows: list[Any], symbol: str, received_ns: int, unit_ns: int, venue: str) -> ParseResult:
    parts = []
    for number, row in enumerate(rows, 1):
        try:
            parts.append(ParseResult((_batch([row], symbol, received_ns, unit_ns, venue),), (), {}))
        except FieldError as fault:
            parts.append(_rejected(_json(row), str(fault), symbol, received_ns, number))
    return ParseResult.concat(parts)


def _json(row: Any) -> bytes:
    try:
        return orjson.dumps(row)
    except orjson.JSONEncodeError:  # nested too deeply
        return b"null"


def _rejected(
    original: bytes, reason: str, symbol: str, received_ns: int, number: int | None = None
) -> ParseResult:
    where = f"REST trades of {symbol}" + (f" row {number}" if number else "")
    return ParseResult(
        (), (Rejected(b"%d %b" % (received_ns, original[:_RESPONSE_BYTES]), reason, where),), {}
    )
