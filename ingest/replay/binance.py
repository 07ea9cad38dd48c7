"""Emulates Binance: combined streams, SUBSCRIBE, trades and books by REST."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from ingest.replay.emulator import RecordedMessage, VenueHistory
from ingest.replay.formatting import batch_rows, format_decimal
from ingest.venues.venue import VenueStream
from tapehouse.batch import Batch
from tapehouse.clock import MILLISECOND
from tapehouse.model import NULL_LONG

_KINDS = {"trade": "trades", "bookTicker": "quotes", "depth": "depth"}
_STREAM = re.compile(rb'\{"stream":"([^"@]+)@([a-zA-Z]+)')
_TRADE_ID = re.compile(rb'"t":(\d+)')


def stream_prefix(message: bytes) -> bytes:
    """The beginning of a combined-stream message, which names its stream."""
    return message[: message.find(b",")]


def parse_stream(message: bytes) -> VenueStream | None:
    """The stream of a combined-stream message; None where it is not replayed."""
    found = _STREAM.match(message)
    kind = _KINDS.get(found[2].decode()) if found else None
    return VenueStream(kind, found[1].decode().upper()) if found and kind else None


class BinanceEmulator:
    """Emulates one of Binance's markets."""

    path = "/stream"

    def __init__(self, name: str, futures: bool) -> None:
        self.name = name
        self._futures = futures

    def handle_command(self, command: bytes) -> tuple[list[VenueStream], list[bytes]]:
        """Subscribe by SUBSCRIBE; any other command only gets a reply."""
        request = orjson.loads(command)
        streams = []
        for name in request["params"] if request.get("method") == "SUBSCRIBE" else ():
            symbol, _, event = name.partition("@")
            kind = _KINDS.get(event.partition("@")[0])
            if kind:
                streams.append(VenueStream(kind, symbol.upper()))
        return streams, [orjson.dumps({"result": None, "id": request.get("id")})]

    def trade_id(self, message: bytes) -> int:
        """The id of a trade message."""
        found = _TRADE_ID.search(message)
        assert found, message
        return int(found[1])

    def rest_response(self, path: str, query: Mapping[str, str], history: VenueHistory) -> bytes | None:
        """Trades by id, the latest trades, or the last snapshot of a book."""
        symbol, limit = query.get("symbol", ""), int(query.get("limit", "500"))
        trades = history.trades.get(symbol, {})
        if path.endswith("/historicalTrades"):
            first = int(query["fromId"])
            return _trades(islice((message for trade, message in trades.items() if trade >= first), limit))
        if path.endswith("/trades"):
            return _trades(list(trades.values())[-limit:])
        return history.books.get(symbol) if path.endswith("/depth") else None

    def encode(self, batches: Iterable[Batch]) -> Iterator[RecordedMessage]:
        """Trades, quotes and depth as messages."""
        rows = [row for batch in batches for row in self._rows(batch)]
        yield from sorted(rows, key=lambda row: row.at_ns)

    def _rows(self, batch: Batch) -> Iterator[RecordedMessage]:
        event = next(event for event, kind in _KINDS.items() if kind == batch.kind.name)
        for row in batch_rows(batch):
            stream = VenueStream(batch.kind.name, row["symbol"])
            data = getattr(self, f"_{batch.kind.name}")(row)
            if row.get("snapshot"):
                yield RecordedMessage(row["ts_recv"], stream, orjson.dumps(data), snapshot=True)
                continue
            name = f"{stream.symbol.lower()}@{event}"
            yield RecordedMessage(row["ts_recv"], stream, orjson.dumps({"stream": name, "data": data}))

    def _trades(self, row: dict[str, Any]) -> dict[str, Any]:
        ms = row["ts_event"] // MILLISECOND
        return {
            "e": "trade", "E": ms, "T": ms, "s": row["symbol"], "t": row["seq"], "p": format_decimal(row["price"]),
            "q": format_decimal(row["size"]), "X": "MARKET", "m": row["side"] < 0,
        }  # fmt: skip

    def _quotes(self, row: dict[str, Any]) -> dict[str, Any]:
        ms = row["ts_event"] // MILLISECOND
        timed = {"e": "bookTicker", "T": ms, "E": ms} if self._futures else {}
        return {
            **timed, "u": row["seq"], "s": row["symbol"],
            "b": format_decimal(row["bid"]), "B": format_decimal(row["bid_size"]),
            "a": format_decimal(row["ask"]), "A": format_decimal(row["ask_size"]),
        }  # fmt: skip

    def _depth(self, row: dict[str, Any]) -> dict[str, Any]:
        ms = row["ts_event"] // MILLISECOND
        bids, asks = _levels(row, "bid"), _levels(row, "ask")
        if row["snapshot"]:
            timed = {"E": ms, "T": ms} if self._futures else {}
            return {"lastUpdateId": row["seq"], **timed, "bids": bids, "asks": asks}
        chained = {"T": ms, "pu": row["seq_previous"]} if row["seq_previous"] != NULL_LONG else {}
        return {
            "e": "depthUpdate", "E": ms, "s": row["symbol"], "U": row["seq_first"], "u": row["seq"], **chained,
            "b": bids, "a": asks,
        }  # fmt: skip


def _levels(row: dict[str, Any], side: str) -> list[list[str]]:
    prices, sizes = row[f"{side}_prices"], row[f"{side}_sizes"]
    return [[format_decimal(price), format_decimal(size)] for price, size in zip(prices, sizes, strict=True)]


def _trades(messages: Iterable[bytes]) -> bytes:
    """Trade messages as a REST response."""
    rows = []
    for message in messages:
        trade = orjson.loads(message)["data"]
        rows.append(
            {
                "id": trade["t"],
                "price": trade["p"],
                "qty": trade["q"],
                "time": trade["T"],
                "isBuyerMaker": trade["m"],
            }
        )
    return orjson.dumps(rows)


SPOT = BinanceEmulator("binance_spot", futures=False)
USDM = BinanceEmulator("binance_usdm", futures=True)
COINM = BinanceEmulator("binance_cm", futures=True)
