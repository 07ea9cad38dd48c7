"""Coinbase's side of its protocol: subscriptions, matches, tickers, and trades by REST."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from ingest.feeds.dialect import Past, Recorded
from ingest.feeds.rendering import decimal, instant, rows_of
from ingest.feeds.venue import Stream
from tapehouse.batch import Batch

_KINDS = {"matches": "trades", "ticker": "quotes"}
_TRADE_ID = re.compile(rb'"trade_id":(\d+)')
_TRADES = re.compile(r"/products/([^/]+)/trades")
_REST_KEYS = ("trade_id", "side", "size", "price", "time")
_NEWEST = 2**63


class CoinbaseDialect:
    """The venue's far side. Rows do not know all that a message says: what is missing is left out."""

    name = "coinbase"
    path = "/"

    def subscribed(self, command: bytes) -> tuple[list[Stream], list[bytes]]:
        """Channels name their products; those that are not replayed are only confirmed."""
        asked = orjson.loads(command)
        channels = asked["channels"] if asked.get("type") == "subscribe" else []
        streams = [
            Stream(_KINDS[channel["name"]], product)
            for channel in channels
            if channel["name"] in _KINDS
            for product in channel["product_ids"]
        ]
        return streams, [orjson.dumps({"type": "subscriptions", "channels": channels})]

    def trade_id(self, message: bytes) -> int:
        """The id of a match."""
        found = _TRADE_ID.search(message)
        assert found, message
        return int(found[1])

    def answer(self, path: str, query: Mapping[str, str], past: Past) -> bytes | None:
        """Trades below an id, the newest first."""
        asked = _TRADES.fullmatch(path)
        if asked is None:
            return None
        after, limit = int(query.get("after", _NEWEST)), int(query.get("limit", "1000"))
        trades = past.trades.get(asked[1], {})
        page = islice((trades[trade] for trade in reversed(trades) if trade < after), limit)
        rows = [orjson.loads(message) for message in page]
        return orjson.dumps([{key: row[key] for key in _REST_KEYS} for row in rows])

    def render(self, batches: Iterable[Batch]) -> Iterator[Recorded]:
        """Rows of trades and quotes as messages."""
        found = [
            Recorded(row["ts_recv"], Stream(batch.kind.name, row["symbol"]), orjson.dumps(render(row)))
            for batch in batches
            for render in [_match if batch.kind.name == "trades" else _ticker]
            for row in rows_of(batch)
        ]
        yield from sorted(found, key=lambda item: item.at_ns)


def _match(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "match",
        "trade_id": row["seq"],
        "maker_order_id": f"00000000-0000-4000-8000-{2 * row['seq']:012x}",
        "taker_order_id": f"00000000-0000-4000-8000-{2 * row['seq'] + 1:012x}",
        "side": "buy" if row["side"] < 0 else "sell",
        "size": decimal(row["size"]),
        "price": decimal(row["price"]),
        "product_id": row["symbol"],
        "sequence": row["seq"],
        "time": instant(row["ts_event"]),
    }


def _ticker(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "ticker",
        "sequence": row["seq"],
        "product_id": row["symbol"],
        "best_bid": decimal(row["bid"]),
        "best_bid_size": decimal(row["bid_size"]),
        "best_ask": decimal(row["ask"]),
        "best_ask_size": decimal(row["ask_size"]),
        "time": instant(row["ts_event"]),
    }


EXCHANGE = CoinbaseDialect()
