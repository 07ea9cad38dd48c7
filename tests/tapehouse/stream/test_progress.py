"""How far writers are: floors compared with the last messages of their shards."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tapehouse.errors import ConnectError
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.floor import Floor, floor_key
from tapehouse.stream.progress import (
    ShardProgress,
    active_shards,
    last_seq,
    read_progress,
    wait_until_written,
)

_SUBJECT = "ticks.trades.v.0"


@pytest.mark.parametrize(
    ("floor", "trail", "written", "may_be_replayed"),
    [(9, 9, False, True), (10, 9, True, True), (10, 10, True, False), (12, 11, True, False)],
)
def test_a_shard_is_written_at_its_floor_and_replayed_from_its_trail(
    floor: int, trail: int, written: bool, may_be_replayed: bool
) -> None:
    progress = ShardProgress(0, Floor(1, floor, 5, trail), 10)
    assert progress.is_written == written
    assert progress.may_be_replayed == may_be_replayed
    assert progress.counts_for(5)
    assert progress.counts_for(6) == (not may_be_replayed)


async def _reach(state: State, seq: int) -> None:
    known = await sharding.read(state)
    await state.put(floor_key(0), replace(Floor(known.created_ns, 0, 1, 0), seq=seq, trail=seq).value())


async def test_progress_is_of_the_shards_own_messages(bus: Bus, state: State) -> None:
    known = await sharding.read(state)
    assert (await read_progress(bus, state, 0, known.created_ns)).is_written
    await bus.js.publish(_SUBJECT, b"1")
    progress = await read_progress(bus, state, 0, known.created_ns)
    assert (progress.last_seq, progress.floor.seq, progress.is_written) == (1, 0, False)
    assert await last_seq(bus) == 1
    assert await active_shards(bus, state, known) == (0,)


async def test_a_wait_ends_when_the_floor_is_reached_and_not_before(bus: Bus, state: State) -> None:
    for _ in range(3):
        await bus.js.publish(_SUBJECT, b"1")
    waiting = asyncio.create_task(wait_until_written(bus, state, 3, 20))
    await _reach(state, 2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.2)
    await _reach(state, 3)
    await asyncio.wait_for(waiting, 10)
    # What comes after is not waited for.
    await bus.js.publish(_SUBJECT, b"1")
    await asyncio.wait_for(wait_until_written(bus, state, 3, 1), 10)


async def test_a_floor_that_does_not_move_is_an_error_that_names_the_writer(bus: Bus, state: State) -> None:
    await bus.js.publish(_SUBJECT, b"1")
    with pytest.raises(ConnectError, match="writer 0: expected its floor to reach 1, was 0"):
        await wait_until_written(bus, state, 1, 0.1)
