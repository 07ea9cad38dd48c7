"""Whole answers over both stores in memory, cut at any seam, and while days move: what one table of all rows gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.answers import answer, bars, read_ahead
from gateway.answers.answer import QueryAnswer
from gateway.answers.cursor import decode_cursor
from gateway.query import Query
from tapehouse.clock import DAY, HOUR, MAX_TS, SECOND, parse_interval, parse_ns
from tapehouse.errors import ConnectError, UsageError
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
    for name, size in (("_FIRST_ROWS", 3), ("_MAX_PAGE_ROWS", 40), ("_SINGLE_PAGE_ROWS", 5)):
        monkeypatch.setattr(read_ahead, name, size)
    for name, size in (("_FIRST_BARS", 30), ("_MAX_BARS", 400), ("_ASKED_WHOLE", 3 * DAY)):
        monkeypatch.setattr(bars, name, size)


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
                "trx_amount": oracle.amounts(chance, count),
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
        answer = QueryAnswer(query, world)
        found = whole(answer)
        oracle.assert_answers(found, oracle.answer(held, query, MAX_TS))
        _assert_told(answer, query, found)


def _assert_told(answer: QueryAnswer, query: Query, found: pl.DataFrame) -> None:
    """The segments have no hole; raw rows are counted where nothing more was looked at."""
    for before, behind in zip(answer.segments, answer.segments[1:], strict=False):
        assert before["end"] == behind["start"]
    if query.interval is None and query.limit is None:
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
        world.moving = query.source_kind
        answer = QueryAnswer(query, world)
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
    world.moving = query.source_kind
    expected = oracle.answer(held, query, MAX_TS)
    limit = chance.choice([1, 2, 7, 40, 500])
    pages = list(_pages(world, replace(query, limit=max(limit, expected.height // 20 + 1))))
    assert all(page.height == pages[0].height for page in pages[:-1])
    assert len(pages) == max(1, -(-expected.height // max(limit, expected.height // 20 + 1)))
    oracle.assert_answers(pl.concat(pages), expected)


def _pages(world: World, query: Query) -> Iterator[pl.DataFrame]:
    while True:
        answer = QueryAnswer(query, world)
        yield whole(answer)
        if answer.cursor is None:
            return
        query = replace(query, after=decode_cursor(answer.cursor, query.kind))


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
            registry = World(held)
            registry.hand_over(TRADES, 4)
            registry.leave(TRADES)
            oracle.assert_answers(whole(QueryAnswer(query, registry)), oracle.answer(held, query, MAX_TS))


@pytest.mark.parametrize("seed", [0, 4, 6])
def test_filled_bars_of_days_that_have_just_left(seed: int) -> None:
    held = made(seed)
    for start in (FIRST, FIRST + DAY, FIRST + 2 * DAY):
        for more in ({}, {"limit": 50, "last": True}):
            query = Query("bars", "V", SYMBOLS, start, FIRST + 6 * DAY, "4h", "flat", **more)  # type: ignore[arg-type]
            registry = World(held)
            registry.hand_over(TRADES, 4)
            registry.leave(TRADES)
            oracle.assert_answers(whole(QueryAnswer(query, registry)), oracle.answer(held, query, MAX_TS))


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
        answer = QueryAnswer(query, world)
        assert whole(answer).height == 0
        assert answer.cursor is None


def test_nothing_is_looked_for_in_a_store_that_has_no_day_of_the_span() -> None:
    held = made(5)
    world = World(held)
    for kind in TICKS:
        world.hand_over(kind, 10)
    world.refresh()
    whole(QueryAnswer(Query("trades", "V", SYMBOLS, FIRST - DAY, FIRST + 3 * DAY), world))
    assert world.hot.asked == []
    assert QueryAnswer(Query("trades", "V", SYMBOLS, FIRST, LAST + 90 * DAY), world).next_tier == "cold"
    assert QueryAnswer(Query("trades", "V", SYMBOLS, LAST + DAY, LAST + 90 * DAY), world).next_tier == "hot"


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
        whole(QueryAnswer(Query("trades", "V", SYMBOLS, 0, MAX_TS), world))


def test_an_answer_that_is_given_up_reads_no_more() -> None:
    world = World(made(5))
    answer = QueryAnswer(Query("trades", "V", SYMBOLS, 0, MAX_TS), world)
    next(answer)
    asked = len(world.hot.asked)
    answer.close()
    assert list(answer) == []
    assert len(world.hot.asked) == asked


def test_bars_from_1970_on_cost_what_the_days_with_rows_cost() -> None:
    rows = as_frame(batch(TRADES, 3, 1, start=FIRST, span=1)).with_columns(
        pl.Series("ts_event", [parse_ns(day) for day in ("2008-03-01", "2016-02-29", "2024-02-28")]).cast(
            pl.Datetime("ns", "UTC")
        ),
        symbol=pl.lit("A"),
    )
    world = World({"trades": rows})
    venue = rows["venue"][0]
    for interval in ("15s", "1d"):
        query = Query("bars", venue, ("A",), 0, MAX_TS, interval=interval)
        world.hot.asked.clear()
        assert whole(QueryAnswer(query, world))["trades"].sum() == int((rows["flags"] & 3 == 0).sum())
        assert len(world.hot.asked) <= 4


def _trades_at(*times: str, symbol: str = "A") -> pl.DataFrame:
    """Trades of one symbol of the venue V that count in bars."""
    rows = as_frame(batch(TRADES, len(times), 1, venue="V", start=FIRST, span=1))
    return rows.with_columns(
        pl.Series("ts_event", [parse_ns(at) for at in times]).cast(pl.Datetime("ns", "UTC")),
        seq=pl.int_range(len(times)),
        symbol=pl.lit(symbol),
        flags=pl.lit(0, pl.Int16),
    )


def test_a_bar_is_final_when_its_interval_ended_the_grace_time_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = parse_ns("2024-03-01T12:00:00Z")
    rows = _trades_at("2024-03-01T10:00:01Z", "2024-03-01T11:00:01Z", "2024-03-01T11:59:59Z")
    world = World({"trades": rows})

    def asked(now: int, **more: Any) -> pl.DataFrame:
        monkeypatch.setattr(answer, "now_ns", lambda: now)
        query = Query.from_user(
            "bars", venue="V", symbols="A", **{"start": "2024-03-01", "interval": "1h"} | more
        )
        return whole(QueryAnswer(query, world, grace_ns=2 * SECOND))

    assert asked(noon + 2 * SECOND - 1)["final"].to_list() == [True, False]
    assert asked(noon + 2 * SECOND)["final"].to_list() == [True, True]
    before = noon + SECOND
    for more in ({}, {"last": 5}, {"fill": "flat"}, {"last": 1}, {"interval": "15s"}, {"interval": "1d"}):
        known = asked(before, **more)
        assert asked(before, open=False, **more).equals(
            known.filter("final") if more != {"last": 1} else asked(before, last=2).head(1)
        ), more
        assert asked(noon + DAY, **more)["final"].all() or "fill" in more
    assert asked(before, columns=("close", "final")).columns == ["close", "final"]
    assert asked(before, columns=("close",)).columns == ["close"]
    # No bar of the span is final.
    for fill in ("none", "flat"):
        assert asked(before, start="2024-03-01T11:00:00Z", open=False, fill=fill).is_empty()
        assert asked(before, start="2024-03-01T11:30:00Z", open=False, fill=fill, last=3).is_empty()


def test_the_last_rows_are_so_many_of_each_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    rare = _trades_at("2024-02-26T01:00:00Z", "2024-02-27T01:00:00Z", "2024-02-28T01:00:00Z", symbol="B")
    often = _trades_at(*(f"2024-03-01T00:00:{second:02}Z" for second in range(50)), symbol="Ä")
    held = {"trades": pl.concat([rare, often])}
    world = World(held)
    world.hand_over(TRADES, 2)
    world.leave(TRADES)
    world.refresh()
    for more in ({}, {"interval": "15s"}, {"interval": "1d"}, {"interval": "15s", "fill": "flat"}):
        kind = "bars" if more else "trades"
        query = Query.from_user(kind, venue="V", symbols=("Ä", "B", "none"), last=2, end="2024-03-02", **more)
        found = QueryAnswer(query, world)
        rows = whole(found)
        oracle.assert_answers(rows, oracle.answer(held, query, MAX_TS))
        assert rows.group_by("symbol").len().sort("symbol").rows()[0] == ("B", 2)
        stores = [segment["store"] for segment in found.segments]
        assert stores[-1] == "questdb"
        for before, behind in pairwise(found.segments):
            assert before["end"] == behind["start"]
        if kind == "trades":
            assert sum(segment["rows"] for segment in found.segments) == rows.height == 4
    with pytest.raises(UsageError, match="last: expected at most 10,000 of each of 100, was 10,001"):
        Query.from_user("trades", venue="V", symbols=[str(name) for name in range(100)], last=10_001)


def test_the_month_that_is_open_is_whole_also_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest month has 28 days; this one's last trade is of its 30th."""
    monkeypatch.setattr(bars, "now_ns", lambda: parse_ns("2024-03-31T12:00:00Z"))
    rows = as_frame(batch(TRADES, 2, 1, start=FIRST, span=1)).with_columns(
        pl.Series("ts_event", [parse_ns(day) for day in ("2024-03-02", "2024-03-30")]).cast(
            pl.Datetime("ns", "UTC")
        ),
        symbol=pl.lit("A"),
        flags=pl.lit(0, pl.Int16),
    )
    world = World({"trades": rows})
    for more in ({}, {"last": True, "limit": 5}):
        query = Query(
            "bars",
            rows["venue"][0],
            ("A",),
            parse_ns("2024-01-01"),
            MAX_TS,
            interval="1M",
            fill="flat",
            **more,
        )
        found = whole(QueryAnswer(query, world))
        assert found["trades"].to_list() == [2]


@pytest.mark.parametrize("more", [{}, {"fill": "flat"}, {"limit": 3, "last": True}])
def test_bars_of_a_custom_interval_are_whole_over_the_seam(more: dict[str, Any]) -> None:
    """One of 7m lies over the midnight of the seam, with trades on both sides, those after it with lower seqs."""
    times = [f"2024-02-27T23:{minute}:{second}Z" for minute in (40, 51, 58, 59) for second in (10, 50)]
    rows = _trades_at("2024-02-28T00:00:05Z", "2024-02-28T00:01:59Z", "2024-02-28T02:00:00Z", *times)
    world = World({"trades": rows})
    world.hand_over(TRADES, 1)
    world.leave(TRADES)
    world.refresh()
    interval = parse_interval("7m")
    seam = parse_ns("2024-02-28")
    assert interval.start_of(seam) < seam
    query = Query("bars", "V", ("A",), parse_ns("2024-02-27"), parse_ns("2024-02-28T03:00:00Z"), "7m", **more)
    answered = QueryAnswer(query, world)
    found = whole(answered)
    oracle.assert_answers(found, oracle.answer({"trades": rows}, query, MAX_TS))
    assert [segment["store"] for segment in answered.segments] == ["clickhouse", "questdb"]
    if not more:
        [over] = found.filter(oracle.within("ts", interval.start_of(seam), seam)).rows(named=True)
        assert (over["seq_first"], over["seq_last"], over["trades"]) == (0, 10, 6)
        assert (over["open"], over["close"]) == (rows["price"][0], rows["price"][10])
    closed = whole(QueryAnswer(replace(query, open=False), world))
    assert closed["final"].all()


def test_a_span_of_a_custom_interval_is_bounded_by_the_bars_that_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    days = [parse_ns("2020-01-01") + day * DAY for day in range(400)]
    rows = as_frame(batch(TRADES, 400, 1, venue="V", start=FIRST, span=1)).with_columns(
        pl.Series("ts_event", days).cast(pl.Datetime("ns", "UTC")),
        symbol=pl.lit("A"),
        flags=pl.lit(0, pl.Int16),
        seq=pl.int_range(400),
    )
    world = World({"trades": rows})
    monkeypatch.setattr(bars, "_MAX_BARS", 20_000)
    query = Query("bars", "V", ("A",), days[0], days[-1] + DAY, "1439m", "flat")
    oracle.assert_answers(whole(QueryAnswer(query, world)), oracle.answer({"trades": rows}, query, MAX_TS))
    spans = [asked.split()[1:] for asked in world.hot.asked]
    # 20,000 bars of 1 minute are 14 days.
    assert max(int(end) - int(start) for start, end in spans) <= 15 * DAY
