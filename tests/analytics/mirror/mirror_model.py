"""A model of the mirror: its steps, using the real decisions; see tests/analytics/mirror/protocol_model.py."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from analytics.mirror.decisions import (
    DayInfo,
    accepts_late_rows,
    days_to_copy,
    days_to_hand_over,
    first_hot_day,
    is_written,
)
from analytics.mirror.ledger import DayKey, LateStreamPosition, LedgerEntry
from tapehouse.stream.seal import seal_covers
from tests.analytics.mirror.protocol_model import (
    CREATED_NS,
    DAYS,
    KIND,
    SHARDS,
    TODAY,
    Rows,
    Steps,
    World,
    digest,
)


class Mirror:
    """The mirror as in analytics/mirror/: copies, hands over, expires, merges and imports, in steps."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, before: str) -> Steps:
        yield from self._copy_all()
        yield from self._merge_late()
        if before:
            yield from self._retain(before)
            yield from self._merge_late()

    def import_history(self, rows: Rows) -> Steps:
        """Import history of one day."""
        world, day = self._world, min(rows)[0]
        before = next((later for later in (*DAYS, TODAY) if later > day), TODAY)
        if not (yield from self._seal_days(before)):
            return
        days = yield from self._survey()
        if not all(
            accepts_late_rows(one, one.day, KIND, {KIND: before}) for one in days.values() if one.day < before
        ):
            return
        if (yield from self._merge(day, rows, None)):
            world.imported |= rows

    def _survey(self) -> Generator[None, None, dict[DayKey, DayInfo]]:
        marks = {day: dict(found) for day, found in self._world.marks.items()}
        yield
        days: dict[DayKey, DayInfo] = {}
        for day in DAYS:
            known = replace(self._world.day(day), marks=marks[day])
            if known.marks or known.entry or known.hot_rows or known.cold_rows:
                days[known.key] = known
        return days

    def _copy_all(self, before: str = TODAY) -> Steps:
        days = yield from self._survey()
        for day in days_to_copy({key: day for key, day in days.items() if day.day < before}, TODAY):
            yield from self._copy(day.day)

    def _copy(self, day: str) -> Steps:
        world = self._world
        marks = dict(world.marks[day])
        yield
        started_ns = world.hot.start_ns
        yield
        if not is_written(marks, {shard: world.floors[shard] for shard in marks}, {*SHARDS}, started_ns):
            return
        yield
        rows: Rows = {}
        for shard in SHARDS:
            # Slice by slice.
            rows |= {row: at for row, at in world.hot.day(day).items() if row[1] == shard}
            yield
        if world.hot.start_ns != started_ns:
            return
        yield
        world.cold[day] = rows
        yield
        before = world.ledger.get(day, LedgerEntry(KIND, day))
        world.ledger[day] = replace(
            before, rows=len(rows), fingerprint=digest(rows), marks=marks, fault="", pending="", proven_ns=1
        )
        yield

    def _seal_days(self, before: str) -> Generator[None, None, bool]:
        """Request a seal; returns whether all writers confirm it in time."""
        world = self._world
        world.requested_seal = {KIND: max(before, world.requested_seal.get(KIND, ""))}
        for _ in range(4):
            yield
            if all(seal_covers(world.confirmed.get(shard, {}), {KIND: before}) for shard in SHARDS):
                return True
        return False

    def _retain(self, before: str) -> Steps:
        if not (yield from self._seal_days(before)):
            return
        yield from self._copy_all(before)
        days = yield from self._survey()
        yield
        for day in days_to_hand_over(days, KIND, {KIND: before}):
            assert day.entry
            self._world.ledger[day.day] = replace(day.entry, owner="cold")
            yield
        seal = self._world.confirmed_seal()
        yield
        days = yield from self._survey()
        first = first_hot_day(days, KIND, seal)
        yield
        self._world.hot.expire(first)
        yield

    def _merge_late(self) -> Steps:
        world = self._world
        last = len(world.late)
        seal = world.confirmed_seal()
        yield
        days = yield from self._survey()
        first_kept = last + 1
        first_of: dict[str, int] = {}
        late: dict[str, Rows] = {}
        for at in range(world.late_first, last + 1):
            message = world.late[at - 1]
            known = days.get((KIND, message.day))
            if known and known.entry and at <= known.entry.late_position.seq:
                continue
            first_of.setdefault(message.day, at)
            if accepts_late_rows(known, message.day, KIND, seal):
                late.setdefault(message.day, {})[message.row] = message.seq
        for day, first in first_of.items():
            if day not in late or not (
                yield from self._merge(day, late[day], LateStreamPosition(CREATED_NS, last))
            ):
                first_kept = min(first_kept, first)
        yield
        world.late_first = max(world.late_first, first_kept)
        yield

    def _merge(self, day: str, rows: Rows, until: LateStreamPosition | None) -> Generator[None, None, bool]:
        world = self._world
        before = world.ledger.get(day, LedgerEntry(KIND, day))
        old = world.cold.get(day, {})
        yield
        known = before.rows == len(old) and (not old or before.fingerprint == digest(old))
        if not known and before.pending != digest(old):
            return False
        made = old | rows
        world.ledger[day] = pending = replace(before, owner="cold", pending=digest(made))
        yield
        world.cold[day] = made
        yield
        world.ledger[day] = replace(
            pending,
            rows=len(made),
            fingerprint=digest(made),
            late_position=until or before.late_position,
            fault="",
            pending="",
            proven_ns=1,
        )
        yield
        return True
