"""Kraken's messages -> batches: channels `trade` and `ticker` of version 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ingest.venues.clock_skew import WINDOW, ClockSkew
from ingest.venues.fields import FieldError, describe
from ingest.venues.iso_times import parse_iso_times
from ingest.venues.kraken.rows import UNIT_NS, quote_columns, trade_columns
from ingest.venues.message_block import JsonBlock, split_into_blocks
from ingest.venues.parse_result import Message, ParseResult
from tapehouse.batch import Batch
from tapehouse.errors import UsageError
from tapehouse.model import QUOTES, TRADES, Kind

KINDS: dict[str, Kind] = {"trades": TRADES, "quotes": QUOTES}
NUMBERINGS = {"trades": "trade id", "quotes": "time"}
_CHANNELS = {"trade": "trades", "ticker": "quotes"}
_TICKER_VALUES = ("bid", "bid_qty", "ask", "ask_qty", "timestamp")
_OTHER_CHANNELS = frozenset({"heartbeat", "status", "book", "level3", "ohlc", "instrument"})


class Parser:
    """Parses messages. A message with one malformed row is rejected whole.

    Quotes have no ids: their seq is 0, and the feed numbers them. Where a ticker has no time, ts_event is the
    receive time minus the clock skew measured on trades and on replies to subscriptions, flagged
    ESTIMATED_TIME; before the first of those the skew is taken to be 0.

    A ticker equal to the one before it of its symbol, as after a reconnect, is ignored.

    Trades by REST are parsed too, as messages with the values that REST sends: text for price and size, seconds
    for the time, the first letters of side and order type.
    """

    has_pending = False

    def __init__(self, venue: str, kinds: Iterable[str]) -> None:
        self.venue = venue
        self.kinds = frozenset(kinds)
        if not self.kinds or self.kinds - KINDS.keys():
            given = " ".join(sorted(self.kinds)) or "none"
            raise UsageError(f"kinds: expected some of {' '.join(KINDS)}, was {given}")
        self.numbering = {kind: NUMBERINGS[kind] for kind in self.kinds}
        self.announced_trade_ids: dict[str, int] = {}
        self._skew = ClockSkew()
        self._last_tickers: dict[str, list[Any]] = {}  # by symbol, the values of the last ticker

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> ParseResult:
        """The rows of messages in the order of receipt; `where(i)` names the origin of message i."""
        return ParseResult.concat(self._parse(block) for block in split_into_blocks(messages, where))

    def finish(self) -> ParseResult:
        """Empty: no message waits for another."""
        return ParseResult((), (), {})

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types."""
        return {"skew": self._skew.state(), "last": dict(self._last_tickers)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self._skew = ClockSkew(state["skew"])
        self._last_tickers = dict(state["last"])

    def _parse(self, block: JsonBlock) -> ParseResult:
        bodies = block.bodies
        rows: dict[str, list[int]] = {"trades": [], "quotes": []}
        others: list[int] = []
        for name, indices in block.group_by("channel").items():
            kind = _CHANNELS.get(name)
            if kind is None:
                others += indices
                continue
            rows[kind] = [index for index in indices if bodies[index].get("data")]
            if len(rows[kind]) < len(indices):
                others += [index for index in indices if not bodies[index].get("data")]
        replies = [index for index in others if _parse_other(block, index, bodies[index])]
        for channel, kind in _CHANNELS.items():
            if kind not in self.kinds and rows[kind]:
                block.ignored[channel] += len(rows[kind])
        batches: list[Batch] = []
        if "quotes" in self.kinds:
            new, untimed = self._drop_repeated(block, rows["quotes"])
            skews = self._skew_by_ticker(block, untimed, rows["trades"], replies)
            batches += block.batches(QUOTES, self.venue, new, partial(quote_columns, skews))
        if "trades" in self.kinds:
            batches += block.batches(TRADES, self.venue, rows["trades"], trade_columns)
        return block.result(batches)

    def _drop_repeated(self, block: JsonBlock, tickers: list[int]) -> tuple[list[int], list[int]]:
        """(tickers that differ from the one before, those of them without a time)."""
        new, untimed = [], []
        for index in tickers:
            data = block.bodies[index]["data"]
            if type(data) is list and len(data) == 1 and type(data[0]) is dict:
                symbol = data[0].get("symbol")
                if type(symbol) is str:
                    ticker = [data[0].get(key) for key in _TICKER_VALUES]
                    if self._last_tickers.get(symbol) == ticker:
                        block.ignored["repeated ticker"] += 1
                        continue
                    self._last_tickers[symbol] = ticker
                if data[0].get("timestamp") is None:
                    untimed.append(index)
            elif _lacks_time(data):
                untimed.append(index)
            new.append(index)
        return new, untimed

    def _skew_by_ticker(
        self, block: JsonBlock, untimed: list[int], trade_indices: list[int], replies: list[int]
    ) -> dict[int, int]:
        """By index, the clock skew for each ticker without a time."""
        differences = _clock_differences(block, trade_indices, replies, need_all=bool(untimed))
        skews = {}
        used = 0
        for index in untimed:
            while used < len(differences) and differences[used][0] < index:
                self._skew.add(differences[used][1])
                used += 1
            skews[index] = self._skew.median if self._skew.known else 0
        self._skew.extend([difference for _, difference in differences[used:]])
        return skews


def _parse_other(block: JsonBlock, index: int, body: Any) -> bool:
    """A message without rows; whether it is a reply to a command."""
    if not isinstance(body, dict):
        block.reject(index, f"message: expected an object, was {describe(body)}")
        return False
    channel, method = body.get("channel"), body.get("method")
    if isinstance(channel, str) and channel in _OTHER_CHANNELS:
        block.ignored[channel] += 1
    elif isinstance(channel, str) and channel in _CHANNELS:
        data = body.get("data")
        if data == []:
            block.ignored[channel] += 1
        else:
            block.reject(index, f"data: expected a list, was {describe(data)}")
    elif body.get("error") is not None:
        block.reject(index, f"message: expected data, was an error: {describe(body['error'])}")
    elif isinstance(method, str):
        block.ignored["reply"] += 1
        return True
    else:
        block.reject(index, f"channel: expected {' or '.join(_CHANNELS)}, was {describe(channel)}")
    return False


def _lacks_time(data: Any) -> bool:
    """Whether one of a list of tickers has no time."""
    return isinstance(data, list) and any(
        isinstance(row, dict) and row.get("timestamp") is None for row in data
    )


def _clock_differences(
    block: JsonBlock, trade_indices: list[int], replies: list[int], *, need_all: bool
) -> list[tuple[int, int]]:
    """(index, receive clock minus the venue's, ns) of timed messages: all, or as many as the skew needs."""
    if not (need_all or replies):
        found = _timed(block, trade_indices[-WINDOW:])
        if len(found) == min(WINDOW, len(trade_indices)):
            return found
    return _timed(block, sorted(trade_indices + replies))


def _timed(block: JsonBlock, indices: list[int]) -> list[tuple[int, int]]:
    timed = [(index, text) for index in indices if type(text := _venue_time(block.bodies[index])) is str]
    try:
        times = parse_iso_times("time", [text for _, text in timed], UNIT_NS)
    except FieldError:
        timed = [(index, text) for index, text in timed if _is_valid_time(text)]
        times = parse_iso_times("time", [text for _, text in timed], UNIT_NS)
    return [
        (index, block.received_at(index) - at) for (index, _), at in zip(timed, times.tolist(), strict=True)
    ]


def _venue_time(body: Any) -> Any:
    """When a reply was sent, or the time of the last trade of an update; None where absent."""
    if "data" not in body:
        return body.get("time_out")
    try:
        return body["data"][-1]["timestamp"] if body.get("type") == "update" else None
    except (KeyError, TypeError, IndexError):
        return None


def _is_valid_time(value: Any) -> bool:
    try:
        parse_iso_times("time", [value], UNIT_NS)
    except FieldError:
        return False
    return True
