"""Coinbase's messages -> batches: `match`, `last_match` and `ticker`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ingest.feeds.call import Call, Columns, calls, values
from ingest.feeds.fields import Fault, doubles, is_name, longs, names, shown
from ingest.feeds.parsed import Message, Parsed
from ingest.feeds.utc import utc
from tapehouse.batch import Strings
from tapehouse.clock import MICROSECOND, Nanos
from tapehouse.errors import UsageError
from tapehouse.model import PRICE_MAX, QUOTES, SEQ_MAX, SIZE_MAX, TRADES, Kind

KINDS: dict[str, Kind] = {"trades": TRADES, "quotes": QUOTES}
UNIT_NS = MICROSECOND
NUMBERINGS = {"trades": "trade id", "quotes": "sequence"}
_TYPES = {"match": "trades", "last_match": "trades", "ticker": "quotes"}
_OTHER_TYPES = frozenset(
    {"subscriptions", "status", "snapshot", "l2update", "ticker_batch", "auction"}
    | {"received", "open", "done", "change", "activate", "rfq_match"}
)
_TAKERS = {"buy": -1, "sell": 1}
"""By the side of the maker: the side that took."""

_MATCH = ("trade_id", "product_id", "price", "size", "side", "time")
_TICKER = (
    "sequence", "product_id", "best_bid", "best_bid_size", "best_ask", "best_ask_size", "time"
)  # fmt: skip


class Parser:
    """Turns messages into batches. Types of messages that are not known are passed over, as the venue asks."""

    holding = False

    def __init__(self, venue: str, kinds: Iterable[str]) -> None:
        self.venue = venue
        self.kinds = frozenset(kinds)
        if not self.kinds or self.kinds - KINDS.keys():
            asked = " ".join(sorted(self.kinds)) or "none"
            raise UsageError(f"kinds: expected some of {' '.join(KINDS)}, was {asked}")
        self.numbering = {kind: NUMBERINGS[kind] for kind in self.kinds}
        self.told: dict[str, int] = {}
        """By symbol, the last trade id that heartbeats have told of: trades up to there are there, seen or not."""

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> Parsed:
        """The rows of messages in the order they were received; `where` names the place of one of them."""
        return Parsed.joined(self._parse(call) for call in calls(messages, where))

    def finish(self) -> Parsed:
        """Nothing: no message waits for another."""
        return Parsed((), (), {})

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here, of JSON's types."""
        return {"told": dict(self.told)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.told = dict(state["told"])

    def _parse(self, call: Call) -> Parsed:
        rows: dict[str, list[int]] = {kind: [] for kind in self.kinds}
        for name, places in call.by("type").items():
            kind = _TYPES.get(name)
            if kind in rows:
                # Matches and last matches are in the order of both.
                rows[kind] = sorted(rows[kind] + places) if rows[kind] else places
                continue
            for place in places:
                self._take_other(call, place, call.bodies[place])
        batches = [
            batch
            for kind in sorted(rows)
            for batch in call.batches(KINDS[kind], self.venue, rows[kind], _READERS[kind])
        ]
        return call.parsed(batches)

    def _take_other(self, call: Call, place: int, body: Any) -> None:
        """A message that brings no row."""
        name = body.get("type") if isinstance(body, dict) else None
        if not isinstance(name, str):
            call.reject(place, f"message: expected an object with a type, was {shown(body)}")
        elif name == "error":
            told = f"{body.get('message')}: {body.get('reason')}"
            call.reject(place, f"message: expected data, was a refusal: {shown(told)}")
        else:
            if name == "heartbeat":
                self._note_last(body.get("product_id"), body.get("last_trade_id"))
            known = name in _OTHER_TYPES or name in _TYPES or name == "heartbeat"
            call.ignored[name if known else "other"] += 1

    def _note_last(self, symbol: Any, last: Any) -> None:
        # The venue is known to tell of trade 0 where it does not know.
        if is_name(symbol) and type(last) is int and self.told.get(symbol, 0) < last <= SEQ_MAX:
            self.told[symbol] = last


def _trades(bodies: Sequence[Any], received: Nanos, places: Sequence[int]) -> Columns:
    ids, symbols, price, size, makers, times = values(bodies, *_MATCH)
    try:
        sides = np.array([_TAKERS[maker] for maker in makers], np.int8)
    except (KeyError, TypeError):
        odd = next(maker for maker in makers if maker not in ("buy", "sell"))
        raise Fault(f"side: expected buy or sell, was {shown(odd)}") from None
    return {
        "ts_event": utc("time", times, UNIT_NS),
        "ts_recv": received,
        "symbol": names("product_id", symbols),
        "seq": longs("trade_id", ids),
        "price": doubles("price", price, -PRICE_MAX, PRICE_MAX),
        "size": doubles("size", size, 0, SIZE_MAX),
        "side": sides,
        "flags": np.zeros(len(bodies), np.int16),
        "exchange": Strings.constant(None, len(bodies)),
        "conditions": Strings.constant(None, len(bodies)),
    }


def _quotes(bodies: Sequence[Any], received: Nanos, places: Sequence[int]) -> Columns:
    ids, symbols, bid, bid_size, ask, ask_size, times = values(bodies, *_TICKER)
    columns: Columns = {
        "ts_event": utc("time", times, UNIT_NS),
        "ts_recv": received,
        "symbol": names("product_id", symbols),
        "seq": longs("sequence", ids),
        "flags": np.zeros(len(bodies), np.int16),
    }
    for side, price, size in (("bid", bid, bid_size), ("ask", ask, ask_size)):
        prices = doubles(f"best_{side}", price, -PRICE_MAX, PRICE_MAX)
        sizes = doubles(f"best_{side}_size", size, 0, SIZE_MAX)
        empty = (prices == 0) & (sizes == 0)
        prices[empty] = sizes[empty] = np.nan
        columns[side], columns[f"{side}_size"] = prices, sizes
    return columns


_READERS = {"trades": _trades, "quotes": _quotes}
