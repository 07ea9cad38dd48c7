"""The floor of a shard's writer: all messages up to it are committed to QuestDB's WAL."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any


def floor_key(shard: int) -> str:
    """The key of a shard's floor in the shared state."""
    return f"floor.{shard}"


def refused_key(shard: int) -> str:
    """The key, in the shared state, of the last message of a shard with a trade that QuestDB rejected."""
    return f"refused.{shard}"


@dataclass(frozen=True)
class Floor:
    """The floor of one shard. Its sequences are valid only for the stream created at `created_ns`."""

    created_ns: int
    """When the stream was created, ns UTC."""
    seq: int
    """The last committed message; 0 when there is none."""
    hot_start_ns: int
    """When the QuestDB that the messages were committed to was started, ns UTC."""
    trail: int
    """The floor at least one replay margin ago: a replay starts after it when QuestDB may have lost its last
    commits, and messages after it are not purged."""
    open_days: tuple[tuple[str, str], ...] = ()
    """(kind, day) of the marks that were open when this was stored."""

    @classmethod
    def read(cls, value: dict[str, Any] | None, created_ns: int) -> Floor:
        """Parse the value from the shared state; a floor at 0 when it is None or of another stream."""
        if value is None or value["created_ns"] != created_ns:
            return cls(created_ns, 0, 0, 0)
        return cls(**{**value, "open_days": tuple((kind, day) for kind, day in value.get("open_days", ()))})

    def value(self) -> dict[str, Any]:
        """The JSON value for the shared state."""
        return asdict(self)


class FloorHistory:
    """The floors of the last `margin_s` seconds, at most about 100 of them."""

    def __init__(self, margin_s: float, oldest: int) -> None:
        self._margin = margin_s
        self._recent: deque[tuple[float, int]] = deque()
        self._oldest = oldest

    def note(self, seq: int, now_s: float) -> int:
        """Add the floor `seq` at `now_s` (a monotonic clock); returns the latest floor at least a margin old."""
        if not self._recent or now_s - self._recent[-1][0] >= self._margin / 100:
            self._recent.append((now_s, seq))
        while self._recent and now_s - self._recent[0][0] >= self._margin:
            self._oldest = max(self._oldest, self._recent.popleft()[1])
        return self._oldest


def may_lack_commits(floor: Floor, hot_start_ns: int, record: dict[str, Any] | None) -> bool:
    """Whether the QuestDB started at `hot_start_ns` may lack commits up to `floor`.

    `record` is stored by the stack runner: {"start_ns", "unclean_ns"}, the start of the QuestDB that it supervises
    and the last start after an unclean shutdown, ns UTC. True for a QuestDB without such a record: a replay takes
    seconds, and replayed rows replace themselves by their keys.
    """
    if floor.seq == 0 or floor.hot_start_ns == hot_start_ns:
        return False
    return record is None or record["start_ns"] != hot_start_ns or record["unclean_ns"] > floor.hot_start_ns
