"""What follows from what is known of a day: the mirror's decisions, without a server.

A day is known by its marks in the shared state, its entry in the ledger, and what each store holds of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from analytics.ledger import Entry, Key, Marks
from tapehouse.floor import Floor
from tapehouse.seal import Seal


class DayState(StrEnum):
    """A day's state for people."""

    OPEN = "open"
    """Today, or later: not copied yet."""
    HOT_ONLY = "hot only"
    """Closed, and not copied yet."""
    PROVEN = "proven"
    """The cold copy holds all that the hot store does."""
    STALE = "stale"
    """Copied, and touched since, or the copy was found damaged: it will be made again."""
    COLD_ONLY = "cold only"
    """Owned by the cold store."""


@dataclass(frozen=True)
class Day:
    """All that is known of one day of one kind."""

    kind: str
    day: str
    marks: Marks = field(default_factory=dict)
    entry: Entry | None = None
    hot_rows: int = 0
    hot_bytes: int = 0
    cold_rows: int = 0
    cold_bytes: int = 0

    @property
    def key(self) -> Key:
        """(kind, day)."""
        return self.kind, self.day

    @property
    def is_cold(self) -> bool:
        """Whether the cold store owns it."""
        return self.entry is not None and self.entry.owner == "cold"

    @property
    def is_being_written(self) -> bool:
        """Whether rows of it may be on their way into the hot store."""
        return any(mark.is_open for mark in self.marks.values())

    @property
    def is_proven(self) -> bool:
        """Whether the cold store holds what the hot store holds: the marks copied are the present ones."""
        entry = self.entry
        if entry is None or entry.fault or not entry.proven_ns:
            return False
        return entry.owner == "cold" or (not self.is_being_written and entry.marks == self.marks)

    def state(self, today: str) -> DayState:
        """For people; `today` is YYYY-MM-DD, UTC."""
        if self.is_cold:
            return DayState.STALE if self.entry and self.entry.fault else DayState.COLD_ONLY
        if self.day >= today:
            return DayState.OPEN
        if self.is_proven:
            return DayState.PROVEN
        return DayState.HOT_ONLY if self.entry is None or not self.entry.proven_ns else DayState.STALE


def to_copy(days: Mapping[Key, Day], today: str) -> list[Day]:
    """The closed days of the hot store that are not proven and may be copied now, oldest first."""
    return sorted(
        (
            day
            for day in days.values()
            if day.day < today and not day.is_cold and not day.is_proven and not day.is_being_written
        ),
        key=lambda day: day.key[::-1],
    )


def is_written(marks: Marks, floors: Mapping[int, Floor], present: set[int], hot_start_ns: int) -> bool:
    """Whether all rows that closed marks stand for are committed to the QuestDB started at `hot_start_ns`.

    `floors` are those of the shards of the marks; of the shards in `present` one must count for that QuestDB,
    for it may have lost commits that an earlier one had taken. What a former stream held is committed or gone.
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


def handed_over(days: Mapping[Key, Day], kind: str, seal: Seal) -> list[Day]:
    """The days that the cold store may become the owner of: sealed by all writers, and proven."""
    before = seal.get(kind, "")
    return [
        day
        for day in days.values()
        if day.kind == kind and day.day < before and not day.is_cold and day.is_proven
    ]


def first_kept(days: Mapping[Key, Day], kind: str, seal: Seal) -> str:
    """The first day of a kind that the hot store must keep: all before it are sealed and owned by the cold store.

    Empty where it must keep all. `seal` is what all writers keep to, and was read before `days` were. A day whose
    cold copy is damaged stays as long as the hot store has it.
    """
    ours = [day for day in days.values() if day.kind == kind]
    damaged = [day.day for day in ours if day.hot_rows and day.entry and day.entry.fault]
    still_hot = [day.day for day in ours if not day.is_cold and (day.hot_rows or day.marks or day.entry)]
    return min([seal.get(kind, ""), *still_hot, *damaged])


def expired(days: Mapping[Key, Day], kind: str, first: str, now: str) -> list[Day]:
    """The days that leave the hot store when it must keep those from `first` on, oldest first.

    One more day stays, for the present one may end meanwhile; and days are as old as they are before the newest
    that there is, but for later ones than `now`.
    """
    held = [day for day in days.values() if day.kind == kind and day.hot_rows]
    if not first or not held:
        return []
    newest = min(now, max(day.day for day in held))
    idle = date.fromisoformat(now) - date.fromisoformat(newest)
    stays = (date.fromisoformat(first) - timedelta(days=1) - idle).isoformat()
    return sorted((day for day in held if day.day < min(stays, newest)), key=lambda day: day.day)


def takes_late(day: Day | None, name: str, kind: str, seal: Seal) -> bool:
    """Whether late rows of the day called `name` may be merged into the cold store now.

    That is so once it owns the day, and where the day is sealed and no store ever had anything of it.
    """
    if day is not None and (day.is_cold or day.hot_rows or day.marks or day.entry):
        return day.is_cold
    return name < seal.get(kind, "")
