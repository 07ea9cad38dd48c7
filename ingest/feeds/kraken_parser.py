"""Kraken's messages -> batches: channels `trade` and `ticker` of version 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ingest.feeds.call import Call, calls
from ingest.feeds.fields import Fault, shown
from ingest.feeds.kraken_rows import UNIT_NS, quotes, trades
from ingest.feeds.parsed import Message, Parsed
from ingest.feeds.skew import WINDOW, Skew
from ingest.feeds.utc import utc
from tapehouse.batch import Batch
from tapehouse.errors import UsageError
from tapehouse.model import QUOTES, TRADES, Kind

KINDS: dict[str, Kind] = {"trades": TRADES, "quotes": QUOTES}
NUMBERINGS = {"trades": "trade id", "quotes": "time"}
_CHANNELS = {"trade": "trades", "ticker": "quotes"}
_SAID = ("bid", "bid_qty", "ask", "ask_qty", "timestamp")
_OTHER_CHANNELS = frozenset({"heartbeat", "status", "book", "level3", "ohlc", "instrument"})


class Parser:
    """Turns messages into batches. A message with one unsound row is refused whole.

    Quotes have no ids: their seq is 0, for the feed to number. Where a ticker tells no time, ts_event is the
    receive clock less the skew measured on trades and on replies to subscriptions (see `Skew`), flagged
    ESTIMATED_TIME; before the first of those the skew is taken to be 0.

    A ticker that says again what the one before it said, as after a new connection, is passed over.

    Trades by REST are read too, as messages with the values that REST gives: text for price and size, seconds
    for the time, the first letters of side and order type.
    """

    holding = False

    def __init__(self, venue: str, kinds: Iterable[str]) -> None:
        self.venue = venue
        self.kinds = frozenset(kinds)
        if not self.kinds or self.kinds - KINDS.keys():
            asked = " ".join(sorted(self.kinds)) or "none"
            raise UsageError(f"kinds: expected some of {' '.join(KINDS)}, was {asked}")
        self.numbering = {kind: NUMBERINGS[kind] for kind in self.kinds}
        self.told: dict[str, int] = {}
        self._skew = Skew()
        self._last: dict[str, list[Any]] = {}  # by symbol, what the last ticker said

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> Parsed:
        """The rows of messages in the order they were received; `where` names the place of one of them."""
        return Parsed.joined(self._parse(call) for call in calls(messages, where))

    def finish(self) -> Parsed:
        """Nothing: no message waits for another."""
        return Parsed((), (), {})

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here, of JSON's types."""
        return {"skew": self._skew.state(), "last": dict(self._last)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self._skew = Skew(state["skew"])
        self._last = dict(state["last"])

    def _parse(self, call: Call) -> Parsed:
        bodies = call.bodies
        rows: dict[str, list[int]] = {"trades": [], "quotes": []}
        others: list[int] = []
        for name, places in call.by("channel").items():
            kind = _CHANNELS.get(name)
            if kind is None:
                others += places
                continue
            rows[kind] = [place for place in places if bodies[place].get("data")]
            if len(rows[kind]) < len(places):
                others += [place for place in places if not bodies[place].get("data")]
        replies = [place for place in others if _take_other(call, place, bodies[place])]
        for channel, kind in _CHANNELS.items():
            if kind not in self.kinds and rows[kind]:
                call.ignored[channel] += len(rows[kind])
        batches: list[Batch] = []
        if "quotes" in self.kinds:
            fresh, untimed = self._sift(call, rows["quotes"])
            skews = self._skews(call, untimed, rows["trades"], replies)
            batches += call.batches(QUOTES, self.venue, fresh, partial(quotes, skews))
        if "trades" in self.kinds:
            batches += call.batches(TRADES, self.venue, rows["trades"], trades)
        return call.parsed(batches)

    def _sift(self, call: Call, tickers: list[int]) -> tuple[list[int], list[int]]:
        """The tickers that say something new, and those among them without a time."""
        fresh, untimed = [], []
        for place in tickers:
            data = call.bodies[place]["data"]
            if type(data) is list and len(data) == 1 and type(data[0]) is dict:
                symbol = data[0].get("symbol")
                if type(symbol) is str:
                    said = [data[0].get(key) for key in _SAID]
                    if self._last.get(symbol) == said:
                        call.ignored["repeated ticker"] += 1
                        continue
                    self._last[symbol] = said
                if data[0].get("timestamp") is None:
                    untimed.append(place)
            elif _lacks_time(data):
                untimed.append(place)
            fresh.append(place)
        return fresh, untimed

    def _skews(self, call: Call, untimed: list[int], trades: list[int], replies: list[int]) -> dict[int, int]:
        """The skew for each ticker without a time, by its place."""
        differences = _differences(call, trades, replies, all_of_them=bool(untimed))
        skews = {}
        told = 0
        for place in untimed:
            while told < len(differences) and differences[told][0] < place:
                self._skew.add(differences[told][1])
                told += 1
            skews[place] = self._skew.median if self._skew.known else 0
        self._skew.extend([difference for _, difference in differences[told:]])
        return skews


def _take_other(call: Call, place: int, body: Any) -> bool:
    """A message that brings no row; whether it is a reply."""
    if not isinstance(body, dict):
        call.reject(place, f"message: expected an object, was {shown(body)}")
        return False
    channel, method = body.get("channel"), body.get("method")
    if isinstance(channel, str) and channel in _OTHER_CHANNELS:
        call.ignored[channel] += 1
    elif isinstance(channel, str) and channel in _CHANNELS:
        data = body.get("data")
        if data == []:
            call.ignored[channel] += 1
        else:
            call.reject(place, f"data: expected a list, was {shown(data)}")
    elif body.get("error") is not None:
        call.reject(place, f"message: expected data, was a refusal: {shown(body['error'])}")
    elif isinstance(method, str):
        call.ignored["reply"] += 1
        return True
    else:
        call.reject(place, f"channel: expected {' or '.join(_CHANNELS)}, was {shown(channel)}")
    return False


def _lacks_time(data: Any) -> bool:
    """A list of tickers has one without a time."""
    return isinstance(data, list) and any(
        isinstance(row, dict) and row.get("timestamp") is None for row in data
    )


def _differences(
    call: Call, trades: list[int], replies: list[int], *, all_of_them: bool
) -> list[tuple[int, int]]:
    """Place, and receive clock less the venue's, of messages that tell the time: all, or those still needed."""
    if not (all_of_them or replies):
        found = _told(call, trades[-WINDOW:])
        if len(found) == min(WINDOW, len(trades)):
            return found
    return _told(call, sorted(trades + replies))


def _told(call: Call, places: list[int]) -> list[tuple[int, int]]:
    told = [(place, text) for place in places if type(text := _sent(call.bodies[place])) is str]
    try:
        times = utc("time", [text for _, text in told], UNIT_NS)
    except Fault:
        told = [(place, text) for place, text in told if _is_time(text)]
        times = utc("time", [text for _, text in told], UNIT_NS)
    return [(place, call.received(place) - at) for (place, _), at in zip(told, times.tolist(), strict=True)]


def _sent(body: Any) -> Any:
    """When a reply was sent or the last trade of an update happened, as far as it can be found."""
    if "data" not in body:
        return body.get("time_out")
    try:
        return body["data"][-1]["timestamp"] if body.get("type") == "update" else None
    except (KeyError, TypeError, IndexError):
        return None


def _is_time(value: Any) -> bool:
    try:
        utc("time", [value], UNIT_NS)
    except Fault:
        return False
    return True
