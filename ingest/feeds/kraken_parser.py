"""Kraken's messages -> batches: channels `trade` and `ticker` of version 2."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import orjson

from ingest.feeds.call import Call, Row, calls
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
        self._skew = Skew()
        self._last: dict[str, Any] = {}  # by symbol, the last ticker

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
        rows: dict[str, list[Row]] = {"trade": [], "ticker": []}
        replies: list[Row] = []
        loads = orjson.loads
        place = -1
        for received, message in call.messages:
            place += 1
            try:
                body = loads(message)
                rows[body["channel"] if body["data"] else ""].append((place, received, body))
            except orjson.JSONDecodeError as fault:
                call.reject(place, f"message: expected JSON, was unreadable: {fault}")
            except (KeyError, TypeError):
                if _take_other(call, place, body):
                    replies.append((place, received, body))
        for channel, found in rows.items():
            if _CHANNELS[channel] not in self.kinds and found:
                call.ignored[channel] += len(found)
        batches: list[Batch] = []
        if "quotes" in self.kinds:
            skews = self._skews(rows, replies)
            self._pass_over_repeats(call, rows)
            batches += call.batches(QUOTES, self.venue, rows["ticker"], partial(quotes, skews))
        if "trades" in self.kinds:
            batches += call.batches(TRADES, self.venue, rows["trade"], trades)
        return call.parsed(batches)

    def _pass_over_repeats(self, call: Call, rows: dict[str, list[Row]]) -> None:
        fresh = []
        for row in rows["ticker"]:
            data = row[2]["data"]
            symbol = _symbol(data)
            if symbol is not None:
                if self._last.get(symbol) == data:
                    call.ignored["repeated ticker"] += 1
                    continue
                self._last[symbol] = data
            fresh.append(row)
        rows["ticker"] = fresh

    def _skews(self, rows: dict[str, list[Row]], replies: list[Row]) -> dict[int, int]:
        """The skew for each ticker without a time, by its place."""
        timed = [row for row in rows["trade"] if row[2].get("type") == "update"]
        if replies:
            timed = sorted((*timed, *replies), key=itemgetter(0))
        untimed = [place for place, _, body in rows["ticker"] if _lacks_time(body)]
        differences = _differences(timed, all_of_them=bool(untimed))
        if not untimed:
            self._skew.extend([difference for _, difference in differences])
            return {}
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


def _symbol(data: Any) -> str | None:
    """Of a ticker, of which there is one a message."""
    try:
        (ticker,) = data
        symbol = ticker["symbol"]
    except (KeyError, TypeError, ValueError):
        return None
    return symbol if isinstance(symbol, str) else None


def _lacks_time(body: Any) -> bool:
    try:
        return any(row.get("timestamp") is None for row in body["data"])
    except (KeyError, TypeError, AttributeError):
        return False


def _differences(timed: Sequence[Row], *, all_of_them: bool) -> list[tuple[int, int]]:
    """Place, and receive clock less the venue's, of messages that tell the time: all, or those still needed."""
    last = timed if all_of_them else timed[-WINDOW:]
    times = [_sent(body) for _, _, body in last]
    try:
        sent = utc("time", times, UNIT_NS)
    except Fault:
        last = [row for row in timed if _is_time(_sent(row[2]))]
        sent = utc("time", [_sent(body) for _, _, body in last], UNIT_NS)
    return [(place, received - at) for (place, received, _), at in zip(last, sent.tolist(), strict=True)]


def _sent(body: Any) -> Any:
    """When a reply was sent or the last trade of a message happened, as far as it can be found."""
    try:
        return body["data"][-1]["timestamp"] if "data" in body else body["time_out"]
    except (KeyError, TypeError, IndexError):
        return None


def _is_time(value: Any) -> bool:
    try:
        utc("time", [value], UNIT_NS)
    except Fault:
        return False
    return True
