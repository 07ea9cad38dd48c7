"""Marks of days: open before anything is written behind them, closed when it is quiet and committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ingest.writer.marks import DayMarks
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.mark import mark_key
from tests.conftest import Platform

_CREATED = 77
_ONE, _TWO = ("trades", "2024-02-28"), ("quotes", "2024-02-29")


@pytest.fixture
async def state(provisioned: Platform) -> AsyncIterator[State]:
    bus = await Bus.connect(provisioned.settings, "writer")
    yield await bus.shared_state()
    await bus.close()


@pytest.fixture
def shard(venue: str) -> int:
    """Of this test alone."""
    return int(venue[1:], 16)


async def _mark(state: State, day: tuple[str, str], shard: int) -> Any:
    return await state.get(mark_key(*day, shard))


async def test_a_day_is_opened_once_and_closed_with_its_last_message(state: State, shard: int) -> None:
    marks = DayMarks(state, shard, _CREATED)
    assert await _mark(state, _ONE, shard) is None
    await marks.touch([_ONE, _TWO], 5)
    assert await _mark(state, _ONE, shard) == [_CREATED, 5, True]
    _, revision = await state.get_revised(mark_key(*_ONE, shard))
    await marks.touch([_ONE], 9)
    assert await state.get_revised(mark_key(*_ONE, shard)) == ([_CREATED, 5, True], revision)
    assert sorted(marks.open_days) == sorted([_ONE, _TWO])
    await marks.close_quiet(9, 0)
    assert await _mark(state, _ONE, shard) == [_CREATED, 9, False]
    assert await _mark(state, _TWO, shard) == [_CREATED, 5, False]
    assert marks.open_days == []


async def test_a_day_stays_open_until_the_floor_has_passed_its_last_message(state: State, shard: int) -> None:
    marks = DayMarks(state, shard, _CREATED)
    await marks.touch([_ONE], 5)
    await marks.touch([_TWO], 6)
    await marks.touch([_ONE], 7)
    await marks.close_quiet(6, 0)
    assert await _mark(state, _ONE, shard) == [_CREATED, 5, True]
    assert await _mark(state, _TWO, shard) == [_CREATED, 6, False]
    assert marks.open_days == [_ONE]


async def test_a_day_stays_open_until_it_is_quiet(state: State, shard: int) -> None:
    marks = DayMarks(state, shard, _CREATED)
    await marks.touch([_ONE], 5)
    await marks.close_quiet(5, 1_000)
    assert await _mark(state, _ONE, shard) == [_CREATED, 5, True]
    await marks.close_quiet(5, 0)
    assert await _mark(state, _ONE, shard) == [_CREATED, 5, False]


async def test_a_closed_day_is_opened_again_and_closed_higher(state: State, shard: int) -> None:
    marks = DayMarks(state, shard, _CREATED)
    for seq in (5, 6):
        await marks.touch([_ONE], seq)
        assert await _mark(state, _ONE, shard) == [_CREATED, seq, True]
        await marks.close_quiet(seq, 0)
        assert await _mark(state, _ONE, shard) == [_CREATED, seq, False]


async def test_a_touch_while_a_day_is_being_closed_opens_it_again(state: State, shard: int) -> None:
    for _ in range(20):
        marks = DayMarks(state, shard, _CREATED)
        await marks.touch([_ONE], 5)
        closing = asyncio.create_task(marks.close_quiet(5, 0))
        await asyncio.sleep(0)
        await marks.touch([_ONE], 6)
        assert await _mark(state, _ONE, shard) == [_CREATED, 6, True]
        await closing
        assert marks.open_days == [_ONE]


async def test_a_close_that_is_cut_off_leaves_the_day_known_as_open(state: State, shard: int) -> None:
    marks = DayMarks(state, shard, _CREATED)
    await marks.touch([_ONE], 5)
    closing = asyncio.create_task(marks.close_quiet(5, 0))
    await asyncio.sleep(0)
    assert marks.open_days == []
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert marks.open_days == [_ONE]
    await marks.close_quiet(5, 0)
    assert await _mark(state, _ONE, shard) == [_CREATED, 5, False]


async def test_a_mark_left_open_of_a_day_that_is_sealed_is_closed_behind_the_floor(
    state: State, shard: int
) -> None:
    await DayMarks(state, shard, _CREATED).touch([_ONE], 8)
    marks = DayMarks(state, shard, _CREATED)
    await marks.take_over([_ONE], 5)
    await marks.close_quiet(7, 0)
    assert await _mark(state, _ONE, shard) == [_CREATED, 8, True]
    await marks.close_quiet(8, 0)
    assert await _mark(state, _ONE, shard) == [_CREATED, 8, False]


async def test_a_closed_mark_of_a_day_that_is_sealed_stays_as_it_is(state: State, shard: int) -> None:
    marks = DayMarks(state, shard, _CREATED)
    await marks.touch([_ONE], 5)
    await marks.take_over([_ONE], 6)
    await marks.close_quiet(5, 0)
    before = await state.get_revised(mark_key(*_ONE, shard))
    assert before[0] == [_CREATED, 5, False]
    marks = DayMarks(state, shard, _CREATED)
    await marks.take_over([_ONE, _TWO], 9)
    await marks.close_quiet(9, 0)
    assert await state.get_revised(mark_key(*_ONE, shard)) == before
    assert await _mark(state, _TWO, shard) is None
