"""Coinbase's messages -> batches: `match`, `last_match` and `ticker`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ingest.venues.fields import (
    FieldError,
    describe,
    is_valid_name,
    parse_decimals,
    parse_integers,
    parse_names,
)
from ingest.venues.iso_times import parse_iso_times
from ingest.venues.message_block import Columns, JsonBlock, field_values, split_into_blocks
from ingest.venues.parse_result import Message, ParseResult
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
"""The taker's side by the maker's, which is what the venue sends."""

_MATCH = ("trade_id", "product_id", "price", "size", "side", "time")
_TICKER = (
    "sequence", "product_id", "best_bid", "best_bid_size", "best_ask", "best_ask_size", "time"
)  # fmt: skip


class Parser:
    """Parses messages. Unknown message types are ignored, as the venue's documentation demands."""

    has_pending = False

    def __init__(self, venue: str, kinds: Iterable[str]) -> None:
        self.venue = venue
        self.kinds = frozenset(kinds)
        if not self.kinds or self.kinds - KINDS.keys():
            given = " ".join(sorted(self.kinds)) or "none"
            raise UsageError(f"kinds: expected some of {' '.join(KINDS)}, was {given}")
        self.numbering = {kind: NUMBERINGS[kind] for kind in self.kinds}
        self.announced_trade_ids: dict[str, int] = {}
        """By symbol, the newest trade id that heartbeats announced."""

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> ParseResult:
        """The rows of messages in the order of receipt; `where(i)` names the origin of message i."""
        return ParseResult.concat(self._parse(block) for block in split_into_blocks(messages, where))

    def finish(self) -> ParseResult:
        """Empty: no message waits for another."""
        return ParseResult((), (), {})

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types."""
        return {"told": dict(self.announced_trade_ids)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.announced_trade_ids = dict(state["told"])

    def _parse(self, block: JsonBlock) -> ParseResult:
        rows: dict[str, list[int]] = {kind: [] for kind in self.kinds}
        for name, indices in block.group_by("type").items():
            kind = _TYPES.get(name)
            if kind in rows:
                # `match` and `last_match` are merged in the order of receipt.
                rows[kind] = sorted(rows[kind] + indices) if rows[kind] else indices
                continue
            for index in indices:
                self._parse_other(block, index, block.bodies[index])
        batches = [
            batch
            for kind in sorted(rows)
            for batch in block.batches(KINDS[kind], self.venue, rows[kind], _READERS[kind])
        ]
        return block.result(batches)

    def _parse_other(self, block: JsonBlock, index: int, body: Any) -> None:
        """A message without rows."""
        name = body.get("type") if isinstance(body, dict) else None
        if not isinstance(name, str):
            block.reject(index, f"message: expected an object with a type, was {describe(body)}")
        elif name == "error":
            reason = f"{body.get('message')}: {body.get('reason')}"
            block.reject(index, f"message: expected data, was an error: {describe(reason)}")
        else:
            if name == "heartbeat":
                self._note_announced(body.get("product_id"), body.get("last_trade_id"))
            known = name in _OTHER_TYPES or name in _TYPES or name == "heartbeat"
            block.ignored[name if known else "other"] += 1

    def _note_announced(self, symbol: Any, last: Any) -> None:
        # The venue announces trade 0 where it does not know the last one.
        if (
            is_valid_name(symbol)
            and type(last) is int
            and self.announced_trade_ids.get(symbol, 0) < last <= SEQ_MAX
        ):
            self.announced_trade_ids[symbol] = last


def _trade_columns(bodies: Sequence[Any], received: Nanos, indices: Sequence[int]) -> Columns:
    ids, symbols, price, size, makers, times = field_values(bodies, *_MATCH)
    try:
        sides = np.array([_TAKERS[maker] for maker in makers], np.int8)
    except (KeyError, TypeError):
        odd = next(maker for maker in makers if maker not in ("buy", "sell"))
        raise FieldError(f"side: expected buy or sell, was {describe(odd)}") from None
    return {
        "ts_event": parse_iso_times("time", times, UNIT_NS),
        "ts_recv": received,
        "symbol": parse_names("product_id", symbols),
        "seq": parse_integers("trade_id", ids),
        "price": parse_decimals("price", price, -PRICE_MAX, PRICE_MAX),
        "size": parse_decimals("size", size, 0, SIZE_MAX),
        "side": sides,
        "flags": np.zeros(len(bodies), np.int16),
        "exchange": Strings.constant(None, len(bodies)),
        "conditions": Strings.constant(None, len(bodies)),
    }


_NO_SIZES = {"best_bid_size": None, "best_ask_size": None}


def _quote_columns(bodies: Sequence[Any], received: Nanos, indices: Sequence[int]) -> Columns:
    # Tickers of before the summer of 2022 have no sizes.
    bodies = [
        {**_NO_SIZES, **body} if type(body) is dict and not body.keys() >= _NO_SIZES.keys() else body
        for body in bodies
    ]
    ids, symbols, bid, bid_size, ask, ask_size, times = field_values(bodies, *_TICKER)
    columns: Columns = {
        "ts_event": parse_iso_times("time", times, UNIT_NS),
        "ts_recv": received,
        "symbol": parse_names("product_id", symbols),
        "seq": parse_integers("sequence", ids),
        "flags": np.zeros(len(bodies), np.int16),
    }
    for side, price, size in (("bid", bid, bid_size), ("ask", ask, ask_size)):
        prices = parse_decimals(f"best_{side}", price, -PRICE_MAX, PRICE_MAX)
        absent = [place for place, one in enumerate(size) if one is None] if None in size else []
        given = ["1" if one is None else one for one in size] if absent else size
        sizes = parse_decimals(f"best_{side}_size", given, 0, SIZE_MAX)
        sizes[absent] = np.nan
        empty = (prices == 0) & (sizes == 0)
        prices[empty] = sizes[empty] = np.nan
        columns[side], columns[f"{side}_size"] = prices, sizes
    return columns


_READERS = {"trades": _trade_columns, "quotes": _quote_columns}
