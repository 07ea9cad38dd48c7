"""Coinbase Exchange: trades and best quotes by its public websocket feed, missed trades by REST.

Channels `matches` and `ticker`. Trade ids rise by one within a product. A ticker carries the best quotes as of a
match, not between matches, and several matches at once give one ticker; its `sequence` rises, not by one. The first
`last_match` and `ticker` of a connection are old and may repeat what was received before.

The venue's clock counts microseconds on the socket and by REST; finer times are floored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from ingest.venues.coinbase.parser import KINDS, NUMBERINGS, UNIT_NS, Parser
from ingest.venues.fields import describe
from ingest.venues.message_block import rejected_response
from ingest.venues.parse_result import ParseResult
from ingest.venues.venue import MissingTrades, RestRequest, VenueStream

_CHANNELS = {"trades": "matches", "quotes": "ticker"}
_PAGE_TRADES = 1_000
_PAUSE_S = 0.15
"""The venue allows ten public requests a second."""


class Coinbase:
    """Coinbase Exchange. It documents no limit of streams per connection; one command subscribes to all."""

    name = "coinbase"
    kinds = frozenset(KINDS)
    numbering: Mapping[str, str] = NUMBERINGS
    contiguous = frozenset({"trades"})
    clock_unit_ns = UNIT_NS
    socket = "wss://ws-feed.exchange.coinbase.com"
    rest = "https://api.exchange.coinbase.com"
    max_streams_per_connection = 200
    connection_lifetime_s: float | None = None
    allows_overlap = True
    commands_per_s = 8.0

    def parser(self, venue: str, kinds: Iterable[str]) -> Parser:
        """A new parser."""
        return Parser(venue, kinds)

    def rejected_reader(self, kinds: Iterable[str]) -> dict[str, Any]:
        """Read as a line of a capture."""
        return {
            "format": "capture",
            "protocol": self.name,
            "kinds": sorted(kinds),
            "symbol": None,
            "unit_ns": self.clock_unit_ns,
        }

    def websocket_url(self, address: str) -> str:
        """The root path."""
        return f"{address}/"

    def commands(self, streams: Sequence[VenueStream]) -> list[str]:
        """One subscription to all; heartbeats announce the last trade id, also while a product is quiet."""
        channels: dict[str, list[str]] = {"heartbeat": list(dict.fromkeys(s.symbol for s in streams))}
        for stream in streams:
            channels.setdefault(_CHANNELS[stream.kind], []).append(stream.symbol)
        subscriptions = [{"name": name, "product_ids": products} for name, products in channels.items()]
        return [json.dumps({"type": "subscribe", "channels": subscriptions})]

    def trades_request(self, missing: MissingTrades, api_key: str) -> RestRequest:
        """Up to 1,000 ids from `missing.first` on: a page is addressed by the id after its newest."""
        after = missing.first + _PAGE_TRADES
        if missing.last is not None:
            after = min(after, missing.last + 1)
        query = urlencode({"limit": after - missing.first, "after": after})
        return RestRequest(f"/products/{quote(missing.symbol, safe='')}/trades?{query}", {}, _PAUSE_S)

    def parse_trades(self, body: bytes, venue: str, symbol: str, received_ns: int) -> ParseResult:
        """The trades of a response, oldest first, parsed as messages of the socket."""
        where = f"trades of {symbol} by REST"
        try:
            rows = orjson.loads(body)
        except orjson.JSONDecodeError as fault:
            return rejected_response(
                received_ns, body, f"answer: expected JSON, was unreadable: {fault}", where
            )
        if not isinstance(rows, list):
            return rejected_response(
                received_ns, body, f"answer: expected a list of trades, was {describe(rows)}", where
            )
        messages = [
            (received_ns, orjson.dumps({**row, "type": "match", "product_id": symbol}))
            if isinstance(row, dict)
            else (received_ns, orjson.dumps(row))
            for row in reversed(rows)
        ]
        return Parser(venue, ("trades",)).feed(messages, lambda index: f"{where}, row {len(rows) - index}")

    def book_request(self, symbol: str) -> None:
        """None: the depth kind is not offered."""

    def book_message(self, body: bytes, symbol: str) -> bytes:
        """Unused: no book is requested."""
        return body


EXCHANGE = Coinbase()
