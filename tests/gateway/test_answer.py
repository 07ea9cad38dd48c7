"""Whole answers over both stores in memory, cut at any seam, and while days move: what one table of all rows gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import ahead, barpieces
from gateway.answer import Answer
from gateway.cursor import read_cursor
from gateway.query import Query
from tapehouse.clock import DAY, HOUR, MAX_TS, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import ACCOUNT_TRADES, TICKS, TRADES
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.gateway import oracle
from tests.gateway.queries import drawn
from tests.gateway.world import World
from tests.reads import whole

FIRST = parse_ns("2024-02-26")
LAST = FIRST + 7 * DAY
SYMBOLS = ("A", "B", "Ä")
ACCOUNTS = ("0", "1", "2")
_HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("_FIRST_ROWS", 3), ("_MOST_ROWS", 40), ("_WHOLE_ROWS", 5)):
        monkeypatch.setattr(ahead, name, size)
    for name, size in (("_FIRST_BARS", 30), ("_MOST_BARS", 400)):
        monkeypatch.setattr(barpieces, name, size)


def made(seed: int) -> dict[str, pl.DataFrame]:
    """Rows of every kind with ties, over a week that holds the end of a month; no seq follows the time."""
    chance = Random(seed)
    found = {}
    for place, kind in enumerate(TICKS):
        count = chance.choice([1, 20, 150])
        whole_batch = batch(kind, count, seed + place, start=FIRST, span=7 * DAY)
        times = [
            chance.choice([FIRST + chance.randrange(7) * DAY, FIRST + chance.randrange(7 * 24) * HOUR])
            + chance.choice([-1, 0, 0, 0, 1, chance.randrange(DAY)])
            for _ in range(count)
        ]
        more: dict[str, list[Any]] = {}
        if kind is ACCOUNT_TRADES:
            more = {
                "account_id": [chance.randrange(3) for _ in times],
                "id": chance.sample(range(count), count),
            }
        else:
            names = [chance.choice(SYMBOLS) for _ in times]
            more = {"symbol": names, "seq": chance.sample(range(count), count)}
        frame = as_frame(whole_batch).with_columns(
            pl.Series(kind.time, times, pl.Int64).cast(pl.Datetime("ns", "UTC")),
            *(pl.Series(name, values) for name, values in more.items()),
        )
        if kind is TRADES:
            # Multiples, so that sums do not depend on the order.
            prices = [
                pl.Series(name, [chance.randrange(1, 400) / 4 for _ in times]) for name in ("price", "size")
            ]
            frame = frame.with_columns(prices)
        found[kind.name] = frame.unique(kind.key)
    return found


def _query(chance: Random, held: dict[str, pl.DataFrame]) -> Query:
    return drawn(chance, held, "V", SYMBOLS, ACCOUNTS, FIRST, LAST)


@settings(max_examples=20, suppress_health_check=_HEALTH)
@given(chance=st.integers(0, 2**31).map(Random), seed=st.integers(0, 2**31))
def test_an_answer_is_the_same_wherever_the_seam_is(chance: Random, seed: int) -> None:
    held = made(seed)
    world = World(held)
    for kind in TICKS:
        world.hand_over(kind, chance.randrange(8))
        if chance.random() < 0.5:
            world.leave(kind)
    world.refresh()
    for _ in range(4):
        query = _query(chance, held)
        answer = Answer(query, world)
        found = whole(answer)
        oracle.assert_answers(found, oracle.answer(held, query, MAX_TS))
        _assert_told(answer, query, found)


def _assert_told(answer: Answer, query: Query, found: pl.DataFrame) -> None:
    """The segments have no hole; raw rows are counted where nothing more was looked at."""
    for before, behind in zip(answer.segments, answer.segments[1:], strict=False):
        assert before["end"] == behind["start"]
    if query.kind != "bars" and query.limit is None:
        assert sum(segment["rows"] for segment in answer.segments) == found.height


@settings(max_examples=20, suppress_health_check=_HEALTH)
@given(
    chance=st.integers(0, 2**31).map(Random),
    seed=st.integers(0, 2**31),
    often=st.sampled_from([0.05, 0.2, 0.6]),
)
def test_an_answer_is_the_same_while_days_move(chance: Random, seed: int, often: float) -> None:
    held = made(seed)
    world = World(held)
    world.moves(chance, often, LAST - chance.randrange(3) * DAY)
    for _ in range(4):
        query = _query(chance, held)
        world.moving = query.rows_kind
        answer = Answer(query, world)
        oracle.assert_answers(whole(answer), oracle.answer(held, query, MAX_TS))
        for before, behind in zip(answer.segments, answer.segments[1:], strict=False):
            assert before["end"] == behind["start"]


@settings(max_examples=15, suppress_health_check=_HEALTH)
@given(
    chance=st.integers(0, 2**31).map(Random), seed=st.integers(0, 2**31), often=st.sampled_from([0.0, 0.1])
)
def test_pages_by_cursor_put_together_are_the_whole(chance: Random, seed: int, often: float) -> None:
    held = made(seed)
    world = World(held)
    world.hand_over(TRADES, 2)
    world.refresh()
    world.moves(chance, often, LAST)
    query = replace(_query(chance, held), last=False, limit=None)
    world.moving = query.rows_kind
    expected = oracle.answer(held, query, MAX_TS)
    limit = chance.choice([1, 2, 7, 40, 500])
    pages = list(_pages(world, replace(query, limit=max(limit, expected.height // 20 + 1))))
    assert all(page.height == pages[0].height for page in pages[:-1])
    assert len(pages) == max(1, -(-expected.height // max(limit, expected.height // 20 + 1)))
    oracle.assert_answers(pl.concat(pages), expected)


def _pages(world: World, query: Query) -> Iterator[pl.DataFrame]:
    while True:
        answer = Answer(query, world)
        yield whole(answer)
        if answer.cursor is None:
            return
        query = replace(query, after=read_cursor(answer.cursor, query.kind))


def test_the_newest_rows_of_days_that_have_just_left() -> None:
    held = made(5)
    world = World(held)
    assert held["trades"].height > 20
    # The plan does not know of it.
    world.hand_over(TRADES, 4)
    world.leave(TRADES)
    for start in (0, FIRST, FIRST + DAY):
        for count in (1, 10, 10_000):
            query = Query("trades", "V", SYMBOLS, start, FIRST + 3 * DAY, limit=count, last=True)
            owners = World(held)
            owners.hand_over(TRADES, 4)
            owners.leave(TRADES)
            oracle.assert_answers(whole(Answer(query, owners)), oracle.answer(held, query, MAX_TS))


@pytest.mark.parametrize("seed", [0, 4, 6])
def test_filled_bars_of_days_that_have_just_left(seed: int) -> None:
    held = made(seed)
    for start in (FIRST, FIRST + DAY, FIRST + 2 * DAY):
        for more in ({}, {"limit": 50, "last": True}):
            query = Query("bars", "V", SYMBOLS, start, FIRST + 6 * DAY, "4h", "flat", **more)  # type: ignore[arg-type]
            owners = World(held)
            owners.hand_over(TRADES, 4)
            owners.leave(TRADES)
            oracle.assert_answers(whole(Answer(query, owners)), oracle.answer(held, query, MAX_TS))


def test_what_nobody_has_ever_had_is_empty_and_complete() -> None:
    world = World({})
    for query in (
        Query("trades", "V", ("A",), 0, MAX_TS),
        Query("trades", "V", ("A",), FIRST, FIRST + 1, limit=3),
        Query("trades", "V", ("A",), 0, MAX_TS, limit=3, last=True),
        Query("bars", "V", ("A",), FIRST, FIRST + DAY, "1m", "flat"),
        Query("bars", "V", ("A",), FIRST, FIRST + DAY, "1d", limit=3, last=True),
        # No bar begins in it.
        Query("bars", "V", ("A", "B"), FIRST + 1, FIRST + 2, "1d"),
        Query("bars", "V", ("A", "B"), FIRST + 1, FIRST + 2, "1d", "flat", limit=1, last=True),
    ):
        answer = Answer(query, world)
        assert whole(answer).height == 0
        assert answer.cursor is None


def test_nothing_is_looked_for_in_a_store_that_has_no_day_of_the_span() -> None:
    held = made(5)
    world = World(held)
    for kind in TICKS:
        world.hand_over(kind, 10)
    world.refresh()
    whole(Answer(Query("trades", "V", SYMBOLS, FIRST - DAY, FIRST + 3 * DAY), world))
    assert world.hot.asked == []
    assert Answer(Query("trades", "V", SYMBOLS, FIRST, LAST + 90 * DAY), world).next_store == "cold"
    assert Answer(Query("trades", "V", SYMBOLS, LAST + DAY, LAST + 90 * DAY), world).next_store == "hot"


def test_days_that_leave_for_ever_are_followed_so_often_and_no_more() -> None:
    held = made(5)
    world = World(held)
    left = [FIRST]

    def told() -> None:
        # Rows leave that nobody owns: their end is never reached.
        left[0] += HOUR // 4
        world.hot.leave(TRADES, left[0])
        world.hot.put(
            TRADES,
            held["trades"].head(1).with_columns(ts_event=pl.lit(left[0]).cast(pl.Datetime("ns", "UTC"))),
        )

    world.hot.told = told
    with pytest.raises(ConnectError, match="days leave the hot store faster than they can be read"):
        whole(Answer(Query("trades", "V", SYMBOLS, 0, MAX_TS), world))


def test_an_answer_that_is_given_up_reads_no_more() -> None:
    world = World(made(5))
    answer = Answer(Query("trades", "V", SYMBOLS, 0, MAX_TS), world)
    next(answer)
    asked = len(world.hot.asked)
    answer.close()
    assert list(answer) == []
    assert len(world.hot.asked) == asked
