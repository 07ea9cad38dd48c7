"""The mirror's protocol under any order of steps and kills: nothing is lost, nothing is called proven that is not."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from analytics.days import is_written
from tests.analytics.mirroring import Mirror
from tests.analytics.protocol import DAYS, KIND, SHARDS, TODAY, Message, Rows, Steps, World, Writer, of_day

_LATER = st.sampled_from((*DAYS[1:], TODAY))
_SHARD = st.sampled_from(SHARDS)
_IMPORTED = 10


class Protocol(RuleBasedStateMachine):
    """The keys of imported rows are their own: of those the order is not defined."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.writers = [Writer(self.world, shard) for shard in SHARDS]
        self.mirror: Steps | None = None
        self.imports = 0
        for writer in self.writers:
            _to_end(writer.resume())

    @rule(shard=_SHARD, day=st.sampled_from(DAYS), number=st.integers(0, 1))
    def publish(self, shard: int, day: str, number: int) -> None:
        self.world.ticks.append(Message(len(self.world.ticks) + 1, (day, shard, number)))

    @rule(shard=_SHARD, most=st.integers(1, 3))
    def read(self, shard: int, most: int) -> None:
        if self.writers[shard].alive:
            self.writers[shard].read(most)

    @rule(shard=_SHARD)
    def commit(self, shard: int) -> None:
        writer = self.writers[shard]
        if writer.alive:
            before = self.world.hot.rows
            _to_end(writer.commit())
            for day in {row[0] for row, at in self.world.hot.rows.items() if before.get(row) != at}:
                assert not self.world.day(day).is_proven or self.world.day(day).is_cold

    @rule(shard=_SHARD)
    def record(self, shard: int) -> None:
        if self.writers[shard].alive:
            self.writers[shard].record()

    @rule(shard=_SHARD)
    def close_quiet(self, shard: int) -> None:
        if self.writers[shard].alive:
            self.writers[shard].close_quiet()

    @rule(shard=_SHARD)
    def look(self, shard: int) -> None:
        if self.writers[shard].alive:
            self.writers[shard].look()

    @rule(shard=_SHARD)
    def goes_on(self, shard: int) -> None:
        """All of a writer's steps, with nothing in between."""
        if self.writers[shard].alive:
            self._write(shard)

    @rule(shard=_SHARD, in_commit=st.booleans())
    def kill_writer(self, shard: int, in_commit: bool) -> None:
        writer = self.writers[shard]
        if in_commit and writer.alive:
            next(writer.commit(), None)
        writer.kill()

    @rule(shard=_SHARD, steps=st.sampled_from((1, 2, 9)))
    def resume_writer(self, shard: int, steps: int) -> None:
        """A start, or a session anew."""
        writer = self.writers[shard]
        writer.alive = False
        resuming = writer.resume()
        for _ in range(steps):
            next(resuming, None)

    @rule(lost=st.integers(0, 4))
    def kill_hot(self, lost: int) -> None:
        self.world.hot.kill(lost)

    @rule()
    def age(self) -> None:
        for writer in self.writers:
            if writer.alive and writer.is_stale:
                _to_end(writer.resume())
        self.world.hot.age()
        for writer in self.writers:
            writer.age()

    @precondition(lambda self: self.mirror is None)
    @rule(before=st.just("") | _LATER)
    def run_mirror(self, before: str) -> None:
        self.mirror = Mirror(self.world).run(before)

    @precondition(lambda self: self.mirror is None)
    @rule(day=st.sampled_from(DAYS))
    def bring(self, day: str) -> None:
        self.imports += 1
        self.mirror = Mirror(self.world).bring({(day, 0, _IMPORTED + self.imports): 0})

    @precondition(lambda self: self.mirror is not None)
    @rule(steps=st.sampled_from((1, 1, 2, 5, 40)))
    def step(self, steps: int) -> None:
        assert self.mirror is not None
        for _ in range(steps):
            if next(self.mirror, "end") == "end":
                self.mirror = None
                break

    @precondition(lambda self: self.mirror is not None)
    @rule()
    def kill_mirror(self) -> None:
        self.mirror = None

    @invariant()
    def nothing_is_lost(self) -> None:
        held = self._eventually()
        for row, at in self._truth().items():
            assert held.get(row) == at, f"{row} of {at}, is {held.get(row)}"

    @invariant()
    def what_is_proven_is_in_both(self) -> None:
        for day in map(self.world.day, DAYS):
            if day.is_proven and not day.is_cold:
                hot, cold = self.world.hot.day(day.day), self.world.cold.get(day.day, {})
                assert hot.keys() <= cold.keys()
                if is_written(day.marks, self.world.floors, {*SHARDS}, self.world.hot.start_ns):
                    # What a killed QuestDB lost comes to the late stream where the day is sealed since.
                    again = {message.row for message in self.world.pending(day.day)}
                    assert {row for row, at in cold.items() if hot.get(row) != at} <= again

    def teardown(self) -> None:
        """Everything comes to rest, and then the owners hold all there is."""
        self.mirror = None
        for writer in self.writers:
            writer.kill()
            _to_end(writer.resume())
        for _ in range(3):
            mirror: Any = Mirror(self.world).run(self.world.asked.get(KIND, ""))
            for _ in range(200):
                if next(mirror, "end") == "end":
                    break
                for shard in SHARDS:
                    self._write(shard)
        for day in map(self.world.day, DAYS):
            killed_import = day.is_cold and day.entry and day.entry.pending
            assert day.is_proven or killed_import or not (day.hot_rows or day.cold_rows), day
            assert not self.world.pending(day.day), day
            held = self.world.cold.get(day.day, {}) if day.is_cold else self.world.hot.day(day.day)
            # An import that was killed may have been merged.
            known = {row: at for row, at in held.items() if row[2] < _IMPORTED or row in self.world.imported}
            assert known == of_day(self._truth(), day.day)
            assert held == self.world.cold.get(day.day, {})

    def _write(self, shard: int) -> None:
        writer = self.writers[shard]
        if writer.is_stale:
            _to_end(writer.resume())
        writer.look()
        writer.read(9)
        _to_end(writer.commit())
        _to_end(writer.commit())
        writer.record()
        writer.close_quiet()

    def _truth(self) -> Rows:
        return {message.row: message.seq for message in self.world.ticks} | self.world.imported

    def _eventually(self) -> Rows:
        """What the owners will hold when all that is under way has arrived."""
        world = self.world
        held: Rows = {}
        for day in map(world.day, DAYS):
            held |= world.cold.get(day.day, {}) if day.is_cold else world.hot.day(day.day)
            held |= {message.row: message.seq for message in world.pending(day.day)}
        for message in world.ticks:
            if message.seq > world.resume_at(message.shard):
                seal = max(world.asked.get(KIND, ""), world.confirmed.get(message.shard, {}).get(KIND, ""))
                if message.day < seal or not world.day(message.day).is_cold:
                    held[message.row] = message.seq
        return held


def _to_end(steps: Steps) -> None:
    for _ in steps:
        pass


_ONE, _TWO = DAYS[:2]
_WRITES = "read(1, 1) commit(1) record(1) close_quiet(1)"
_CASES = {
    "an older row replayed behind a newer one that is in the late stream already": (
        f"publish(1, '{_ONE}', 0) goes_on(1) run_mirror('{_TWO}') step(15) look(1) publish(1, '{_ONE}', 0) "
        "read(1, 1) commit(1) kill_hot(1) resume_writer(1, 9)"
    ),
    "late rows of a new day merged while a writer does not keep to the seal yet": (
        f"run_mirror('{_TWO}') step(40) look(0) publish(0, '{_ONE}', 0) goes_on(0) publish(1, '{_ONE}', 0) "
        f"run_mirror('') step(4) {_WRITES} step(40)"
    ),
    "an import begun again whose seal was never confirmed": (
        f"bring('{_ONE}') step(40) bring('{_ONE}') step(2) publish(1, '{_ONE}', 0) {_WRITES} step(40)"
    ),
    "days dropped up to a seal that a writer does not keep to yet": (
        f"run_mirror('{_TWO}') step(7) look(0) look(1) step(40) run_mirror('{TODAY}') step(40) run_mirror('{_TWO}') "
        f"step(12) publish(1, '{_TWO}', 0) {_WRITES} step(40)"
    ),
    "a merge killed between its two writes": (
        f"run_mirror('{_TWO}') step(7) look(0) look(1) step(40) publish(0, '{_ONE}', 0) goes_on(0) run_mirror('') "
        "step(6) kill_mirror() publish(0, '" + _ONE + "', 1) goes_on(0)"
    ),
}


@pytest.mark.parametrize("case", _CASES)
def test_what_once_went_wrong(case: str) -> None:
    machine = Protocol()
    for rule_, said in re.findall(r"(\w+)\(([^)]*)\)", _CASES[case]):
        if rule_ != "step" or machine.mirror is not None:
            getattr(machine, rule_)(*ast.literal_eval(f"[{said}]"))
        machine.nothing_is_lost()
        machine.what_is_proven_is_in_both()
    machine.teardown()


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(stateful_step_count=40, max_examples=60)
