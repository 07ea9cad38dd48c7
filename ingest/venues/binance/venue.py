"""Binance: spot, USD-M and COIN-M futures, by combined streams.

Addresses, paths and limits are those of the venue's documentation. Futures' trades by id need an API key; without
one only the last thousand are requested.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ingest.venues.binance.parser import Parser
from ingest.venues.binance.rest import parse_rest_trades
from ingest.venues.parse_result import ParseResult
from ingest.venues.venue import MissingTrades, RestRequest, VenueStream
from tapehouse.clock import MILLISECOND

_EVENTS = {"trades": "trade", "quotes": "bookTicker", "depth": "depth@100ms"}
_COMMAND_STREAMS = 100
_PAGE_TRADES = 1_000


class Binance:
    """One of Binance's three markets."""

    kinds = frozenset(_EVENTS)
    numbering: Mapping[str, str] = {"trades": "trade id", "quotes": "update id", "depth": "update id"}
    contiguous = frozenset({"trades"})
    clock_unit_ns = MILLISECOND
    connection_lifetime_s: float | None = 24 * 3600.0
    allows_overlap = True

    def __init__(
        self,
        name: str,
        socket: str,
        rest: str,
        *,
        root: str,
        levels: int,
        max_streams_per_connection: int,
        commands_per_s: float,
        needs_key: bool,
        trades_pause_s: float,
        book_pause_s: float,
    ) -> None:
        """`root` begins the REST paths; a snapshot has `levels` levels; `needs_key`: trades by id need an API key.

        The pauses spread the request weight of a minute evenly.
        """
        self.name = name
        self.socket = socket
        self.rest = rest
        self.max_streams_per_connection = max_streams_per_connection
        self.commands_per_s = commands_per_s
        self._root = root
        self._levels = levels
        self._needs_key = needs_key
        self._trades_pause_s = trades_pause_s
        self._book_pause_s = book_pause_s

    def parser(self, venue: str, kinds: Iterable[str]) -> Parser:
        """A new parser."""
        return Parser(venue, kinds)

    def rejected_reader(self, kinds: Iterable[str]) -> dict[str, Any]:
        """Read as a line of a capture."""
        return {"format": "capture", "kinds": sorted(kinds), "symbol": None, "unit_ns": self.clock_unit_ns}

    def websocket_url(self, address: str) -> str:
        """Combined streams."""
        return f"{address}/stream"

    def commands(self, streams: Sequence[VenueStream]) -> list[str]:
        """SUBSCRIBE, a hundred streams a command."""
        names = [f"{stream.symbol.lower()}@{_EVENTS[stream.kind]}" for stream in streams]
        pages = [names[i : i + _COMMAND_STREAMS] for i in range(0, len(names), _COMMAND_STREAMS)]
        return [
            json.dumps({"method": "SUBSCRIBE", "params": page, "id": number})
            for number, page in enumerate(pages, 1)
        ]

    def trades_request(self, missing: MissingTrades, api_key: str) -> RestRequest:
        """Trades by id where the key allows it, else the latest."""
        query: dict[str, Any] = {"symbol": missing.symbol, "limit": _PAGE_TRADES}
        if self._needs_key and not api_key:
            return RestRequest(f"{self._root}/trades?{urlencode(query)}", {}, self._trades_pause_s)
        query["fromId"] = missing.first
        headers = {"X-MBX-APIKEY": api_key} if api_key else {}
        return RestRequest(f"{self._root}/historicalTrades?{urlencode(query)}", headers, self._trades_pause_s)

    def parse_trades(self, body: bytes, venue: str, symbol: str, received_ns: int) -> ParseResult:
        """The trades of a response."""
        return parse_rest_trades(body, symbol, received_ns, MILLISECOND, venue)

    def book_request(self, symbol: str) -> RestRequest:
        """As many levels as the market offers."""
        query = urlencode({"symbol": symbol, "limit": self._levels})
        return RestRequest(f"{self._root}/depth?{query}", {}, self._book_pause_s)

    def book_message(self, body: bytes, symbol: str) -> bytes:
        """The snapshot wrapped in its stream's name: those of spot and USD-M name no symbol."""
        return b'{"stream":"%b@depth","data":%b}' % (symbol.lower().encode(), body.strip())


SPOT = Binance(
    "binance_spot",
    "wss://stream.binance.com:9443",
    "https://api.binance.com",
    root="/api/v3",
    levels=5_000,
    max_streams_per_connection=1_024,
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
    max_streams_per_connection=200,
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
    max_streams_per_connection=200,
    commands_per_s=8,
    needs_key=True,
    trades_pause_s=0.5,
    book_pause_s=0.5,
)
