"""Messages to measure parsers with, by venue and type, each with what makes a parser for them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from ingest.feeds.binance import Parser
from ingest.feeds.parsed import Message

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


def by_type() -> dict[str, tuple[list[Message], Callable[[], Parser]]]:
    """ "venue type" -> messages, and what makes a fresh parser for them; a new venue is added here."""
    found: dict[str, tuple[list[Message], Callable[[], Parser]]] = {}
    for venue, file in _MARKETS.items():
        messages = _binance(venue, CAPTURES / file)
        fresh = _binance_parser(venue, messages["trade"][0])
        found |= {f"{venue} {event}": (of_event, fresh) for event, of_event in messages.items()}
    return found


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
