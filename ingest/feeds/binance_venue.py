"""Binance live: spot, USD-M and COIN-M futures, by combined streams.

Addresses, paths and limits are those of the venue's documentation. Futures' trades by id need a key; without one
the last thousand are taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ingest.feeds.binance import Parser
from ingest.feeds.binance_rest import rest_trades
from ingest.feeds.parsed import Parsed
from ingest.feeds.venue import Ask, Stream, Wanted
from tapehouse.clock import MILLISECOND

_EVENTS = {"trades": "trade", "quotes": "bookTicker", "depth": "depth@100ms"}
_STREAMS_A_COMMAND = 100
_TRADES_A_PAGE = 1_000


class Binance:
    """One of the venue's three markets."""

    kinds = frozenset(_EVENTS)
    numbering: Mapping[str, str] = {"trades": "trade id", "quotes": "update id", "depth": "update id"}
    contiguous = frozenset({"trades"})
    lifetime_s: float | None = 24 * 3600.0
    overlaps = True

    def __init__(
        self,
        name: str,
        socket: str,
        rest: str,
        *,
        root: str,
        levels: int,
        streams_at_most: int,
        commands_per_s: float,
        needs_key: bool,
        trades_pause_s: float,
        book_pause_s: float,
    ) -> None:
        """`root` is that of the REST paths, `levels` of a snapshot, at most; `needs_key` for trades by id.

        The pauses spend the minute's weight evenly.
        """
        self.name = name
        self.socket = socket
        self.rest = rest
        self.streams_at_most = streams_at_most
        self.commands_per_s = commands_per_s
        self._root = root
        self._levels = levels
        self._needs_key = needs_key
        self._trades_pause_s = trades_pause_s
        self._book_pause_s = book_pause_s

    def parser(self, venue: str, kinds: Iterable[str]) -> Parser:
        """A fresh parser."""
        return Parser(venue, kinds)

    def reader(self, kinds: Iterable[str]) -> dict[str, Any]:
        """A refused message is kept as a line of a capture."""
        return {"format": "capture", "kinds": sorted(kinds), "symbol": None, "unit_ns": MILLISECOND}

    def url(self, socket: str) -> str:
        """Combined streams, subscribed to by commands."""
        return f"{socket}/stream"

    def commands(self, streams: Sequence[Stream]) -> list[str]:
        """SUBSCRIBE, a hundred streams at a time."""
        names = [f"{stream.symbol.lower()}@{_EVENTS[stream.kind]}" for stream in streams]
        pages = [names[i : i + _STREAMS_A_COMMAND] for i in range(0, len(names), _STREAMS_A_COMMAND)]
        return [
            json.dumps({"method": "SUBSCRIBE", "params": page, "id": number})
            for number, page in enumerate(pages, 1)
        ]

    def ask_trades(self, wanted: Wanted, key: str) -> Ask:
        """Trades by id where that is allowed, else the latest."""
        query: dict[str, Any] = {"symbol": wanted.symbol, "limit": _TRADES_A_PAGE}
        if self._needs_key and not key:
            return Ask(f"{self._root}/trades?{urlencode(query)}", {}, self._trades_pause_s)
        query["fromId"] = wanted.first
        headers = {"X-MBX-APIKEY": key} if key else {}
        return Ask(f"{self._root}/historicalTrades?{urlencode(query)}", headers, self._trades_pause_s)

    def trades(self, answer: bytes, venue: str, symbol: str, received_ns: int) -> Parsed:
        """The trades of a page."""
        return rest_trades(answer, symbol, received_ns, MILLISECOND, venue)

    def ask_book(self, symbol: str) -> Ask:
        """As many levels as the market gives."""
        query = urlencode({"symbol": symbol, "limit": self._levels})
        return Ask(f"{self._root}/depth?{query}", {}, self._book_pause_s)

    def book(self, answer: bytes, symbol: str) -> bytes:
        """The snapshot under the name of its stream: spot's and USD-M's name no symbol."""
        return b'{"stream":"%b@depth","data":%b}' % (symbol.lower().encode(), answer.strip())


SPOT = Binance(
    "binance_spot",
    "wss://stream.binance.com:9443",
    "https://api.binance.com",
    root="/api/v3",
    levels=5_000,
    streams_at_most=1_024,
    commands_per_s=4,
    needs_key=False,
    trades_pause_s=0.25,
    book_pause_s=2.5,
)
USDM = Binance(
    "binance_usdm",
    "wss://fstream.binance.com",
    "https://fapi.binance.com",
    root="/fapi/v1",
    levels=1_000,
    streams_at_most=200,
    commands_per_s=8,
    needs_key=True,
    trades_pause_s=0.5,
    book_pause_s=0.5,
)
COINM = Binance(
    "binance_cm",
    "wss://dstream.binance.com",
    "https://dapi.binance.com",
    root="/dapi/v1",
    levels=1_000,
    streams_at_most=200,
    commands_per_s=8,
    needs_key=True,
    trades_pause_s=0.5,
    book_pause_s=0.5,
)
