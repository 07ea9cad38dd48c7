"""The messages of one call to a parser, and what becomes of each: rows, a refusal, or a count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ingest.feeds.fields import Fault
from ingest.feeds.parsed import Message, Parsed
from ingest.rejected import Rejected
from tapehouse.batch import Batch, ColumnData
from tapehouse.clock import Nanos
from tapehouse.model import Kind

Columns = dict[str, ColumnData]
Row = tuple[int, int, Any]
"""A message by its place in the call, its receive time and its decoded body."""
Read = Callable[[Sequence[Any], Nanos, Sequence[int]], Columns]
"""Bodies, their receive times and places -> columns; raises `Fault` when any of them is unsound."""

_TOGETHER = 2_048
_KEPT_BYTES = 4_096


class Call:
    """The messages of one call. `ignored` counts those passed over by what they were."""

    def __init__(self, messages: Sequence[Message], where: Callable[[int], str]) -> None:
        self.messages = messages
        self.ignored: Counter[str] = Counter()
        self._where = where
        self._reasons: dict[int, str] = {}

    def reject(self, place: int, reason: str) -> None:
        """Refuse the message at a place; the first reason stands."""
        self._reasons.setdefault(place, reason)

    def batches(self, kind: Kind, venue: str, rows: Sequence[Row], read: Read) -> Iterator[Batch]:
        """The rows of the sound messages, in order; the others are refused, each as a whole.

        Columns are read at once, and halved where one message is at fault, down to the message alone.
        """
        if not rows:
            return
        places, received, bodies = zip(*rows, strict=True)
        try:
            columns = read(bodies, np.array(received, np.int64), places)
        except Fault as fault:
            if len(rows) == 1:
                self.reject(places[0], str(fault))
                return
            middle = len(rows) // 2
            yield from self.batches(kind, venue, rows[:middle], read)
            yield from self.batches(kind, venue, rows[middle:], read)
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


def refused(received: int, answer: bytes, reason: str, where: str) -> Parsed:
    """An answer that holds no rows, its beginning kept as a line of a capture."""
    return Parsed((), (Rejected(b"%d %s" % (received, answer[:_KEPT_BYTES]), reason, where),), {})


def _moved(where: Callable[[int], str], start: int, place: int) -> str:
    return where(start + place)
