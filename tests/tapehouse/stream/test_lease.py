"""One owner at a time, whoever dies when."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tapehouse.errors import ConnectError
from tapehouse.stream import lease as module
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.lease import Lease
from tests.broker import Broker
from tests.conftest import Platform
from tests.waiting import DEADLINE_S, until

_LONG_S = 1_000.0
"""A lease that does not run out within the test."""
_SHORT_S = 0.5


@pytest.fixture
async def state(provisioned: Platform) -> AsyncIterator[State]:
    bus = await Bus.connect(provisioned.settings, "writer")
    yield await bus.shared_state()
    await bus.close()


async def _held(lease: Lease) -> Lease:
    async with asyncio.timeout(DEADLINE_S):
        return await lease.__aenter__()


async def _waiting(state: State, name: str, seconds: float) -> tuple[Lease, asyncio.Task[Lease]]:
    """A claimant that has seen that another has the lease."""
    lease = Lease(state, name, seconds)
    task = asyncio.create_task(_held(lease))

    await until(lambda: lease.owner is not None, "the claimant to see the owner")
    return lease, task


async def _stranger(state: State, name: str) -> dict[str, Any]:
    """An owner of another machine, of whom nothing more is heard."""
    owner = {"host": "elsewhere", "pid": os.getpid(), "born": "1", "token": "x"}
    await state.put(f"lease.{name}", owner)
    return owner


async def test_a_claimant_cut_off_at_any_moment_holds_up_nobody(state: State, venue: str) -> None:
    chance = random.Random(8)
    for _ in range(60):
        claiming = asyncio.create_task(Lease(state, venue, _LONG_S).__aenter__())
        await asyncio.wait((claiming,), timeout=chance.random() * 0.004)
        claiming.cancel()
        (end,) = await asyncio.gather(claiming, return_exceptions=True)
        if isinstance(end, Lease):
            await end.__aexit__()
        owner = await state.get(f"lease.{venue}")
        assert owner is None


async def test_of_many_claimants_one_has_it_at_a_time_and_each_in_its_turn(state: State, venue: str) -> None:
    inside = turns = 0

    async def work() -> None:
        nonlocal inside, turns
        # What is given back is seen at the next look, a tenth of the lease's length later at most.
        async with Lease(state, venue, 1.0) as lease:
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.01)
            assert not lease.lost.is_set()
            inside -= 1
            turns += 1

    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(work() for _ in range(6)))
    assert turns == 6


async def test_a_lease_given_back_is_free_at_once(state: State, venue: str) -> None:
    for _ in range(3):
        async with Lease(state, venue, _LONG_S):
            assert (await state.get(f"lease.{venue}"))["pid"] == os.getpid()
        assert await state.get(f"lease.{venue}") is None


async def test_a_lease_is_given_back_after_a_renewal_whose_answer_was_lost(state: State, venue: str) -> None:
    lease = await _held(Lease(state, venue, _LONG_S))
    await state.put(f"lease.{venue}", lease._identity)
    await lease.__aexit__()
    assert await state.get(f"lease.{venue}") is None


async def test_a_lease_that_does_not_move_is_taken_over(state: State, venue: str) -> None:
    owner = await _stranger(state, venue)
    lease = Lease(state, venue, _SHORT_S)
    await _held(lease)
    assert await state.get(f"lease.{venue}") != owner
    await lease.__aexit__()


async def test_a_lease_that_moves_is_not_taken_over(state: State, venue: str) -> None:
    owner = await _stranger(state, venue)
    lease, task = await _waiting(state, venue, _SHORT_S)
    for _ in range(12):
        await asyncio.sleep(_SHORT_S / 4)
        await state.put(f"lease.{venue}", owner)
    assert not task.done()
    assert lease.owner == owner
    await task
    await lease.__aexit__()


async def test_an_owner_renews_for_as_long_as_it_lives(state: State, venue: str) -> None:
    async with Lease(state, venue, _SHORT_S) as lease:
        _, task = await _waiting(state, venue, _SHORT_S)
        await asyncio.sleep(3 * _SHORT_S)
        assert not task.done()
        assert not lease.lost.is_set()
    await (await task).__aexit__()


async def test_the_lease_of_a_dead_process_of_this_machine_is_free_at_once(state: State, venue: str) -> None:
    child = await asyncio.create_subprocess_exec("sleep", "1000")
    owner = {
        "host": socket.gethostname(),
        "pid": child.pid,
        "born": module._process_start(child.pid),
        "token": "x",
    }
    assert owner["born"]
    await state.put(f"lease.{venue}", owner)
    lease, task = await _waiting(state, venue, _LONG_S)
    assert lease.owner == owner
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    child.kill()
    await child.wait()
    await (await _held(Lease(state, venue, _LONG_S))).__aexit__()
    # Another process has got its number since.
    await state.put(f"lease.{venue}", {**owner, "pid": os.getpid()})
    await (await _held(Lease(state, venue, _LONG_S))).__aexit__()


async def test_an_owner_sees_that_another_has_taken_it(state: State, venue: str) -> None:
    lease = await _held(Lease(state, venue, _SHORT_S))
    owner = await _stranger(state, venue)
    async with asyncio.timeout(DEADLINE_S):
        await lease.lost.wait()
    await lease.__aexit__()
    assert await state.get(f"lease.{venue}") == owner


async def test_a_renewal_whose_answer_was_lost_is_no_loss(state: State, venue: str) -> None:
    lease = await _held(Lease(state, venue, _SHORT_S))
    await state.put(f"lease.{venue}", lease._identity)
    _, seen = await state.get_revised(f"lease.{venue}")

    async def moved() -> bool:
        return (await state.get_revised(f"lease.{venue}"))[1] > seen

    await until(moved, "the next renewal")
    assert not lease.lost.is_set()
    await lease.__aexit__()


async def test_an_owner_cut_off_gives_up_and_a_claimant_waits_for_the_broker(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "writer")
    state = await bus.shared_state()
    lease = await _held(Lease(state, "writer.0", 1.0))
    claimant, task = await _waiting(state, "writer.0", 1.0)
    await broker.kill()
    async with asyncio.timeout(DEADLINE_S):
        await lease.lost.wait()
    assert not task.done()
    await broker.start()
    await task
    assert not claimant.lost.is_set()
    await lease.__aexit__()
    assert (await state.get("lease.writer.0"))["token"] == claimant._identity["token"]
    await claimant.__aexit__()
    await bus.close()


async def test_holding_says_whether_the_lease_is_ours_at_this_moment(state: State, venue: str) -> None:
    lease = await _held(Lease(state, venue, _LONG_S))
    await lease.hold()
    _, before = await state.get_revised(f"lease.{venue}")
    await asyncio.gather(*(lease.hold() for _ in range(5)))
    assert (await state.get_revised(f"lease.{venue}"))[1] == before + 5
    await _stranger(state, venue)
    with pytest.raises(ConnectError, match="the lease was lost"):
        await lease.hold()
    assert lease.lost.is_set()
    with pytest.raises(ConnectError):
        await lease.hold()
    await lease.__aexit__(None, None, None)
