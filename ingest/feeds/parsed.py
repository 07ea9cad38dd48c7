"""What every parser of a venue's messages takes and gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ingest.rejected import Rejected
from tapehouse.batch import Batch

Message = tuple[int, bytes]
"""When it was received, ns UTC, and its bytes."""


@dataclass(frozen=True)
class Parsed:
    """What came of messages: a batch a kind that had any, rows refused, counts of messages passed over."""

    batches: tuple[Batch, ...]
    rejected: tuple[Rejected, ...]
    ignored: dict[str, int]

    @staticmethod
    def joined(parts: Iterable[Parsed]) -> Parsed:
        """What came of the messages of all parts, in order."""
        batches: dict[str, list[Batch]] = {}
        rejected: list[Rejected] = []
        ignored: Counter[str] = Counter()
        for part in parts:
            for batch in part.batches:
                batches.setdefault(batch.kind.name, []).append(batch)
            rejected += part.rejected
            ignored.update(part.ignored)
        joined = tuple(Batch.concat(batches[kind]) for kind in sorted(batches))
        return Parsed(joined, tuple(rejected), dict(ignored))
