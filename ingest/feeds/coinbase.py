"""Coinbase Exchange live: trades and best quotes by its public websocket feed, missed trades by REST.

Channels `matches` and `ticker`. Trade ids rise by one within a product. A ticker tells the best quotes at a
match, not between matches, and a cascade of matches is one ticker; its `sequence` rises, not by one. The first
`last_match` and `ticker` of a connection are old and may repeat what was received before.

The venue's clock counts microseconds, on the socket and by REST; what it writes more finely is floored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from ingest.feeds.call import refused
from ingest.feeds.coinbase_parser import KINDS, NUMBERINGS, UNIT_NS, Parser
from ingest.feeds.fields import shown
from ingest.feeds.parsed import Parsed
from ingest.feeds.venue import Ask, Stream, Wanted

_CHANNELS = {"trades": "matches", "quotes": "ticker"}
_TRADES_A_PAGE = 1_000
_PAUSE_S = 0.15
"""Ten public requests a second are allowed."""


class Coinbase:
    """The venue. Its documentation names no limit of streams a connection; a command carries all of them."""

    name = "coinbase"
    kinds = frozenset(KINDS)
    numbering: Mapping[str, str] = NUMBERINGS
    contiguous = frozenset({"trades"})
    socket = "wss://ws-feed.exchange.coinbase.com"
    rest = "https://api.exchange.coinbase.com"
    streams_at_most = 200
    lifetime_s: float | None = None
    overlaps = True
    commands_per_s = 8.0

    def parser(self, venue: str, kinds: Iterable[str]) -> Parser:
        """A fresh parser."""
        return Parser(venue, kinds)

    def reader(self, kinds: Iterable[str]) -> dict[str, Any]:
        """A refused message is kept as a line of a capture."""
        return {
            "format": "capture",
            "protocol": self.name,
            "kinds": sorted(kinds),
            "symbol": None,
            "unit_ns": UNIT_NS,
        }

    def url(self, socket: str) -> str:
        """The root of the address."""
        return f"{socket}/"

    def commands(self, streams: Sequence[Stream]) -> list[str]:
        """One subscription to all; the heartbeats tell of trades that went missing while a product is quiet."""
        channels: dict[str, list[str]] = {"heartbeat": list(dict.fromkeys(s.symbol for s in streams))}
        for stream in streams:
            channels.setdefault(_CHANNELS[stream.kind], []).append(stream.symbol)
        wanted = [{"name": name, "product_ids": products} for name, products in channels.items()]
        return [json.dumps({"type": "subscribe", "channels": wanted})]

    def ask_trades(self, wanted: Wanted, key: str) -> Ask:
        """Up to a thousand ids from `wanted.first` on: pages are given by the id above them, newest first."""
        after = wanted.first + _TRADES_A_PAGE
        if wanted.last is not None:
            after = min(after, wanted.last + 1)
        query = urlencode({"limit": after - wanted.first, "after": after})
        return Ask(f"/products/{quote(wanted.symbol, safe='')}/trades?{query}", {}, _PAUSE_S)

    def trades(self, answer: bytes, venue: str, symbol: str, received_ns: int) -> Parsed:
        """The trades of a page, the oldest first, read as the socket's."""
        where = f"trades of {symbol} by REST"
        try:
            rows = orjson.loads(answer)
        except orjson.JSONDecodeError as fault:
            return refused(received_ns, answer, f"answer: expected JSON, was unreadable: {fault}", where)
        if not isinstance(rows, list):
            return refused(
                received_ns, answer, f"answer: expected a list of trades, was {shown(rows)}", where
            )
        messages = [
            (received_ns, orjson.dumps({**row, "type": "match", "product_id": symbol}))
            if isinstance(row, dict)
            else (received_ns, orjson.dumps(row))
            for row in reversed(rows)
        ]
        return Parser(venue, ("trades",)).feed(messages, lambda place: f"{where}, row {len(rows) - place}")

    def ask_book(self, symbol: str) -> None:
        """No book is taken from here."""

    def book(self, answer: bytes, symbol: str) -> bytes:
        """Never asked for."""
        return answer


EXCHANGE = Coinbase()
