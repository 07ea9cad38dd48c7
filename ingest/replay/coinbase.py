"""Emulates Coinbase Exchange: subscriptions, matches, tickers, and trades by REST."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from ingest.replay.emulator import RecordedMessage, VenueHistory
from ingest.replay.formatting import batch_rows, format_decimal, format_time
from ingest.venues.venue import VenueStream
from tapehouse.batch import Batch

_KINDS = {"matches": "trades", "ticker": "quotes"}
_TRADE_ID = re.compile(rb'"trade_id":(\d+)')
_TRADES = re.compile(r"/products/([^/]+)/trades")
_REST_KEYS = ("trade_id", "side", "size", "price", "time")
_NEWEST = 2**63


class CoinbaseEmulator:
    """Emulates the venue. Keys that the rows have no values for are left out of messages."""

    name = "coinbase"
    path = "/"

    def handle_command(self, command: bytes) -> tuple[list[VenueStream], list[bytes]]:
        """Subscribe to channels by product; channels that are not replayed are only confirmed."""
        request = orjson.loads(command)
        channels = request["channels"] if request.get("type") == "subscribe" else []
        streams = [
            VenueStream(_KINDS[channel["name"]], product)
            for channel in channels
            if channel["name"] in _KINDS
            for product in channel["product_ids"]
        ]
        return streams, [orjson.dumps({"type": "subscriptions", "channels": channels})]

    def trade_id(self, message: bytes) -> int:
        """The id of a match message."""
        found = _TRADE_ID.search(message)
        assert found, message
        return int(found[1])

    def rest_response(self, path: str, query: Mapping[str, str], history: VenueHistory) -> bytes | None:
        """The trades before an id, newest first."""
        request = _TRADES.fullmatch(path)
        if request is None:
            return None
        after, limit = int(query.get("after", _NEWEST)), int(query.get("limit", "1000"))
        trades = history.trades.get(request[1], {})
        page = islice((trades[trade] for trade in reversed(trades) if trade < after), limit)
        rows = [orjson.loads(message) for message in page]
        return orjson.dumps([{key: row[key] for key in _REST_KEYS} for row in rows])

    def encode(self, batches: Iterable[Batch]) -> Iterator[RecordedMessage]:
        """Trades and quotes as messages."""
        found = [
            RecordedMessage(
                row["ts_recv"], VenueStream(batch.kind.name, row["symbol"]), orjson.dumps(render(row))
            )
            for batch in batches
            for render in [_match if batch.kind.name == "trades" else _ticker]
            for row in batch_rows(batch)
        ]
        yield from sorted(found, key=lambda item: item.at_ns)


def _match(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "match",
        "trade_id": row["seq"],
        "maker_order_id": f"00000000-0000-4000-8000-{2 * row['seq']:012x}",
        "taker_order_id": f"00000000-0000-4000-8000-{2 * row['seq'] + 1:012x}",
        "side": "buy" if row["side"] < 0 else "sell",
        "size": format_decimal(row["size"]),
        "price": format_decimal(row["price"]),
        "product_id": row["symbol"],
        "sequence": row["seq"],
        "time": format_time(row["ts_event"]),
    }


def _ticker(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "ticker",
        "sequence": row["seq"],
        "product_id": row["symbol"],
        "best_bid": format_decimal(row["bid"]),
        "best_bid_size": format_decimal(row["bid_size"]),
        "best_ask": format_decimal(row["ask"]),
        "best_ask_size": format_decimal(row["ask_size"]),
        "time": format_time(row["ts_event"]),
    }


EXCHANGE = CoinbaseEmulator()
