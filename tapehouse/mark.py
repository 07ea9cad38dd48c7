"""The mark of a day: how far a shard's writer has touched it, as the shared state holds it.

The writer's side, and what may be concluded from a mark, is told in `ingest/marks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ALL_MARKS = "mark.>"
"""The keys of all marks."""


def mark_key(kind: str, day: str, shard: int) -> str:
    """The key of the mark of a day (YYYY-MM-DD) of a kind by a shard's writer."""
    return f"mark.{kind}.{day}.{shard}"


@dataclass(frozen=True)
class Mark:
    """A sequence counts only with the creation time of its stream."""

    created_ns: int
    """When the stream was created."""
    seq: int
    """The last message known to touch the day when the mark was put."""
    is_open: bool
    """Whether rows of the day may be being written now."""

    @classmethod
    def of(cls, value: list[Any]) -> Mark:
        """From what the shared state holds."""
        created_ns, seq, is_open = value
        return cls(created_ns, seq, is_open)

    def value(self) -> list[Any]:
        """As the shared state holds it."""
        return [self.created_ns, self.seq, self.is_open]
