"""The mirror's decisions as pure functions: which days are proven, copied, handed over and expired.

The input is `DayInfo`: the marks of a day in the shared state, its entry in the ledger, and its size in each store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from analytics.mirror.ledger import DayKey, LedgerEntry, MarksByShard
from tapehouse.stream.floor import Floor
from tapehouse.stream.seal import Seal


class DayState(StrEnum):
    """The state of a day, as `tapehouse mirror status` shows it."""

    OPEN = "open"
    """Today or later: not closed, so not copied yet."""
    HOT_ONLY = "hot only"
    """Closed and not copied yet."""
    PROVEN = "proven"
    """The copy in ClickHouse equals the day in QuestDB."""
    STALE = "stale"
    """Written to since it was copied, or the copy was found damaged; the next run copies it again."""
    COLD_ONLY = "cold only"
    """Owned by ClickHouse."""


@dataclass(frozen=True)
class DayInfo:
    """Marks, ledger entry and stored size of one (kind, day)."""

    kind: str
    day: str
    marks: MarksByShard = field(default_factory=dict)
    entry: LedgerEntry | None = None
    hot_rows: int = 0
    hot_bytes: int = 0
    cold_rows: int = 0
    cold_bytes: int = 0

    @property
    def key(self) -> DayKey:
        """(kind, day)."""
        return self.kind, self.day

    @property
    def is_cold(self) -> bool:
        """Whether ClickHouse owns the day."""
        return self.entry is not None and self.entry.owner == "cold"

    @property
    def is_being_written(self) -> bool:
        """Whether a mark is open: the writer may still be committing rows of the day to QuestDB."""
        return any(mark.is_open for mark in self.marks.values())

    @property
    def is_proven(self) -> bool:
        """Whether the copy is known to be complete: the ledger's marks equal the present ones, and none is open.

        A day that ClickHouse owns is proven unless its copy was found damaged."""
        entry = self.entry
        if entry is None or entry.fault or not entry.proven_ns:
            return False
        return entry.owner == "cold" or (not self.is_being_written and entry.marks == self.marks)

    def state(self, today: str) -> DayState:
        """The state to show; `today` is YYYY-MM-DD, UTC."""
        if self.is_cold:
            return DayState.STALE if self.entry and self.entry.fault else DayState.COLD_ONLY
        if self.day >= today:
            return DayState.OPEN
        if self.is_proven:
            return DayState.PROVEN
        return DayState.HOT_ONLY if self.entry is None or not self.entry.proven_ns else DayState.STALE


def days_to_copy(days: Mapping[DayKey, DayInfo], today: str) -> list[DayInfo]:
    """The closed days owned by QuestDB that are not proven and not being written, oldest first."""
    return sorted(
        (
            day
            for day in days.values()
            if day.day < today and not day.is_cold and not day.is_proven and not day.is_being_written
        ),
        key=lambda day: day.key[::-1],
    )


def is_written(
    marks: MarksByShard, floors: Mapping[int, Floor], present: set[int], hot_start_ns: int
) -> bool:
    """Whether every message that the closed marks refer to is committed to the QuestDB started at `hot_start_ns`.

    `floors` has the floor of every shard of the marks. The floor of a shard in `present` must have been recorded
    against that QuestDB: after an unclean restart QuestDB may lack commits that were counted before. A mark of a
    stream that was deleted counts as written: its messages are committed or no longer exist.
    """
    for shard, mark in marks.items():
        floor = floors[shard]
        if mark.is_open:
            return False
        if mark.created_ns == floor.created_ns and floor.seq < mark.seq:
            return False
        if shard in present and floor.hot_start_ns != hot_start_ns:
            return False
    return True


def days_to_hand_over(days: Mapping[DayKey, DayInfo], kind: str, seal: Seal) -> list[DayInfo]:
    """The days whose owner may become ClickHouse: sealed by all writers, and proven."""
    before = seal.get(kind, "")
    return [
        day
        for day in days.values()
        if day.kind == kind and day.day < before and not day.is_cold and day.is_proven
    ]


def first_hot_day(days: Mapping[DayKey, DayInfo], kind: str, seal: Seal) -> str:
    """The first day of a kind that QuestDB must keep: all days before it are sealed and owned by ClickHouse.

    Empty when QuestDB must keep all days. `seal` is the one that all writers have confirmed, read before `days`. A
    day whose copy is damaged is kept as long as QuestDB has it.
    """
    ours = [day for day in days.values() if day.kind == kind]
    damaged = [day.day for day in ours if day.hot_rows and day.entry and day.entry.fault]
    still_hot = [day.day for day in ours if not day.is_cold and (day.hot_rows or day.marks or day.entry)]
    return min([seal.get(kind, ""), *still_hot, *damaged])


def days_to_expire(days: Mapping[DayKey, DayInfo], kind: str, first: str, now: str) -> list[DayInfo]:
    """The days that QuestDB drops when it must keep those from `first` on, oldest first.

    One more day is kept, because the present day may end in between. Ages count from the newest stored day, or from
    `now` where that is earlier, as QuestDB's TTL does.
    """
    stored = [day for day in days.values() if day.kind == kind and day.hot_rows]
    if not first or not stored:
        return []
    newest = min(now, max(day.day for day in stored))
    idle = date.fromisoformat(now) - date.fromisoformat(newest)
    kept_from = (date.fromisoformat(first) - timedelta(days=1) - idle).isoformat()
    return sorted((day for day in stored if day.day < min(kept_from, newest)), key=lambda day: day.day)


def accepts_late_rows(day: DayInfo | None, date_: str, kind: str, seal: Seal) -> bool:
    """Whether late rows of the day `date_` (YYYY-MM-DD) may be merged into ClickHouse now.

    They may once ClickHouse owns the day, or when the day is sealed and neither store has ever had rows of it.
    """
    if day is not None and (day.is_cold or day.hot_rows or day.marks or day.entry):
        return day.is_cold
    return date_ < seal.get(kind, "")
