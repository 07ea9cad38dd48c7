"""Kraken spot live: trades and best quotes by version 2 of its websocket, missed trades by REST.

Channels `trade` and `ticker` (on each change of the best quotes). Trade ids rise by one within a symbol. No book
is taken from here, and so the checksum of books is not used.

The venue's clock is floored to milliseconds. Its engine counts nanoseconds; the socket writes microseconds of
them, REST a double, which is up to 0.12 us away from the time meant. Floored to microseconds one trade in sixteen
would have two times, one for each path; to milliseconds, a trade has when it happened within 0.12 us of the turn
of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson

from ingest.feeds.call import refused
from ingest.feeds.fields import shown
from ingest.feeds.kraken_parser import KINDS, NUMBERINGS, Parser
from ingest.feeds.kraken_rows import UNIT_NS
from ingest.feeds.parsed import Parsed
from ingest.feeds.venue import Ask, Stream, Wanted

_CHANNELS = {"trades": "trade", "quotes": "ticker"}
_TRADES_A_PAGE = 1_000
_PAUSE_S = 1.0
"""One public request a second is allowed."""
_REST_ROW = ("price", "qty", "timestamp", "side", "ord_type", "misc", "trade_id")


class Kraken:
    """The venue. Its documentation names no limit of streams a connection, and limits commands by load."""

    name = "kraken"
    kinds = frozenset(KINDS)
    numbering: Mapping[str, str] = NUMBERINGS
    contiguous = frozenset({"trades"})
    socket = "wss://ws.kraken.com"
    rest = "https://api.kraken.com"
    streams_at_most = 200
    lifetime_s: float | None = None
    overlaps = False
    """Quotes have no ids."""
    commands_per_s = 20.0

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
        """Version 2."""
        return f"{socket}/v2"

    def commands(self, streams: Sequence[Stream]) -> list[str]:
        """One subscription a channel; the snapshots are the last 50 trades and the best quotes as they are."""
        symbols: dict[str, list[str]] = {}
        # Trades last: what is missed of them meanwhile can be asked for.
        for stream in sorted(streams, key=lambda stream: stream.kind == "trades"):
            symbols.setdefault(_CHANNELS[stream.kind], []).append(stream.symbol)
        commands = []
        for number, (channel, wanted) in enumerate(symbols.items(), 1):
            params: dict[str, Any] = {"channel": channel, "symbol": wanted, "snapshot": True}
            if channel == "ticker":
                params["event_trigger"] = "bbo"
            commands.append(json.dumps({"method": "subscribe", "params": params, "req_id": number}))
        return commands

    def ask_trades(self, wanted: Wanted, key: str) -> Ask:
        """The thousand trades behind a time, `since` in ns: more than those within one ms cannot be asked for."""
        since = max(0, wanted.ts - 1)
        query = urlencode({"pair": wanted.symbol, "since": since, "count": _TRADES_A_PAGE})
        return Ask(f"/0/public/Trades?{query}", {}, _PAUSE_S)

    def trades(self, answer: bytes, venue: str, symbol: str, received_ns: int) -> Parsed:
        """The trades of a page, read as the socket's once their values are named as the socket names them."""
        where = f"trades of {symbol} by REST"
        try:
            body = orjson.loads(answer)
        except orjson.JSONDecodeError as fault:
            return refused(received_ns, answer, f"answer: expected JSON, was unreadable: {fault}", where)
        result = body.get("result") if isinstance(body, dict) else None
        if not isinstance(result, dict):
            said = body.get("error") if isinstance(body, dict) else body
            reason = f"answer: expected a result, was {orjson.dumps(said).decode()[:200]}"
            return refused(received_ns, answer, reason, where)
        # Besides the cursor there is one list, under one of the pair's names.
        rows: Any = next((value for name, value in result.items() if name != "last"), [])
        if not isinstance(rows, list):
            return refused(
                received_ns, answer, f"answer: expected a list of trades, was {shown(rows)}", where
            )
        messages = [(received_ns, _as_message(symbol, row)) for row in rows]
        return Parser(venue, ("trades",)).feed(messages, lambda place: f"{where}, row {place + 1}")

    def ask_book(self, symbol: str) -> None:
        """No book is taken from here."""

    def book(self, answer: bytes, symbol: str) -> bytes:
        """Never asked for."""
        return answer


def _as_message(symbol: str, row: Any) -> bytes:
    trade = dict(zip(_REST_ROW, row, strict=False)) | {"symbol": symbol} if isinstance(row, list) else row
    return orjson.dumps({"channel": "trade", "type": "update", "data": [trade]})


SPOT = Kraken()
