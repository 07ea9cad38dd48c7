"""The messages that a writer commits together, as batches by kind."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from tapehouse.batch import Batch
from tapehouse.clock import DAY, day_of
from tapehouse.errors import WireError
from tapehouse.model import Kind
from tapehouse.stream.consumer import StreamMessage
from tapehouse.stream.wire import unpack


@dataclass
class MessageGroup:
    """Decoded messages that are committed together."""

    last: StreamMessage
    by_kind: dict[Kind, list[Batch]] = field(default_factory=lambda: defaultdict(list))
    seqs: dict[Kind, list[int]] = field(default_factory=lambda: defaultdict(list))
    """By kind, the sequence of the message of each batch in `by_kind`."""
    unreadable: list[tuple[StreamMessage, str]] = field(default_factory=list)
    rows: int = 0

    @classmethod
    def of(cls, messages: list[StreamMessage]) -> MessageGroup:
        """Decode at least one message; those that cannot be decoded go to `unreadable` with the reason."""
        group = cls(messages[-1])
        for message in messages:
            try:
                batch = unpack(message.data)
            except WireError as reason:
                group.unreadable.append((message, reason.message))
                continue
            group.by_kind[batch.kind].append(batch)
            group.seqs[batch.kind].append(message.seq)
            group.rows += batch.rows
        return group

    def days(self) -> set[tuple[str, str]]:
        """(kind, day) of every row."""
        return {
            (kind.name, day_of(int(day) * DAY))
            for kind, batches in self.by_kind.items()
            for batch in batches
            for day in np.unique(batch.array(kind.time) // DAY)
        }
