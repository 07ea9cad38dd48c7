"""Decodes Binance's messages and sorts them by form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import orjson

from ingest.feeds.binance_rows import OTHER_EVENTS, Bodies
from ingest.feeds.fields import shown
from ingest.feeds.levels import decoded
from ingest.feeds.parsed import Message
from ingest.rejected import Rejected
from tapehouse.clock import Nanos

EVENTS = ("trade", "aggTrade", "bookTicker", "depthUpdate")
"""The forms that tell the time of the message and its symbol."""
QUOTE, SNAPSHOT, BARE_SNAPSHOT = "bookTicker without time", "snapshot", "snapshot without time"

Held = tuple[Message, str]
"""A message that waits for a later one, and the name of its place."""


class Call:
    """The messages of one call behind those held back before it; `rows` has the places of each form, in order.

    A place counts in `messages` and in `bodies`, the decoded ones.
    """

    def __init__(self, held: list[Held], messages: Sequence[Message], where: Callable[[int], str]) -> None:
        self.held = held
        self.messages = [*(message for message, _ in held), *messages] if held else messages
        self.bodies: list[Any] = []
        self.rows: dict[str, list[int]] = {}
        self.ignored: Counter[str] = Counter()
        self._where = where
        self._reasons: dict[int, str] = {}
        try:
            places = self._by_event()
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            places = self._by_event_one_by_one()
        for event, of_event in places.items():
            self._sort(event, of_event)

    @cached_property
    def received(self) -> Nanos:
        """When each message was received, ns."""
        return np.array([received for received, _ in self.messages], np.int64)

    def part(self, places: list[int]) -> tuple[Bodies, Nanos]:
        """Bodies and receive times of the messages at places."""
        if len(places) == len(self.messages):
            return self.bodies, self.received
        return [self.bodies[place] for place in places], self.received[places]

    def _by_event(self) -> dict[Any, list[int]]:
        """Decode all together; raises what comes of it where one message is odd."""
        bodies = decoded([message for _, message in self.messages])
        self.bodies = bodies = [body["data"] if "stream" in body else body for body in bodies]
        events = [body.get("e") for body in bodies]
        places: dict[Any, list[int]] = {event: [] for event in dict.fromkeys(events)}
        if len(places) == 1:
            return {events[0]: list(range(len(events)))}
        for place, event in enumerate(events):
            places[event].append(place)
        return places

    def _by_event_one_by_one(self) -> dict[Any, list[int]]:
        """As `_by_event`, the odd ones rejected."""
        self.bodies = [{}] * len(self.messages)
        places: dict[Any, list[int]] = {}
        for place, (_, message) in enumerate(self.messages):
            try:
                (body,) = decoded([message])
            except orjson.JSONDecodeError as fault:
                self.reject(place, f"message: expected JSON, was unreadable: {fault}")
                continue
            if isinstance(body, dict) and "stream" in body:
                body = body.get("data")
            if not isinstance(body, dict):
                self.reject(place, f"message: expected an object, was {shown(body)}")
            elif isinstance(body.get("e"), (list, dict)):
                self._reject_event(place, body)
            else:
                self.bodies[place] = body
                places.setdefault(body.get("e"), []).append(place)
        return places

    def _sort(self, event: Any, places: list[int]) -> None:
        if event in EVENTS:
            self.rows[event] = places
        elif event in OTHER_EVENTS:
            self.ignored[event] += len(places)
        elif event is not None:
            for place in places:
                self._reject_event(place, self.bodies[place])
        else:
            quotes = [place for place in places if "u" in self.bodies[place]]
            if quotes:
                self.rows[QUOTE] = quotes
            if len(quotes) < len(places):
                for place in places:
                    if "u" not in self.bodies[place]:
                        self._sort_bare(place)

    def _sort_bare(self, place: int) -> None:
        """Messages without an event that are no quotes: snapshots, replies to requests."""
        body = self.bodies[place]
        if "lastUpdateId" in body:
            if "symbol" not in body and (symbol := _streamed(self.messages[place][1])):
                body["symbol"] = symbol
            timed = "E" in body or "T" in body
            self.rows.setdefault(SNAPSHOT if timed else BARE_SNAPSHOT, []).append(place)
        elif "id" in body and ("result" in body or "error" in body):
            self.ignored["reply"] += 1
        else:
            self.reject(place, f"message: expected an event or a snapshot, was with the keys {_keys(body)}")

    def hold(self, place: int) -> Held:
        """The message at a place as one to give to the next call."""
        return self.messages[place], self._named(place)

    def reject(self, place: int, reason: str) -> None:
        """Refuse the message at a place; the first reason stands."""
        self._reasons.setdefault(place, reason)

    def _reject_event(self, place: int, body: dict[str, Any]) -> None:
        self.reject(place, f"e: expected {', '.join(EVENTS)}, was {shown(body['e'])}")

    def rejected(self) -> tuple[Rejected, ...]:
        """The messages refused, in order, as lines of a capture."""
        return tuple(
            Rejected(b"%d %s" % self.messages[place], reason, self._named(place))
            for place, reason in sorted(self._reasons.items())
        )

    def _named(self, place: int) -> str:
        held = len(self.held)
        return self.held[place][1] if place < held else self._where(place - held)


def _streamed(message: bytes) -> str | None:
    """The symbol in the name of a combined stream, such as btcusdt@depth20."""
    stream = orjson.loads(message).get("stream")
    return stream.partition("@")[0].upper() if isinstance(stream, str) else None


def _keys(body: dict[str, Any]) -> str:
    return shown(" ".join(list(body)[:10]))
