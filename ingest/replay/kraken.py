"""Emulates Kraken: subscriptions, trades, tickers, and trades by REST."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from ingest.replay.emulator import RecordedMessage, VenueHistory
from ingest.replay.formatting import batch_rows, format_decimal, format_time
from ingest.venues.venue import VenueStream
from tapehouse.batch import Batch
from tapehouse.clock import MICROSECOND, now_ns, parse_ns
from tapehouse.model import Flags

_KINDS = {"trade": "trades", "ticker": "quotes"}
_TRADE_ID = re.compile(rb'"trade_id":(\d+)')
_TIME = re.compile(rb'"timestamp":"([^"]+)"')
_TRADES = "/0/public/Trades"


class KrakenEmulator:
    """Emulates the venue. Keys that the rows have no values for are left out of messages."""

    name = "kraken"
    path = "/v2"

    def handle_command(self, command: bytes) -> tuple[list[VenueStream], list[bytes]]:
        """Subscribe to one channel and its symbols; each symbol is confirmed."""
        request = orjson.loads(command)
        if request.get("method") != "subscribe":
            return [], [orjson.dumps({"method": "pong", "req_id": request.get("req_id")})]
        channel, symbols = request["params"]["channel"], request["params"]["symbol"]
        replies = [
            orjson.dumps(
                {
                    "method": "subscribe",
                    "req_id": request.get("req_id"),
                    "result": {"channel": channel, "snapshot": True, "symbol": symbol},
                    "success": True,
                    "time_in": format_time(now_ns()),
                    "time_out": format_time(now_ns()),
                }
            )
            for symbol in symbols
        ]
        return [VenueStream(_KINDS[channel], symbol) for symbol in symbols if channel in _KINDS], replies

    def trade_id(self, message: bytes) -> int:
        """The id of the last trade of a message."""
        return int(_TRADE_ID.findall(message)[-1])

    def rest_response(self, path: str, query: Mapping[str, str], history: VenueHistory) -> bytes | None:
        """The trades after a time in ns."""
        if path != _TRADES:
            return None
        pair, count = query["pair"], int(query.get("count", "1000"))
        messages = list(history.trades.get(pair, {}).values())
        first = bisect_right(messages, int(query.get("since", "0")), key=_trade_time)
        page = [row for message in messages[first : first + count] for row in orjson.loads(message)["data"]]
        last = str(parse_ns(page[-1]["timestamp"])) if page else query.get("since", "0")
        return orjson.dumps({"error": [], "result": {pair: [_rest_row(row) for row in page], "last": last}})

    def encode(self, batches: Iterable[Batch]) -> Iterator[RecordedMessage]:
        """Trades and quotes as messages."""
        found = [
            RecordedMessage(
                row["ts_recv"], VenueStream(batch.kind.name, row["symbol"]), _message(channel, render(row))
            )
            for batch in batches
            for channel, render in [("trade", _trade) if batch.kind.name == "trades" else ("ticker", _ticker)]
            for row in batch_rows(batch)
        ]
        yield from sorted(found, key=lambda item: item.at_ns)


def _trade_time(message: bytes) -> int:
    return parse_ns(_TIME.findall(message)[-1].decode())


def _message(channel: str, row: dict[str, Any]) -> bytes:
    return orjson.dumps({"channel": channel, "type": "update", "data": [row]})


def _trade(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "symbol": row["symbol"],
        "side": "sell" if row["side"] < 0 else "buy",
        "price": row["price"],
        "qty": row["size"],
        "ord_type": row["conditions"] or "limit",
        "trade_id": row["seq"],
        "timestamp": format_time(row["ts_event"]),
    }


def _ticker(row: dict[str, Any]) -> dict[str, Any]:
    prices = {"bid": row["bid"], "bid_qty": row["bid_size"], "ask": row["ask"], "ask_qty": row["ask_size"]}
    ticker = {
        "symbol": row["symbol"],
        **{key: 0.0 if value != value else value for key, value in prices.items()},
    }
    return (
        ticker
        if row["flags"] & Flags.ESTIMATED_TIME
        else {**ticker, "timestamp": format_time(row["ts_event"])}
    )


def _rest_row(trade: dict[str, Any]) -> list[Any]:
    """A trade as a REST row; its time is the nearest double of seconds, as the venue sends it."""
    seconds = parse_ns(trade["timestamp"]) // MICROSECOND / 10**6
    return [
        format_decimal(trade["price"]), format_decimal(trade["qty"]), seconds, trade["side"][0],
        trade["ord_type"][0], "", trade["trade_id"],
    ]  # fmt: skip


SPOT = KrakenEmulator()
