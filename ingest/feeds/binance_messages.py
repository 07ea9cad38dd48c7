"""Decodes Binance's messages and sorts them by form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ingest.feeds.binance_rows import OTHER_EVENTS
from ingest.feeds.fields import shown
from ingest.feeds.levels import LONG, decoded
from ingest.feeds.parsed import Message
from ingest.rejected import Rejected

Row = tuple[int, int, dict[str, Any]]
"""Place in the call, receive time, decoded body. What was held back from earlier calls has places below 0."""

EVENTS = ("trade", "aggTrade", "bookTicker", "depthUpdate")
"""The forms that tell the time of the message and its symbol."""


@dataclass(frozen=True)
class Held:
    """A message that waits for a later one."""

    received: int
    message: bytes
    where: str
    body: dict[str, Any]
    form: str


class Call:
    """The messages of one call, with those held back before it: `rows` by form, in order."""

    def __init__(
        self, held: Sequence[Held], messages: Sequence[Message], where: Callable[[int], str]
    ) -> None:
        self.held = held
        self.messages = messages
        self.where = where
        self.ignored: Counter[str] = Counter()
        self._reasons: dict[int, str] = {}
        self.rows: dict[str, list[Row]] = {event: [] for event in EVENTS}
        for form in ("bookTicker without time", "snapshot", "snapshot without time"):
            self.rows[form] = []
        for place, item in enumerate(held, -len(held)):
            self.rows[item.form].append((place, item.received, item.body))
        self._sort()

    def _sort(self) -> None:
        bare: list[Row] = []
        loads = orjson.loads
        lists: dict[Any, list[Row]] = {event: self.rows[event] for event in EVENTS}
        lists[None] = bare
        place = -1
        for received, message in self.messages:
            place += 1
            try:
                body = loads(message) if len(message) <= LONG else decoded(message)
                if "stream" in body:
                    body = body["data"]
                lists[body.get("e")].append((place, received, body))
            except orjson.JSONDecodeError as fault:
                self.reject(place, f"message: expected JSON, was unreadable: {fault}")
            except (KeyError, TypeError, AttributeError):
                self._sort_odd(place, message)
        for row in bare:
            self._sort_bare(row)

    def _sort_odd(self, place: int, message: bytes) -> None:
        body = orjson.loads(message)
        if isinstance(body, dict) and "stream" in body:
            body = body.get("data")
        if not isinstance(body, dict):
            self.reject(place, f"message: expected an object, was {shown(body)}")
            return
        event = body["e"]
        if isinstance(event, str) and event in OTHER_EVENTS:
            self.ignored[event] += 1
        else:
            self.reject(place, f"e: expected {', '.join(EVENTS)}, was {shown(event)}")

    def _sort_bare(self, row: Row) -> None:
        """Messages without an event: spot's quotes, snapshots, replies to requests."""
        place, _, body = row
        if "u" in body:
            self.rows["bookTicker without time"].append(row)
        elif "lastUpdateId" in body:
            if "symbol" not in body and (symbol := _streamed(self.messages[place][1])):
                body["symbol"] = symbol
            timed = "E" in body or "T" in body
            self.rows["snapshot" if timed else "snapshot without time"].append(row)
        elif "id" in body and ("result" in body or "error" in body):
            self.ignored["reply"] += 1
        else:
            self.reject(place, f"message: expected an event or a snapshot, was with the keys {_keys(body)}")

    def hold(self, row: Row, form: str) -> Held:
        """The row as one to give to the next call."""
        place, received, body = row
        if place < 0:
            return self.held[place]
        return Held(received, self.messages[place][1], self.where(place), body, form)

    def reject(self, place: int, reason: str) -> None:
        """Refuse the message at a place; the first reason stands."""
        self._reasons.setdefault(place, reason)

    def rejected(self) -> tuple[Rejected, ...]:
        """The messages refused, in order, as lines of a capture."""
        found = []
        for place, reason in sorted(self._reasons.items()):
            if place < 0:
                item = self.held[place]
                received, message, where = item.received, item.message, item.where
            else:
                (received, message), where = self.messages[place], self.where(place)
            found.append(Rejected(b"%d %s" % (received, message), reason, where))
        return tuple(found)


def _streamed(message: bytes) -> str | None:
    """The symbol in the name of a combined stream, such as btcusdt@depth20."""
    stream = orjson.loads(message).get("stream")
    return stream.partition("@")[0].upper() if isinstance(stream, str) else None


def _keys(body: dict[str, Any]) -> str:
    return shown(" ".join(list(body)[:10]))
