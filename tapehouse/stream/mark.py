"""Day marks in the shared state: up to which message a shard's writer has written rows of a day.

`ingest/writer/marks.py` writes them, and explains what readers may conclude from a mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ALL_MARKS = "mark.>"
"""Matches the keys of all marks."""


def mark_key(kind: str, day: str, shard: int) -> str:
    """The key of a shard's mark for a (kind, day); `day` is YYYY-MM-DD."""
    return f"mark.{kind}.{day}.{shard}"


@dataclass(frozen=True)
class DayMark:
    """The mark of one (kind, day) and shard. `seq` is valid only for the stream created at `created_ns`."""

    created_ns: int
    """When the stream was created, ns UTC."""
    seq: int
    """The last message known to have rows of the day when the mark was stored."""
    is_open: bool
    """Whether the writer may be writing rows of the day now."""

    @classmethod
    def of(cls, value: list[Any]) -> DayMark:
        """Parse the JSON value from the shared state."""
        created_ns, seq, is_open = value
        return cls(created_ns, seq, is_open)

    def value(self) -> list[Any]:
        """The JSON value for the shared state."""
        return [self.created_ns, self.seq, self.is_open]
