"""Decodes Binance's messages and sorts them by form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ingest.venues.binance.rows import OTHER_EVENTS, Bodies
from ingest.venues.fields import describe
from ingest.venues.levels import decode_messages
from ingest.venues.message_block import MessageBlock
from ingest.venues.parse_result import Message
from tapehouse.clock import Nanos

EVENTS = ("trade", "aggTrade", "bookTicker", "depthUpdate")
"""The forms that carry an event time and a symbol."""
QUOTE, SNAPSHOT, UNTIMED_SNAPSHOT = "bookTicker without time", "snapshot", "snapshot without time"

PendingMessage = tuple[Message, str]
"""A message that waits for a later one, and its origin."""


class BinanceBlock(MessageBlock):
    """Messages that waited before this call, then those of the call; `indices_by_form` sorts them, in order.

    An index counts in `messages` and in `bodies`, the decoded messages.
    """

    def __init__(
        self, pending: list[PendingMessage], messages: Sequence[Message], where: Callable[[int], str]
    ) -> None:
        super().__init__([*(message for message, _ in pending), *messages] if pending else messages, where)
        self.pending = pending
        self.bodies: list[Any] = []
        self.indices_by_form: dict[str, list[int]] = {}
        try:
            by_event = self._decode_together()
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            by_event = self._decode_one_by_one()
        for event, indices in by_event.items():
            self._sort(event, indices)

    def part(self, indices: list[int]) -> tuple[Bodies, Nanos]:
        """Bodies and receive times of the messages at `indices`."""
        if len(indices) == len(self.messages):
            return self.bodies, self.received
        return [self.bodies[index] for index in indices], self.received[indices]

    def _decode_together(self) -> dict[Any, list[int]]:
        """Indices by event; raises any of several errors where a message is malformed."""
        bodies = decode_messages([message for _, message in self.messages])
        self.bodies = bodies = [body["data"] if "stream" in body else body for body in bodies]
        events = [body.get("e") for body in bodies]
        indices: dict[Any, list[int]] = {event: [] for event in dict.fromkeys(events)}
        if len(indices) == 1:
            return {events[0]: list(range(len(events)))}
        for index, event in enumerate(events):
            indices[event].append(index)
        return indices

    def _decode_one_by_one(self) -> dict[Any, list[int]]:
        """Indices by event; malformed messages are rejected."""
        self.bodies = [{}] * len(self.messages)
        indices: dict[Any, list[int]] = {}
        for index, (_, message) in enumerate(self.messages):
            try:
                (body,) = decode_messages([message])
            except orjson.JSONDecodeError as fault:
                self.reject(index, f"message: expected JSON, was unreadable: {fault}")
                continue
            if isinstance(body, dict) and "stream" in body:
                body = body.get("data")
            if not isinstance(body, dict):
                self.reject(index, f"message: expected an object, was {describe(body)}")
            elif isinstance(body.get("e"), (list, dict)):
                self._reject_event(index, body)
            else:
                self.bodies[index] = body
                indices.setdefault(body.get("e"), []).append(index)
        return indices

    def _sort(self, event: Any, indices: list[int]) -> None:
        if event in EVENTS:
            self.indices_by_form[event] = indices
        elif event in OTHER_EVENTS:
            self.ignored[event] += len(indices)
        elif event is not None:
            for index in indices:
                self._reject_event(index, self.bodies[index])
        else:
            quotes = [index for index in indices if "u" in self.bodies[index]]
            if quotes:
                self.indices_by_form[QUOTE] = quotes
            if len(quotes) < len(indices):
                for index in indices:
                    if "u" not in self.bodies[index]:
                        self._sort_without_event(index)

    def _sort_without_event(self, index: int) -> None:
        """Snapshots and replies to commands."""
        body = self.bodies[index]
        if "lastUpdateId" in body:
            if "symbol" not in body and (symbol := _stream_symbol(self.messages[index][1])):
                body["symbol"] = symbol
            timed = "E" in body or "T" in body
            self.indices_by_form.setdefault(SNAPSHOT if timed else UNTIMED_SNAPSHOT, []).append(index)
        elif "id" in body and ("result" in body or "error" in body):
            self.ignored["reply"] += 1
        else:
            self.reject(index, f"message: expected an event or a snapshot, was with the keys {_keys(body)}")

    def keep_pending(self, index: int) -> PendingMessage:
        """A message, to be given to the next block."""
        return self.messages[index], self.origin(index)

    def _reject_event(self, index: int, body: dict[str, Any]) -> None:
        self.reject(index, f"e: expected {', '.join(EVENTS)}, was {describe(body['e'])}")

    def origin(self, index: int) -> str:
        """Where a message came from."""
        pending = len(self.pending)
        return self.pending[index][1] if index < pending else super().origin(index - pending)


def _stream_symbol(message: bytes) -> str | None:
    """The symbol in the name of a combined stream, such as btcusdt@depth20."""
    stream = orjson.loads(message).get("stream")
    return stream.partition("@")[0].upper() if isinstance(stream, str) else None


def _keys(body: dict[str, Any]) -> str:
    return describe(" ".join(list(body)[:10]))
