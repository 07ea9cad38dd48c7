"""A model of the writers and stores that the mirror's protocol relies on.

Work in steps is a generator: anything else may happen between two steps, and a kill ends it there.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace

from analytics.mirror.decisions import DayInfo
from analytics.mirror.ledger import LedgerEntry, MarksByShard
from tapehouse.stream.floor import Floor, may_lack_commits
from tapehouse.stream.mark import DayMark
from tapehouse.stream.seal import Seal, common_seal

KIND = "trades"
DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")
TODAY = "2024-01-04"
SHARDS = (0, 1)
CREATED_NS = 77

Row = tuple[str, int, int]
"""The key of a row: day, shard, number. Its value is the sequence of its message."""
Rows = dict[Row, int]
Steps = Generator[None, None, None]


@dataclass(frozen=True)
class Message:
    """One row on a stream."""

    seq: int
    row: Row

    @property
    def day(self) -> str:
        return self.row[0]

    @property
    def shard(self) -> int:
        return self.row[1]


class QuestDBModel:
    """QuestDB as a log of commits; a kill may lose those that are not on the disk yet."""

    def __init__(self) -> None:
        self.start_ns = 1
        self._log: list[Rows | str] = []
        self._synced = 0

    def commit(self, rows: Rows) -> None:
        self._log.append(rows)

    def expire(self, before: str) -> None:
        self._log.append(before)

    def age(self) -> None:
        """All commits have reached the disk."""
        self._synced = len(self._log)

    def kill(self, lost: int) -> None:
        del self._log[max(self._synced, len(self._log) - lost) :]
        self.start_ns += 1

    @property
    def rows(self) -> Rows:
        rows: Rows = {}
        for one in self._log:
            rows = (
                {row: at for row, at in rows.items() if row[0] >= one} if isinstance(one, str) else rows | one
            )
        return rows

    def day(self, day: str) -> Rows:
        return of_day(self.rows, day)


@dataclass
class World:
    """The state that survives every process: streams, shared state, stores, ledger."""

    ticks: list[Message] = field(default_factory=list)
    late: list[Message] = field(default_factory=list)
    """A message's index is its sequence less one; sequences below `late_first` are purged."""
    late_first: int = 1
    marks: dict[str, MarksByShard] = field(default_factory=lambda: {day: {} for day in DAYS})
    floors: dict[int, Floor] = field(
        default_factory=lambda: dict.fromkeys(SHARDS, Floor(CREATED_NS, 0, 0, 0))
    )
    requested_seal: Seal = field(default_factory=dict)
    confirmed: dict[int, Seal] = field(default_factory=dict)
    hot: QuestDBModel = field(default_factory=QuestDBModel)
    cold: dict[str, Rows] = field(default_factory=dict)
    ledger: dict[str, LedgerEntry] = field(default_factory=dict)
    imported: Rows = field(default_factory=dict)

    def day(self, day: str) -> DayInfo:
        hot, cold = self.hot.day(day), self.cold.get(day, {})
        return DayInfo(
            KIND, day, dict(self.marks[day]), self.ledger.get(day), len(hot), len(hot), len(cold), len(cold)
        )

    def resume_at(self, shard: int) -> int:
        """Where the writer of a shard would resume if it were started now."""
        floor = self.floors[shard]
        return floor.trail if may_lack_commits(floor, self.hot.start_ns, None) else floor.seq

    def pending(self, day: str) -> list[Message]:
        """The late messages that are still to be merged into a day, in order."""
        entry = self.ledger.get(day)
        after = max(self.late_first - 1, entry.late_position.seq if entry else 0)
        return [message for message in self.late[after:] if message.day == day]

    def confirmed_seal(self) -> Seal:
        """The seal that all writers have confirmed."""
        return common_seal(self.confirmed.get(shard, {}) for shard in SHARDS)


class Writer:
    """The writer of a shard, as `ingest/writer/writer.py`, `marks.py`, `sealing.py` and `late.py` are."""

    def __init__(self, world: World, shard: int) -> None:
        self._world = world
        self._shard = shard
        self._seal = ""
        self.alive = False
        self._floor = Floor(CREATED_NS, 0, 0, 0)
        self._recorded = 0
        self._open: dict[str, int] = {}
        self._sealed_and_seen: set[str] = set()
        self._read = 0
        self._marked: list[list[Message]] = []

    def kill(self) -> None:
        self.alive, self._seal = False, ""

    def resume(self) -> Steps:
        """Start a new session."""
        world, floor = self._world, self._world.floors[self._shard]
        self._floor = replace(floor, seq=world.resume_at(self._shard), hot_start_ns=world.hot.start_ns)
        self._open, self._sealed_and_seen, self._marked = {}, set(), []
        self._recorded = 0
        self.confirm_seal()
        yield
        self._mark({day for _, day in floor.open_days}, self._floor.seq)
        yield
        self.record()
        self._read = self._floor.seq
        self.alive = True

    @property
    def is_stale(self) -> bool:
        """Whether QuestDB was restarted since the session began."""
        return self._floor.hot_start_ns != self._world.hot.start_ns

    def confirm_seal(self) -> None:
        """Apply the requested seal and confirm it."""
        confirmed = self._world.confirmed.get(self._shard, {}).get(KIND, "")
        self._seal = max(self._seal, confirmed, self._world.requested_seal.get(KIND, ""))
        self._world.confirmed[self._shard] = {KIND: self._seal}

    def read(self, max_messages: int) -> None:
        """Read a group of messages and mark its days."""
        ours = [one for one in self._world.ticks[self._read :] if one.shard == self._shard][:max_messages]
        if ours and len(self._marked) < 2:
            self._read = ours[-1].seq
            self._mark({message.day for message in ours}, self._read)
            self._marked.append(ours)

    def commit(self) -> Steps:
        """Commit the oldest marked group."""
        if not self._marked:
            return
        group = self._marked[0]
        for message in group:
            if message.day < self._seal:
                self._world.late.append(message)
        yield
        rows = {message.row: message.seq for message in group if message.day >= self._seal}
        if rows:
            self._world.hot.commit(rows)
        self._floor = replace(self._floor, seq=max(self._floor.seq, group[-1].seq))
        self._marked.pop(0)

    def record(self) -> None:
        open_days = tuple((KIND, day) for day in self._open)
        self._world.floors[self._shard] = replace(self._floor, open_days=open_days)
        self._recorded = self._floor.seq

    def close_quiet(self) -> None:
        for day, seq in list(self._open.items()):
            if seq <= self._recorded:
                del self._open[day]
                self._world.marks[day][self._shard] = DayMark(CREATED_NS, seq, False)

    def age(self) -> None:
        """The replay margin passes."""
        self._floor = replace(self._floor, trail=max(self._floor.trail, self._floor.seq))

    def _mark(self, days: set[str], seq: int) -> None:
        for day in days:
            mark = self._world.marks[day].get(self._shard)
            if day >= self._seal:
                if day not in self._open:
                    self._world.marks[day][self._shard] = DayMark(CREATED_NS, seq, True)
                self._open[day] = seq
            elif day not in self._sealed_and_seen:
                self._sealed_and_seen.add(day)
                if day not in self._open and mark and mark.is_open:
                    self._open[day] = max(mark.seq, seq)


def of_day(rows: Rows, day: str) -> Rows:
    return {row: at for row, at in rows.items() if row[0] == day}


def digest(rows: Rows) -> str:
    return str(sorted(rows.items()))
