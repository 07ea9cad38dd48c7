"""The mirror's protocol under random orders of steps and kills: no row is lost, and proven days are equal."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from analytics.mirror.decisions import is_written
from tests.analytics.mirror.mirror_model import Mirror
from tests.analytics.mirror.protocol_model import (
    DAYS,
    KIND,
    SHARDS,
    TODAY,
    Message,
    Rows,
    Steps,
    World,
    Writer,
    of_day,
)

_LATER = st.sampled_from((*DAYS[1:], TODAY))
_SHARD = st.sampled_from(SHARDS)
_IMPORTED = 10


class Protocol(RuleBasedStateMachine):
    """Imported rows have keys of their own, because the order between them and ticks is not defined."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.writers = [Writer(self.world, shard) for shard in SHARDS]
        self.mirror: Steps | None = None
        self.imports = 0
        for writer in self.writers:
            _run_to_end(writer.resume())

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
            _run_to_end(writer.commit())
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
    def confirm_seal(self, shard: int) -> None:
        if self.writers[shard].alive:
            self.writers[shard].confirm_seal()

    @rule(shard=_SHARD)
    def run_writer(self, shard: int) -> None:
        """All steps of a writer without interruption."""
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
        """Start a writer, or a new session of it."""
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
                _run_to_end(writer.resume())
        self.world.hot.age()
        for writer in self.writers:
            writer.age()

    @precondition(lambda self: self.mirror is None)
    @rule(before=st.just("") | _LATER)
    def run_mirror(self, before: str) -> None:
        self.mirror = Mirror(self.world).run(before)

    @precondition(lambda self: self.mirror is None)
    @rule(day=st.sampled_from(DAYS))
    def import_history(self, day: str) -> None:
        self.imports += 1
        self.mirror = Mirror(self.world).import_history({(day, 0, _IMPORTED + self.imports): 0})

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
    def no_row_is_lost(self) -> None:
        stored = self._final_rows()
        for row, at in self._expected_rows().items():
            assert stored.get(row) == at, f"{row}: expected {at}, was {stored.get(row)}"

    @invariant()
    def proven_days_are_equal_in_both_stores(self) -> None:
        for day in map(self.world.day, DAYS):
            if day.is_proven and not day.is_cold:
                hot, cold = self.world.hot.day(day.day), self.world.cold.get(day.day, {})
                assert hot.keys() <= cold.keys()
                if is_written(day.marks, self.world.floors, {*SHARDS}, self.world.hot.start_ns):
                    # Rows that a killed QuestDB lost arrive in the late stream when the day has been sealed since.
                    again = {message.row for message in self.world.pending(day.day)}
                    assert {row for row, at in cold.items() if hot.get(row) != at} <= again

    def teardown(self) -> None:
        """Once everything has finished, the owner of each day has all its rows."""
        self.mirror = None
        for writer in self.writers:
            writer.kill()
            _run_to_end(writer.resume())
        for _ in range(3):
            mirror: Any = Mirror(self.world).run(self.world.requested_seal.get(KIND, ""))
            for _ in range(200):
                if next(mirror, "end") == "end":
                    break
                for shard in SHARDS:
                    self._write(shard)
        for day in map(self.world.day, DAYS):
            killed_import = day.is_cold and day.entry and day.entry.pending
            assert day.is_proven or killed_import or not (day.hot_rows or day.cold_rows), day
            assert not self.world.pending(day.day), day
            stored = self.world.cold.get(day.day, {}) if day.is_cold else self.world.hot.day(day.day)
            # An import that was killed may still have been merged.
            known = {
                row: at for row, at in stored.items() if row[2] < _IMPORTED or row in self.world.imported
            }
            assert known == of_day(self._expected_rows(), day.day)
            assert stored == self.world.cold.get(day.day, {})

    def _write(self, shard: int) -> None:
        writer = self.writers[shard]
        if writer.is_stale:
            _run_to_end(writer.resume())
        writer.confirm_seal()
        writer.read(9)
        _run_to_end(writer.commit())
        _run_to_end(writer.commit())
        writer.record()
        writer.close_quiet()

    def _expected_rows(self) -> Rows:
        return {message.row: message.seq for message in self.world.ticks} | self.world.imported

    def _final_rows(self) -> Rows:
        """The rows that the owners will have once all messages are processed."""
        world = self.world
        stored: Rows = {}
        for day in map(world.day, DAYS):
            stored |= world.cold.get(day.day, {}) if day.is_cold else world.hot.day(day.day)
            stored |= {message.row: message.seq for message in world.pending(day.day)}
        for message in world.ticks:
            if message.seq > world.resume_at(message.shard):
                seal = max(
                    world.requested_seal.get(KIND, ""), world.confirmed.get(message.shard, {}).get(KIND, "")
                )
                if message.day < seal or not world.day(message.day).is_cold:
                    stored[message.row] = message.seq
        return stored


def _run_to_end(steps: Steps) -> None:
    for _ in steps:
        pass


_ONE, _TWO = DAYS[:2]
_WRITES = "read(1, 1) commit(1) record(1) close_quiet(1)"
_CASES = {
    "an older row replayed after a newer one that is already in the late stream": (
        f"publish(1, '{_ONE}', 0) run_writer(1) run_mirror('{_TWO}') step(15) confirm_seal(1) publish(1, '{_ONE}', 0) "
        "read(1, 1) commit(1) kill_hot(1) resume_writer(1, 9)"
    ),
    "late rows of a new day merged before a writer has confirmed the seal": (
        f"run_mirror('{_TWO}') step(40) confirm_seal(0) publish(0, '{_ONE}', 0) run_writer(0) publish(1, '{_ONE}', 0) "
        f"run_mirror('') step(4) {_WRITES} step(40)"
    ),
    "an import repeated whose seal was never confirmed": (
        f"import_history('{_ONE}') step(40) import_history('{_ONE}') step(2) publish(1, '{_ONE}', 0) {_WRITES} step(40)"
    ),
    "days expired up to a seal that a writer has not confirmed": (
        f"run_mirror('{_TWO}') step(7) confirm_seal(0) confirm_seal(1) step(40) run_mirror('{TODAY}') step(40) "
        f"run_mirror('{_TWO}') step(12) publish(1, '{_TWO}', 0) {_WRITES} step(40)"
    ),
    "a merge killed between its two writes": (
        f"run_mirror('{_TWO}') step(7) confirm_seal(0) confirm_seal(1) step(40) publish(0, '{_ONE}', 0) run_writer(0) "
        "run_mirror('') step(6) kill_mirror() publish(0, '" + _ONE + "', 1) run_writer(0)"
    ),
}


@pytest.mark.parametrize("case", _CASES)
def test_sequences_that_once_failed(case: str) -> None:
    machine = Protocol()
    for rule_, arguments in re.findall(r"(\w+)\(([^)]*)\)", _CASES[case]):
        if rule_ != "step" or machine.mirror is not None:
            getattr(machine, rule_)(*ast.literal_eval(f"[{arguments}]"))
        machine.no_row_is_lost()
        machine.proven_days_are_equal_in_both_stores()
    machine.teardown()


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(stateful_step_count=40, max_examples=60)
