"""The messages of one call to a parser, and what becomes of each: rows, a refusal, or a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import orjson

from ingest.feeds.fields import Fault
from ingest.feeds.parsed import Message, Parsed
from ingest.rejected import Rejected
from tapehouse.batch import Batch, ColumnData
from tapehouse.clock import Nanos
from tapehouse.model import Kind

Columns = dict[str, ColumnData]
Read = Callable[[Sequence[Any], Nanos, Sequence[int]], Columns]
"""Bodies, their receive times and places -> columns; raises `Fault` when any of them is unsound."""

_TOGETHER = 2_048
_KEPT_BYTES = 4_096


class Call:
    """The messages of one call, each with its place in it. `ignored` counts those passed over by what they were.

    `bodies` are the decoded messages; unreadable ones are refused, and None there.
    """

    def __init__(self, messages: Sequence[Message], where: Callable[[int], str]) -> None:
        self.messages = messages
        self.ignored: Counter[str] = Counter()
        self._where = where
        self._reasons: dict[int, str] = {}
        loads = orjson.loads
        try:
            self.bodies: list[Any] = [loads(message) for _, message in messages]
        except orjson.JSONDecodeError:
            self.bodies = [self._decoded(place, message) for place, (_, message) in enumerate(messages)]
        self._received = np.array([received for received, _ in messages], np.int64)

    def _decoded(self, place: int, message: bytes) -> Any:
        try:
            return orjson.loads(message)
        except orjson.JSONDecodeError as fault:
            self.reject(place, f"message: expected JSON, was unreadable: {fault}")
            return None

    def by(self, key: str) -> dict[Any, list[int]]:
        """The places of objects by what they have under a key, those without text there under None."""
        try:
            names = [body[key] for body in self.bodies]
            places: dict[Any, list[int]] = {name: [] for name in dict.fromkeys(names)}
        except (KeyError, TypeError):
            names = [body.get(key) if isinstance(body, dict) else None for body in self.bodies]
            names = [name if isinstance(name, str) else None for name in names]
            places = {name: [] for name in dict.fromkeys(names)}
        if len(places) == 1:
            return {names[0]: list(range(len(names)))}
        for place, name in enumerate(names):
            places[name].append(place)
        return places

    def received(self, place: int) -> int:
        """When a message was received, ns."""
        return self.messages[place][0]

    def reject(self, place: int, reason: str) -> None:
        """Refuse the message at a place; the first reason stands."""
        self._reasons.setdefault(place, reason)

    def batches(self, kind: Kind, venue: str, places: list[int], read: Read) -> Iterator[Batch]:
        """The rows of the sound messages among those at places, in order; the others are refused, each as a whole.

        Columns are read at once, and halved where one message is at fault, down to the message alone.
        """
        if not places:
            return
        bodies, received = self.bodies, self._received
        if len(places) < len(bodies):
            bodies, received = [bodies[place] for place in places], received[places]
        try:
            columns = read(bodies, received, places)
        except Fault as fault:
            if len(places) == 1:
                self.reject(places[0], str(fault))
                return
            middle = len(places) // 2
            yield from self.batches(kind, venue, places[:middle], read)
            yield from self.batches(kind, venue, places[middle:], read)
        else:
            seq = columns["seq"]
            assert isinstance(seq, np.ndarray)
            yield Batch(kind, venue, len(seq), columns)

    def parsed(self, batches: Iterable[Batch]) -> Parsed:
        """What came of all; refused messages are kept as lines of a capture."""
        rejected = []
        for place, reason in sorted(self._reasons.items()):
            received, message = self.messages[place]
            rejected.append(Rejected(b"%d %s" % (received, message), reason, self._where(place)))
        return Parsed.joined([Parsed(tuple(batches), tuple(rejected), dict(self.ignored))])


def calls(messages: Sequence[Message], where: Callable[[int], str]) -> Iterator[Call]:
    """The messages a few at a time: decoded ones are dropped while they are still in the processor's caches."""
    for start in range(0, len(messages), _TOGETHER):
        yield Call(messages[start : start + _TOGETHER], partial(_moved, where, start))


def values(bodies: Sequence[Any], *keys: str) -> list[list[Any]]:
    """What objects have under some keys, a list a key."""
    try:
        return [[body[key] for body in bodies] for key in keys]
    except KeyError as missing:
        raise Fault(f"message: expected the key {missing.args[0]}, was without") from None


def refused(received: int, answer: bytes, reason: str, where: str) -> Parsed:
    """An answer that holds no rows, its beginning kept as a line of a capture."""
    return Parsed((), (Rejected(b"%d %s" % (received, answer[:_KEPT_BYTES]), reason, where),), {})


def _moved(where: Callable[[int], str], start: int, place: int) -> str:
    return where(start + place)
