"""Messages to measure parsers with, by venue and type, each with what makes a parser for them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from ingest.venues.binance.parser import Parser
from ingest.venues.parse_result import Message
from ingest.venues.registry import VENUES
from ingest.venues.venue import VenueParser

CAPTURES = Path(__file__).parents[2] / "shared" / "data" / "binance_raw_2024"
_MARKETS = {
    "binance": "spot_btcusdt_20240808.gz",
    "binance-usdm": "usdm_btcusdt_20240808.gz",
    "binance-coinm": "cm_btcusd_perp_20240808.gz",
}
_MESSAGES, _SNAPSHOTS = 2_000, 20
_READ = 40_000
_T0 = 1_723_161_255_342


def origin() -> str:
    """Where the messages come from."""
    if CAPTURES.is_dir():
        return "of captures of August 2024; aggTrade made of their trades"
    return f"made up, for ../shared/data/{CAPTURES.name} is absent"


def by_type() -> dict[str, tuple[list[Message], Callable[[], VenueParser]]]:
    """ "venue type" -> messages, and what makes a fresh parser for them; a new venue is added here."""
    found: dict[str, tuple[list[Message], Callable[[], VenueParser]]] = {}
    for venue, file in _MARKETS.items():
        messages = _binance(venue, CAPTURES / file)
        fresh_binance = _binance_parser(venue, messages["trade"][0])
        found |= {f"{venue} {event}": (of_event, fresh_binance) for event, of_event in messages.items()}
    for venue, made in (("coinbase", _coinbase()), ("kraken", _kraken())):
        fresh = partial(VENUES[venue].parser, venue, ("trades", "quotes"))
        found |= {f"{venue} {event}": (messages, fresh) for event, messages in made.items()}
    return found


def _coinbase() -> dict[str, list[Message]]:
    """Made up, as the venue documents them."""
    trade: dict[str, Any] = {"type": "match", "maker_order_id": "ac928c66-ca53-498f-9c13-a110027a60e8"}
    trade |= {"taker_order_id": "132fb6ae-456b-4654-b4e0-d681ac05cea1", "side": "sell", "size": "0.02"}
    trade |= {"price": "61837.63", "product_id": "BTC-USD"}
    ticker = {"type": "ticker", "product_id": "BTC-USD", "price": "61837.63", "open_24h": "60310.79"}
    ticker |= {"volume_24h": "24553.79269678", "low_24h": "60280.52", "high_24h": "62313.8"}
    ticker |= {"volume_30d": "978878.60117027", "best_bid": "61837.6", "best_bid_size": "0.46688654"}
    ticker |= {"best_ask": "61837.7", "best_ask_size": "1.56637040", "side": "buy", "last_size": "0.02"}
    times = [{"time": f"2024-08-08T23:54:15.{342_000 + n}Z", "sequence": n} for n in range(_MESSAGES)]
    return _received(
        trade=[trade | time | {"trade_id": n} for n, time in enumerate(times)],
        ticker=[ticker | time | {"trade_id": n} for n, time in enumerate(times)],
    )


def _kraken() -> dict[str, list[Message]]:
    """Made up, as the venue documents them."""
    trade = {"symbol": "BTC/USD", "side": "sell", "price": 61837.6, "qty": 0.02, "ord_type": "limit"}
    ticker: dict[str, Any] = {"symbol": "BTC/USD", "bid": 61837.6, "bid_qty": 0.46688654, "ask": 61837.7}
    ticker |= {"ask_qty": 1.5663704, "last": 61837.6, "volume": 2455.79269678, "vwap": 61001.2}
    ticker |= {"low": 60280.5, "high": 62313.8, "change": 250.1, "change_pct": 0.4}
    times = [{"timestamp": f"2024-08-08T23:54:15.{342_000 + n}Z"} for n in range(_MESSAGES)]
    update = {"type": "update"}
    return _received(
        trade=[
            {"channel": "trade", **update, "data": [trade | time | {"trade_id": n + 1}]}
            for n, time in enumerate(times)
        ],
        ticker=[{"channel": "ticker", **update, "data": [ticker | time]} for time in times],
    )


def _received(**bodies: list[dict[str, Any]]) -> dict[str, list[Message]]:
    return {
        event: [((_T0 + n) * 1_000_000, orjson.dumps(body)) for n, body in enumerate(of_event)]
        for event, of_event in bodies.items()
    }


def _binance_parser(venue: str, timed: Message) -> Callable[[], Parser]:
    def fresh() -> Parser:
        parser = Parser(venue, ("trades", "quotes", "depth"))
        # Messages without a time or a symbol wait for one that has it. A sound trade would settle the numbering.
        body = orjson.loads(timed[1])
        body.get("data", body).update(t=-1)
        parser.feed([(timed[0], orjson.dumps(body))], str)
        return parser

    return fresh


def _binance(venue: str, capture: Path) -> dict[str, list[Message]]:
    """By type; `mixed` has all types of one connection in the order received."""
    received = _read(capture) if capture.exists() else _made(futures=venue != "binance")
    found: dict[str, list[Message]] = {
        "trade": [],
        "aggTrade": [],
        "bookTicker": [],
        "depthUpdate": [],
        "snapshot": [],
    }
    for at, raw in received:
        body: Any = orjson.loads(raw)
        body = body.get("data", body)
        event = body.get("e", "bookTicker" if "A" in body else "snapshot")
        found[event].append((at, raw))
    found = {event: messages[:_MESSAGES] for event, messages in found.items()}
    found["aggTrade"] = [(at, _aggregate(raw)) for at, raw in found["trade"]]
    found["snapshot"] *= _SNAPSHOTS
    found["mixed"] = received[:_MESSAGES]
    return found


def _read(capture: Path) -> list[Message]:
    with gzip.open(capture) as lines:
        cut = (line.rstrip(b"\n").partition(b" ") for line in islice(lines, _READ))
        return [(int(received), raw) for received, _, raw in cut]


def _aggregate(trade: bytes) -> bytes:
    body: Any = orjson.loads(trade)
    aggregate = body.get("data", body)
    number = aggregate.pop("t")
    aggregate.pop("X", None)
    aggregate |= {"e": "aggTrade", "a": number, "f": number, "l": number}
    return orjson.dumps(body)


def _made(*, futures: bool) -> list[Message]:
    """A snapshot, then a trade, a quote and a book update in turn."""
    clock = {"E": _T0, "T": _T0}
    levels = [[f"{61_000 + n / 100:.2f}", "0.50000000"] for n in range(1_000)]
    snapshot = {"lastUpdateId": 1, "bids": levels, "asks": levels} | (clock if futures else {})
    bodies: list[dict[str, Any]] = [snapshot]
    for n in range(_MESSAGES):
        clock = {"E": _T0 + n, "T": _T0 + n}
        trade: dict[str, Any] = {"e": "trade", "s": "BTCUSDT", "t": n, "p": "61837.63", "q": "0.02"}
        trade |= {"m": n % 2 == 0} | clock
        quote: dict[str, Any] = {
            "u": n,
            "s": "BTCUSDT",
            "b": "61837.6",
            "B": "3.1",
            "a": "61837.7",
            "A": "0.02",
        }
        update: dict[str, Any] = {"e": "depthUpdate", "E": _T0 + n, "s": "BTCUSDT", "U": n, "u": n}
        if futures:
            trade |= {"X": "MARKET"}
            quote |= {"e": "bookTicker"} | clock
            update |= {"T": _T0 + n, "pu": n - 1 if n else 0}
        update |= {"b": levels[:8], "a": levels[8:12]}
        bodies += [{"stream": "btcusdt@x", "data": body} for body in (trade, quote, update)]
    return [((_T0 + n) * 1_000_000, orjson.dumps(body)) for n, body in enumerate(bodies)]
