"""Every parser, given anything: nothing is raised, and each message is accepted, ignored or rejected."""

import gzip
import json
import random
import re
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.venues.binance.parser import Parser
from ingest.venues.parse_result import Message, ParseResult
from ingest.venues.registry import VENUES
from ingest.venues.venue import VenueParser
from tests.market_data import CAPTURES

T0 = 1_723_161_255_342
NOW = T0 * 10**6
MUTATIONS = 10_000
BEST_AND_TRADES = ("trades", "quotes")

TIMES = {"E": T0, "T": T0}
TRADE = {"e": "trade", "s": "BTCUSDT", "t": 7, "p": "61837.63", "q": "0.02", "m": True} | TIMES
QUOTE = {"u": 11, "s": "BTCUSDT", "b": "1.5", "B": "2", "a": "1.6", "A": "3"}
LEVELS = [[f"{61_000 + n}.5", "0.25"] for n in range(20)]
UPDATE = {"e": "depthUpdate", "E": T0, "s": "BTCUSDT", "U": 10, "u": 12, "b": LEVELS, "a": LEVELS[:2]}
SNAPSHOT = {"lastUpdateId": 12, "bids": LEVELS[:2], "asks": LEVELS[2:4]}
BINANCE: list[dict[str, Any]] = [
    TRADE,
    TRADE | {"X": "MARKET"},
    {"e": "aggTrade", "s": "BTCUSDT", "a": 9, "p": "1.5", "q": "2", "f": 1, "l": 3, "m": False} | TIMES,
    QUOTE,
    {"e": "bookTicker"} | QUOTE | TIMES,
    UPDATE,
    UPDATE | {"T": T0, "pu": 9},
    SNAPSHOT,
    SNAPSHOT | TIMES | {"symbol": "BTCUSDT"},
    {"e": "kline", "E": T0},
    {"result": None, "id": 1},
]

MATCH: dict[str, Any] = {
    "type": "match",
    "trade_id": 10,
    "side": "sell",
    "size": "5.23512",
    "price": "400.23",
}
MATCH |= {"product_id": "BTC-USD", "sequence": 50, "time": "2024-08-08T23:54:15.342123Z"}
TICKER: dict[str, Any] = {"type": "ticker", "sequence": 51, "product_id": "BTC-USD", "best_bid": "1285.04"}
TICKER |= {"best_bid_size": "0.46688654", "best_ask": "1285.27", "best_ask_size": "1.56637040"}
COINBASE: list[dict[str, Any]] = [
    MATCH,
    MATCH | {"type": "last_match", "side": "buy", "time": "2024-08-08T23:54:15Z"},
    TICKER | {"time": "2024-08-08T23:54:15.342123Z"},
    {"type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": "BTC-USD"},
    {"type": "subscriptions", "channels": [{"name": "matches", "product_ids": ["BTC-USD"]}]},
    {"type": "error", "message": "Failed to subscribe", "reason": "no product"},
]
TAKEN: dict[str, Any] = {
    "symbol": "BTC/USD",
    "side": "buy",
    "price": 61837.6,
    "qty": 0.02,
    "ord_type": "market",
}
TAKEN |= {"trade_id": 7, "timestamp": "2024-08-08T23:54:15.342123Z"}
BEST: dict[str, Any] = {"symbol": "BTC/USD", "bid": 61837.6, "bid_qty": 0.4, "ask": 61837.7, "ask_qty": 1}
KRAKEN: list[dict[str, Any]] = [
    {"channel": "trade", "type": "update", "data": [TAKEN]},
    {"channel": "trade", "type": "snapshot", "data": [TAKEN | {"side": "sell"}, TAKEN | {"trade_id": 8}]},
    {
        "channel": "trade",
        "type": "update",
        "data": [TAKEN | {"price": "1.5", "qty": "2", "timestamp": 1.5e9}],
    },
    {"channel": "ticker", "type": "update", "data": [BEST]},
    {"channel": "ticker", "type": "snapshot", "data": [BEST | {"timestamp": "2024-08-08T23:54:15.342123Z"}]},
    {"channel": "heartbeat"},
    {"method": "subscribe", "success": True, "time_out": "2024-08-08T23:54:15.342123Z"},
    {"method": "subscribe", "success": False, "error": "Currency pair not supported"},
]


def compact(bodies: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(body, separators=(",", ":")).encode() for body in bodies]


def binance() -> list[bytes]:
    """Made-up messages of every form and real ones."""
    found = compact(BINANCE)
    found += [b'{"stream":"btcusdt@x","data":%b}' % message for message in found]
    for path in sorted(CAPTURES.glob("*.gz"))[::2]:
        with gzip.open(path) as lines:
            raw = (line.partition(b" ")[2].rstrip(b"\n") for line in islice(lines, 500))
            found += [message for message in raw if len(message) < 2_000]
    return found


PARSERS: dict[str, tuple[Callable[[], VenueParser], Callable[[], list[bytes]]]] = {
    "binance": (partial(Parser, "binance", ("trades", "quotes", "depth")), binance),
    "coinbase": (partial(VENUES["coinbase"].parser, "coinbase", BEST_AND_TRADES), partial(compact, COINBASE)),
    "kraken": (partial(VENUES["kraken"].parser, "kraken", BEST_AND_TRADES), partial(compact, KRAKEN)),
}
"""By venue: what makes a parser, and what gives sound messages of all its forms."""

ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**63, 2**64, 10**30, -(2**63), 1e300, "", "x", "1e5", "-0", "9" * 400),
    *("\x00", "NaN", "1,2", [], {}, [[]], [["1"]], [["1", "2", "3"]], [["1", 2]], {"e": "trade"}, [None]),
]
JUNK = [
    *(b"-", b"9" * 30, b'"', b"[", b"]", b"{", b"}", b"null", b",", b":", b"1e999", b"NaN", b"\\ud800"),
    *(b"\xff", b"\xed\xa0\x80", b"\x00", b"\n", b" ", b"[" * 2_000, b'{"a":' * 300),
]


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """The message changed in one to three places."""
    for _ in range(chance.randint(1, 3)):
        change: Callable[[bytes, random.Random], bytes] = chance.choice(CHANGES)
        raw = change(raw, chance)
    return raw


def _flip(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return (
        raw[:at]
        + bytes(
            [
                chance.choice((chance.randrange(256), *b'0123456789"[]{},:.-')),
            ]
        )
        + raw[at + 1 :]
    )


def _cut(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + (raw[at + chance.randint(1, 8) :] if chance.random() < 0.7 else b"")


def _double(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + raw[max(at - chance.randint(1, 40), 0) :]


def _insert(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.choice(JUNK) + raw[at:]


def _swap(raw: bytes, chance: random.Random) -> bytes:
    """A value of the JSON for an odd one, or its key away."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    places = list(_places(body))
    if not places:
        return raw
    container, key = chance.choice(places)
    if isinstance(container, dict) and chance.random() < 0.2:
        del container[key]
    else:
        container[key] = chance.choice(ODD)
    changed: str = json.dumps(body, separators=(",", ":"))
    return changed.encode()


def _places(body: Any) -> Any:
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield body, key
        yield from _places(value)


def _key_twice(raw: bytes, chance: random.Random) -> bytes:
    keys: list[bytes] = re.findall(rb'"\w+":', raw)
    if not keys or not raw.endswith(b"}"):
        return raw
    odd = json.dumps(chance.choice(ODD)).encode()
    return raw.rstrip(b"}") + b"," + chance.choice(keys) + odd + b"}" * (len(raw) - len(raw.rstrip(b"}")))


CHANGES = (_flip, _cut, _double, _insert, _swap, _swap, _key_twice)


def accounted(parser: VenueParser, messages: list[Message], calls: list[int]) -> list[ParseResult]:
    """Feed messages, each with a receive time of its own, in calls of such sizes; hold the accounts to be right."""
    parts, at = [], 0
    for size in calls:
        parts.append(parser.feed(messages[at : at + size], str))
        at += size
    parts.append(parser.finish())
    accepted = [set(batch.array("ts_recv").tolist()) for part in parts for batch in part.batches]
    rejected = [int(item.original.partition(b" ")[0]) for part in parts for item in part.rejected]
    ignored = sum(sum(part.ignored.values()) for part in parts)
    assert not set().union(*accepted) & set(rejected)
    assert sum(map(len, accepted)) + len(rejected) + ignored == len(messages)
    sent = dict(messages)
    for part in parts:
        for item in part.rejected:
            received, _, original = item.original.partition(b" ")
            assert original == sent[int(received)]
            assert "expected" in item.reason
    return parts


@pytest.mark.parametrize("name", PARSERS)
def test_mutations_are_accepted_ignored_or_rejected(name: str) -> None:
    fresh, sound = PARSERS[name]
    chance = random.Random(name)
    pool = sound()
    messages = [(NOW + n, mutated(chance.choice(pool), chance)) for n in range(MUTATIONS)]
    calls: list[int] = []
    while sum(calls) < MUTATIONS:
        calls.append(chance.choice((1, 10, 50, 250)))
    rejected = [item for part in accounted(fresh(), messages, calls) for item in part.rejected]
    assert MUTATIONS // 10 < len(rejected) < MUTATIONS
    assert {item.original: item.reason for item in rejected} == _reasons_alone(fresh(), messages)


def _reasons_alone(parser: VenueParser, messages: list[Message]) -> dict[bytes, str]:
    """Of the messages rejected when each is fed by itself: a neighbour must make no difference."""
    parts = accounted(parser, messages, [1] * len(messages))
    return {item.original: item.reason for part in parts for item in part.rejected}


@pytest.mark.parametrize("name", PARSERS)
def test_any_json_is_accepted_ignored_or_rejected(name: str) -> None:
    fresh, sound = PARSERS[name]
    places = [place for message in sound()[:40] for place in _places(json.loads(message))]
    keys = sorted({key for _, key in places if isinstance(key, str)})
    values = [container[key] for container, key in places if isinstance(container[key], (str, int))]
    leaves = st.one_of(st.sampled_from(values), st.sampled_from(ODD))
    items = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(keys), inner, max_size=2),
        max_leaves=4,
    )
    bodies = st.dictionaries(st.sampled_from(keys), items, max_size=len(keys)) | items

    @given(st.lists(bodies, min_size=1, max_size=4))
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    def hold(some: list[Any]) -> None:
        messages = [(NOW + n, json.dumps(body).encode()) for n, body in enumerate(some)]
        accounted(fresh(), messages, [len(messages)])

    hold()


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_accepted_ignored_or_rejected(name: str, raw: list[bytes]) -> None:
    accounted(PARSERS[name][0](), [(NOW + n, one) for n, one in enumerate(raw)], [len(raw)])
