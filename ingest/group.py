"""What a writer commits together: the batches of some messages, by kind."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from ingest.pull import Delivered
from tapehouse.batch import Batch
from tapehouse.clock import DAY, day_of
from tapehouse.errors import WireError
from tapehouse.model import Kind
from tapehouse.wire import unpack


@dataclass
class Group:
    """Messages that are committed together."""

    last: Delivered
    by_kind: dict[Kind, list[Batch]] = field(default_factory=lambda: defaultdict(list))
    seqs: dict[Kind, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The message of each batch."""
    unreadable: list[tuple[Delivered, str]] = field(default_factory=list)
    rows: int = 0

    @classmethod
    def of(cls, messages: list[Delivered]) -> Group:
        """At least one message, in order; those that cannot be read are put aside with the reason."""
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
