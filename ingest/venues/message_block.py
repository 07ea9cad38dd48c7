"""Blocks of messages that are parsed together: each message becomes rows, a rejection, or a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import orjson

from ingest.rejected import Rejected
from ingest.venues.fields import FieldError
from ingest.venues.parse_result import Message, ParseResult
from tapehouse.batch import Batch, ColumnData
from tapehouse.clock import Nanos
from tapehouse.model import Kind

Columns = dict[str, ColumnData]
ColumnReader = Callable[[Sequence[Any], Nanos, Sequence[int]], Columns]
"""(decoded messages, receive times in ns, indices in the block) -> columns; FieldError where any is malformed."""

BLOCK_MESSAGES = 2_048
"""Few enough that decoded messages are dropped while they are still in the processor's caches."""
_RESPONSE_BYTES = 4_096
"""Bytes of a rejected REST response that go to quarantine."""


class MessageBlock:
    """The messages of one block, by index, and what was rejected or ignored of them."""

    def __init__(self, messages: Sequence[Message], where: Callable[[int], str]) -> None:
        """`where(i)` names the origin of message i."""
        self.messages = messages
        self.ignored: Counter[str] = Counter()
        """Messages without rows, by type."""
        self._where = where
        self._reasons: dict[int, str] = {}

    @cached_property
    def received(self) -> Nanos:
        """When each message was received, ns UTC."""
        return np.array([received for received, _ in self.messages], np.int64)

    def received_at(self, index: int) -> int:
        """When a message was received, ns UTC."""
        return self.messages[index][0]

    def reject(self, index: int, reason: str) -> None:
        """Reject a message; the first reason stands."""
        self._reasons.setdefault(index, reason)

    def rejected(self) -> tuple[Rejected, ...]:
        """The rejected messages in order, as lines of a capture: `<receive ns> <message>`."""
        return tuple(
            Rejected(b"%d %s" % self.messages[index], reason, self.origin(index))
            for index, reason in sorted(self._reasons.items())
        )

    def origin(self, index: int) -> str:
        """Where a message came from."""
        return self._where(index)


class JsonBlock(MessageBlock):
    """A block whose messages are decoded one by one. `bodies` has None for those that are no JSON: rejected."""

    def __init__(self, messages: Sequence[Message], where: Callable[[int], str]) -> None:
        super().__init__(messages, where)
        loads = orjson.loads
        try:
            self.bodies: list[Any] = [loads(message) for _, message in messages]
        except orjson.JSONDecodeError:
            self.bodies = [self._decode(index, message) for index, (_, message) in enumerate(messages)]

    def _decode(self, index: int, message: bytes) -> Any:
        try:
            return orjson.loads(message)
        except orjson.JSONDecodeError as fault:
            self.reject(index, f"message: expected JSON, was unreadable: {fault}")
            return None

    def group_by(self, key: str) -> dict[Any, list[int]]:
        """Indices of the messages by their text under `key`; those without one under None."""
        try:
            names = [body[key] for body in self.bodies]
            indices: dict[Any, list[int]] = {name: [] for name in dict.fromkeys(names)}
        except (KeyError, TypeError):
            names = [body.get(key) if isinstance(body, dict) else None for body in self.bodies]
            names = [name if isinstance(name, str) else None for name in names]
            indices = {name: [] for name in dict.fromkeys(names)}
        if len(indices) == 1:
            return {names[0]: list(range(len(names)))}
        for index, name in enumerate(names):
            indices[name].append(index)
        return indices

    def batches(self, kind: Kind, venue: str, indices: list[int], read: ColumnReader) -> Iterator[Batch]:
        """The rows of the well-formed messages at `indices`, in order; the others are rejected whole.

        Columns are read together, and in halves where a message is malformed, down to that message alone.
        """
        if not indices:
            return
        bodies, received = self.bodies, self.received
        if len(indices) < len(bodies):
            bodies, received = [bodies[index] for index in indices], received[indices]
        try:
            columns = read(bodies, received, indices)
        except FieldError as fault:
            if len(indices) == 1:
                self.reject(indices[0], str(fault))
                return
            middle = len(indices) // 2
            yield from self.batches(kind, venue, indices[:middle], read)
            yield from self.batches(kind, venue, indices[middle:], read)
        else:
            seq = columns["seq"]
            assert isinstance(seq, np.ndarray)
            yield Batch(kind, venue, len(seq), columns)

    def result(self, batches: Iterable[Batch]) -> ParseResult:
        """The outcome of the block."""
        return ParseResult.concat([ParseResult(tuple(batches), self.rejected(), dict(self.ignored))])


def split_into_blocks(messages: Sequence[Message], where: Callable[[int], str]) -> Iterator[JsonBlock]:
    """The messages in blocks of at most 2,048."""
    for start in range(0, len(messages), BLOCK_MESSAGES):
        yield JsonBlock(messages[start : start + BLOCK_MESSAGES], partial(shifted, where, start))


def shifted(where: Callable[[int], str], start: int, index: int) -> str:
    """The origin of a message by its index in the block that begins at `start`."""
    return where(start + index)


def field_values(bodies: Sequence[Any], *keys: str) -> list[list[Any]]:
    """The values of JSON objects under each key, one list a key; FieldError where one lacks a key."""
    try:
        return [[body[key] for body in bodies] for key in keys]
    except KeyError as missing:
        raise FieldError(f"message: expected the key {missing.args[0]}, was without") from None


def rejected_response(received_ns: int, body: bytes, reason: str, where: str) -> ParseResult:
    """The outcome of a REST response that holds no rows: its beginning, rejected as a line of a capture."""
    return ParseResult((), (Rejected(b"%d %s" % (received_ns, body[:_RESPONSE_BYTES]), reason, where),), {})
