"""A model of the mirror: its steps, with the real decisions; see tests/analytics/protocol.py."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from analytics.days import Day, first_kept, handed_over, is_written, takes_late, to_copy
from analytics.ledger import Entry, Key, Late
from tapehouse.seal import covers
from tests.analytics.protocol import CREATED, DAYS, KIND, SHARDS, TODAY, Rows, Steps, World, digest


class Mirror:
    """The mirror, as analytics/mirror.py, copying.py, handover.py, retention.py, latestream.py, importing.py are."""

    def __init__(self, world: World) -> None:
        self._world = world

    def run(self, before: str) -> Steps:
        yield from self._copy_all()
        yield from self._merge_late()
        if before:
            yield from self._retain(before)
            yield from self._merge_late()

    def bring(self, rows: Rows) -> Steps:
        """Old history, of one day."""
        world, day = self._world, min(rows)[0]
        before = next((later for later in (*DAYS, TODAY) if later > day), TODAY)
        if not (yield from self._sealed(before)):
            return
        days = yield from self._survey()
        if not all(
            takes_late(one, one.day, KIND, {KIND: before}) for one in days.values() if one.day < before
        ):
            return
        if (yield from self._merge(day, rows, None)):
            world.imported |= rows

    def _survey(self) -> Generator[None, None, dict[Key, Day]]:
        marks = {day: dict(found) for day, found in self._world.marks.items()}
        yield
        days: dict[Key, Day] = {}
        for day in DAYS:
            known = replace(self._world.day(day), marks=marks[day])
            if known.marks or known.entry or known.hot_rows or known.cold_rows:
                days[known.key] = known
        return days

    def _copy_all(self, before: str = TODAY) -> Steps:
        days = yield from self._survey()
        for day in to_copy({key: day for key, day in days.items() if day.day < before}, TODAY):
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
            # In slices.
            rows |= {row: at for row, at in world.hot.day(day).items() if row[1] == shard}
            yield
        if world.hot.start_ns != started_ns:
            return
        yield
        world.cold[day] = rows
        yield
        before = world.ledger.get(day, Entry(KIND, day))
        world.ledger[day] = replace(
            before, rows=len(rows), fingerprint=digest(rows), marks=marks, fault="", pending="", proven_ns=1
        )
        yield

    def _sealed(self, before: str) -> Generator[None, None, bool]:
        """Ask for a seal; whether all writers confirm it in time."""
        world = self._world
        world.asked = {KIND: max(before, world.asked.get(KIND, ""))}
        for _ in range(4):
            yield
            if all(covers(world.confirmed.get(shard, {}), {KIND: before}) for shard in SHARDS):
                return True
        return False

    def _retain(self, before: str) -> Steps:
        if not (yield from self._sealed(before)):
            return
        yield from self._copy_all(before)
        days = yield from self._survey()
        yield
        for day in handed_over(days, KIND, {KIND: before}):
            assert day.entry
            self._world.ledger[day.day] = replace(day.entry, owner="cold")
            yield
        seal = self._world.kept_seal()
        yield
        days = yield from self._survey()
        first = first_kept(days, KIND, seal)
        yield
        self._world.hot.expire(first)
        yield

    def _merge_late(self) -> Steps:
        world = self._world
        last = len(world.late)
        seal = world.kept_seal()
        yield
        days = yield from self._survey()
        kept = last + 1
        first_of: dict[str, int] = {}
        late: dict[str, Rows] = {}
        for at in range(world.late_first, last + 1):
            message = world.late[at - 1]
            known = days.get((KIND, message.day))
            if known and known.entry and at <= known.entry.late.seq:
                continue
            first_of.setdefault(message.day, at)
            if takes_late(known, message.day, KIND, seal):
                late.setdefault(message.day, {})[message.row] = message.seq
        for day, first in first_of.items():
            if day not in late or not (yield from self._merge(day, late[day], Late(CREATED, last))):
                kept = min(kept, first)
        yield
        world.late_first = max(world.late_first, kept)
        yield

    def _merge(self, day: str, rows: Rows, until: Late | None) -> Generator[None, None, bool]:
        world = self._world
        before = world.ledger.get(day, Entry(KIND, day))
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
            late=until or before.late,
            fault="",
            pending="",
            proven_ns=1,
        )
        yield
        return True
