"""How far a shard's writer has come: all messages up to the floor are committed to QuestDB's WAL."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any


def floor_key(shard: int) -> str:
    """The key of a shard's floor in the shared state."""
    return f"floor.{shard}"


def refused_key(shard: int) -> str:
    """The key of the last message, in the shared state, of a shard's trades that QuestDB refused a row of."""
    return f"refused.{shard}"


@dataclass(frozen=True)
class Floor:
    """The record of a floor. A sequence counts only with the creation time of its stream."""

    created_ns: int
    """When the stream was created."""
    seq: int
    """The last message committed; 0: none yet."""
    hot_start_ns: int
    """When the QuestDB that took it was started."""
    trail: int
    """A floor of at least the replay margin ago: where to go back to when QuestDB may have lost its last
    commits, and the limit of what is purged."""
    open_days: tuple[tuple[str, str], ...] = ()
    """(kind, day) whose marks were open."""

    @classmethod
    def read(cls, value: dict[str, Any] | None, created_ns: int) -> Floor:
        """The floor in the shared state, or the beginning when there is none for this stream."""
        if value is None or value["created_ns"] != created_ns:
            return cls(created_ns, 0, 0, 0)
        return cls(**{**value, "open_days": tuple((kind, day) for kind, day in value.get("open_days", ()))})

    def value(self) -> dict[str, Any]:
        """As the shared state holds it."""
        return asdict(self)


class Trail:
    """Remembers floors for the replay margin, one every hundredth of it."""

    def __init__(self, margin_s: float, oldest: int) -> None:
        self._margin = margin_s
        self._passed: deque[tuple[float, int]] = deque()
        self._oldest = oldest

    def note(self, seq: int, now_s: float) -> int:
        """Note the floor `seq` at `now_s` (any steady clock); returns the latest floor a margin ago."""
        if not self._passed or now_s - self._passed[-1][0] >= self._margin / 100:
            self._passed.append((now_s, seq))
        while self._passed and now_s - self._passed[0][0] >= self._margin:
            self._oldest = max(self._oldest, self._passed.popleft()[1])
        return self._oldest


def unclean(floor: Floor, hot_start_ns: int, record: dict[str, Any] | None) -> bool:
    """Whether the QuestDB started at `hot_start_ns` may lack commits that `floor` counts.

    `record` is what the stack runner says: {"start_ns", "unclean_ns"}, the instance that it vouches for and
    when last a QuestDB was started after an end that was not clean. An instance nobody vouches for is taken
    as unclean: going back costs seconds, for the keys take the doubles.
    """
    if floor.seq == 0 or floor.hot_start_ns == hot_start_ns:
        return False
    return record is None or record["start_ns"] != hot_start_ns or record["unclean_ns"] > floor.hot_start_ns
