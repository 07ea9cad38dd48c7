"""Trades as Binance's REST answers give them -> the rows that its socket would have given."""

from __future__ import annotations

import numpy as np
import orjson

from ingest.feeds.binance_rows import trade
from ingest.feeds.fields import Fault
from ingest.feeds.parsed import Parsed
from ingest.rejected import Rejected
from tapehouse.batch import Batch
from tapehouse.model import TRADES


def rest_trades(body: bytes, symbol: str, received_ns: int, unit_ns: int, venue: str) -> Parsed:
    """Trades of one symbol; rows that cannot be read are refused."""
    try:
        rows = orjson.loads(body)
        bodies = [
            {"t": row["id"], "s": symbol, "p": row["price"], "q": row["qty"], "T": row["time"],
             "E": row["time"], "m": row["isBuyerMaker"]}
            for row in rows
        ]  # fmt: skip
        columns = trade(bodies, np.full(len(bodies), received_ns, np.int64), unit_ns, None)
    except (orjson.JSONDecodeError, KeyError, TypeError, Fault) as reason:
        return Parsed(
            (), (Rejected(body[:65536], f"REST: expected trades, was otherwise: {reason!r}", "REST"),), {}
        )
    return Parsed((Batch(TRADES, venue, len(bodies), columns),) if bodies else (), (), {})
