"""Input and output of every parser of a venue's messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ingest.rejected import Rejected
from tapehouse.batch import Batch

Message = tuple[int, bytes]
"""(receive time in ns UTC, bytes)."""


@dataclass(frozen=True)
class ParseResult:
    """The outcome of messages: at most one batch per kind, rejected messages, counts of ignored ones by type."""

    batches: tuple[Batch, ...]
    rejected: tuple[Rejected, ...]
    ignored: dict[str, int]

    @staticmethod
    def concat(parts: Iterable[ParseResult]) -> ParseResult:
        """The outcome of the messages of all parts, in order; batches sorted by kind."""
        batches: dict[str, list[Batch]] = {}
        rejected: list[Rejected] = []
        ignored: Counter[str] = Counter()
        for part in parts:
            for batch in part.batches:
                batches.setdefault(batch.kind.name, []).append(batch)
            rejected += part.rejected
            ignored.update(part.ignored)
        joined = tuple(Batch.concat(batches[kind]) for kind in sorted(batches))
        return ParseResult(joined, tuple(rejected), dict(ignored))
