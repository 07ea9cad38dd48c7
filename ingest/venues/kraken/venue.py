"""Kraken spot: trades and best quotes by version 2 of its websocket, missed trades by REST.

Channels `trade` and `ticker` (on each change of the best quotes). Trade ids rise by one within a symbol. Books
are not offered.

The venue's clock is floored to milliseconds. Its engine counts nanoseconds; the socket sends microseconds, REST a
double, which is up to 0.12 us off. Floored to microseconds, one trade in sixteen would have different times by
socket and by REST; floored to milliseconds, only a trade within 0.12 us of the turn of a millisecond has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

from ingest.venues.fields import describe
from ingest.venues.kraken.parser import KINDS, NUMBERINGS, Parser
from ingest.venues.kraken.rows import UNIT_NS
from ingest.venues.message_block import rejected_response
from ingest.venues.parse_result import ParseResult
from ingest.venues.venue import MissingTrades, RestRequest, VenueStream

_CHANNELS = {"trades": "trade", "quotes": "ticker"}
_PAGE_TRADES = 1_000
_PAUSE_S = 1.0
"""The venue allows one public request a second."""
_REST_ROW = ("price", "qty", "timestamp", "side", "ord_type", "misc", "trade_id")


class Kraken:
    """Kraken spot. It documents no limit of streams per connection, and limits commands by load."""

    name = "kraken"
    kinds = frozenset(KINDS)
    numbering: Mapping[str, str] = NUMBERINGS
    contiguous = frozenset({"trades"})
    clock_unit_ns = UNIT_NS
    socket = "wss://ws.kraken.com"
    rest = "https://api.kraken.com"
    max_streams_per_connection = 200
    connection_lifetime_s: float | None = None
    allows_overlap = False
    """Quotes have no ids: two connections would double them."""
    commands_per_s = 20.0

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
        """Version 2 of the websocket API."""
        return f"{address}/v2"

    def commands(self, streams: Sequence[VenueStream]) -> list[str]:
        """One subscription a channel; the snapshots hold the last 50 trades and the current best quotes."""
        symbols: dict[str, list[str]] = {}
        # Trades last: those missed until then can be requested by REST.
        for stream in sorted(streams, key=lambda stream: stream.kind == "trades"):
            symbols.setdefault(_CHANNELS[stream.kind], []).append(stream.symbol)
        commands = []
        for number, (channel, names) in enumerate(symbols.items(), 1):
            params: dict[str, Any] = {"channel": channel, "symbol": names, "snapshot": True}
            if channel == "ticker":
                params["event_trigger"] = "bbo"
            commands.append(json.dumps({"method": "subscribe", "params": params, "req_id": number}))
        return commands

    def trades_request(self, missing: MissingTrades, api_key: str) -> RestRequest:
        """The 1,000 trades after a time, `since` in ns. More trades than that within one ms cannot be requested."""
        since = max(0, missing.ts - 1)
        query = urlencode({"pair": missing.symbol, "since": since, "count": _PAGE_TRADES})
        return RestRequest(f"/0/public/Trades?{query}", {}, _PAUSE_S)

    def parse_trades(self, body: bytes, venue: str, symbol: str, received_ns: int) -> ParseResult:
        """The trades of a response, parsed as messages of the socket once their values have the socket's keys."""
        where = f"trades of {symbol} by REST"
        try:
            response = orjson.loads(body)
        except orjson.JSONDecodeError as fault:
            return rejected_response(
                received_ns, body, f"answer: expected JSON, was unreadable: {fault}", where
            )
        result = response.get("result") if isinstance(response, dict) else None
        if not isinstance(result, dict):
            error = response.get("error") if isinstance(response, dict) else response
            reason = f"answer: expected a result, was {orjson.dumps(error).decode()[:200]}"
            return rejected_response(received_ns, body, reason, where)
        # Beside the cursor `last` there is one list, under one of the pair's names.
        rows: Any = next((value for name, value in result.items() if name != "last"), [])
        if not isinstance(rows, list):
            return rejected_response(
                received_ns, body, f"answer: expected a list of trades, was {describe(rows)}", where
            )
        messages = [(received_ns, _as_message(symbol, row)) for row in rows]
        return Parser(venue, ("trades",)).feed(messages, lambda index: f"{where}, row {index + 1}")

    def book_request(self, symbol: str) -> None:
        """No request: this venue's feed has no depth."""

    def book_message(self, body: bytes, symbol: str) -> bytes:
        """Unused: no book is requested."""
        return body


def _as_message(symbol: str, row: Any) -> bytes:
    trade = dict(zip(_REST_ROW, row, strict=False)) | {"symbol": symbol} if isinstance(row, list) else row
    return orjson.dumps({"channel": "trade", "type": "update", "data": [trade]})


SPOT = Kraken()
