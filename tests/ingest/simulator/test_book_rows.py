"""Quotes and depth beside the trades: the same whatever is cut, killed, started again or of the past."""

import hashlib
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator.book_rows import BookRows
from ingest.simulator.timeline import HISTORY_BOOK_RATE, Profile, Timeline, resume_timeline, start_timeline
from ingest.simulator.trades import Simulator
from ingest.validation import invalid_rows
from tapehouse.clock import DAY, HOUR, SECOND
from tapehouse.model import DEPTH, QUOTES, TRADES
from tapehouse.stream.wire import pack
from tests.ingest.simulator.books import different, emitted, frame, outside, replayed, whole

NOW = 1_723_161_600_000_000_000
PROFILE = Profile(symbols=12, late=0.1, duplicates=0.1)


def test_the_first_rows_are_these() -> None:
    """Fails when anything changes what is simulated: homes that exist would contradict themselves."""
    timeline = start_timeline(Profile(symbols=20), 1_000, NOW, quotes=100, depth=200)
    rows = BookRows(Simulator(timeline)).batches(0, 20_000)
    by_kind = {QUOTES: hashlib.sha256(), DEPTH: hashlib.sha256()}
    for batch in rows:
        by_kind[batch.kind].update(pack(batch))
    assert [found.hexdigest()[:16] for found in by_kind.values()] == ["16dd540a5f872b42", "333c3fe897b65fe5"]


def test_trades_are_the_same_with_and_without_them() -> None:
    trades = [
        Simulator(start_timeline(PROFILE, 1_000, NOW, quotes=quotes, depth=depth)).batch(0, 20_000)
        for quotes, depth in ((0, 0), (50, 70))
    ]
    assert pack(trades[0]) == pack(trades[1])


@given(st.lists(st.integers(0, 9_000), max_size=8), st.sampled_from((1, 1_000, 100_000)))
@settings(max_examples=12, deadline=None)
def test_cuts_and_their_order_change_nothing(cuts: list[int], rate: int) -> None:
    timeline = start_timeline(PROFILE, rate, NOW, quotes=max(rate // 10, 1), depth=max(rate // 5, 1))
    uncut = whole(timeline, 0, 9_000)
    rows = BookRows(Simulator(timeline))
    bounds = sorted({0, 9_000, *cuts})
    batches = [
        batch for start, stop in reversed(list(pairwise(bounds))) for batch in rows.batches(start, stop)
    ]
    for kind in (QUOTES, DEPTH):
        cut = [batch for batch in batches if batch.kind is kind]
        assert sum(batch.rows for batch in cut) == len(uncut[kind.name])
        assert different(frame(cut)) == uncut[kind.name]


@pytest.mark.parametrize("rate", [1, 1_000, 100_000])
def test_nothing_is_emitted_before_it_happened(rate: int) -> None:
    timeline = start_timeline(PROFILE, rate, NOW, quotes=300, depth=300)
    trades = Simulator(timeline)
    rows, position = BookRows(trades), 0
    for step in range(1, 20):
        now = NOW + step * SECOND * 3 // 7
        due = min(trades.due(position, now), position + 20_000)
        for batch in rows.batches(position, due):
            assert (batch.array("ts_recv") <= now).all()
            assert (batch.array("ts_event") < batch.array("ts_recv")).all()
            assert not invalid_rows(batch, now)
        position = due
    assert position >= 8


BOOK_RATES = st.sampled_from(((0, 0), (5, 0), (0, 40), (40, 40), (200, 30), (7, 90)))
RATES = st.sampled_from((1, 50, 1_000, 40_000))


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_kills_lose_nothing_and_contradict_nothing(data: st.DataObject) -> None:
    """Whatever a killed run had published beyond its checkpoint, the last timeline has it, the same.

    Whatever the rates of the runs were, no trade is outside of the quote in force, and no update is missing.
    """
    bound = data.draw(st.sampled_from((0, 1, 700, 5_000)))
    now, checkpoint = NOW, 0
    quotes, depth = data.draw(BOOK_RATES)
    timeline = start_timeline(PROFILE, data.draw(RATES), now, quotes=quotes, depth=depth)
    published: dict[str, set[tuple[object, ...]]] = {"trades": set(), "quotes": set(), "depth": set()}
    for _ in range(data.draw(st.integers(1, 4))):
        sim = Simulator(timeline)
        died = now + data.draw(st.integers(0, 20 * SECOND)) // max(1, timeline.rate // 1_000)
        reached = min(sim.due(checkpoint, died), checkpoint + 3_000)
        stored = data.draw(st.integers(max(checkpoint, reached - bound), reached))
        for kind, rows in whole(timeline, checkpoint, reached).items():
            published[kind] |= rows
        checkpoint = stored
        back = data.draw(st.integers(0, SECOND))
        now = max(NOW, died - back) + data.draw(st.sampled_from((0, SECOND, DAY)))
        quotes, depth = data.draw(BOOK_RATES)
        timeline = resume_timeline(
            timeline, checkpoint, bound, now, data.draw(RATES), quotes=quotes, depth=depth
        )
        assert Timeline.from_json(timeline.to_json()) == timeline
    end = timeline.segments[-1].first + min(2_000, 5 * timeline.rate)
    for kind, rows in whole(timeline, checkpoint, end).items():
        published[kind] |= rows
    assert published == whole(timeline, 0, end)
    _assert_sound(timeline, end)


def _assert_sound(timeline: Timeline, end: int) -> None:
    found = emitted(timeline, 0, end)
    trades, quotes, depth = (found.get(kind) for kind in (TRADES, QUOTES, DEPTH))
    assert trades is not None
    if quotes is not None:
        quoted = [
            pl.col("ts_event").is_between(segment.epoch_ns, following, closed="left")
            for segment, following in zip(
                timeline.segments, [*(later.epoch_ns for later in timeline.segments[1:]), 2**62], strict=True
            )
            if segment.quotes
        ]
        assert outside(trades.filter(pl.any_horizontal(quoted)), quotes).is_empty()
        assert quotes.n_unique(["symbol", "seq"]) == len(quotes)
    if depth is not None:
        for _, mine in depth.group_by("symbol"):
            assert len(list(replayed(mine))) == len(mine)


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_kills_while_a_history_is_published_change_nothing_in_it(data: st.DataObject) -> None:
    bound = 700
    now = NOW // DAY * DAY + data.draw(st.integers(0, HOUR))
    first = timeline = start_timeline(PROFILE, 1_000, now, 1, quotes=50, depth=50)
    checkpoint = start = first.history - 3_000
    published: dict[str, set[tuple[object, ...]]] = {"trades": set(), "quotes": set(), "depth": set()}
    for _ in range(data.draw(st.integers(1, 3))):
        sim = Simulator(timeline)
        now += data.draw(st.integers(0, 5 * SECOND))
        limit = min(max(timeline.history, checkpoint + bound), sim.due(checkpoint, now))
        reached = data.draw(st.integers(checkpoint, limit))
        for kind, rows in whole(timeline, checkpoint, reached).items():
            published[kind] |= rows
        low = max(checkpoint, reached - bound) if reached > timeline.history else checkpoint
        checkpoint = data.draw(st.integers(low, reached))
        now += data.draw(st.sampled_from((0, SECOND, DAY)))
        timeline = resume_timeline(timeline, checkpoint, bound, now, 1_000, quotes=50, depth=50)
    end = timeline.segments[-1].first + 1_000
    for kind, rows in whole(timeline, checkpoint, end).items():
        published[kind] |= rows
    assert published == whole(timeline, start, end)
    assert whole(timeline, start, first.history) == whole(first, start, first.history)


def test_a_history_has_fewer_rows_and_goes_over_into_live_ones() -> None:
    timeline = start_timeline(Profile(symbols=12), 1_000, NOW, 1, quotes=100, depth=100)
    past, live = timeline.segments
    assert (past.quotes, past.depth, live.quotes, live.depth) == (*[HISTORY_BOOK_RATE] * 2, 100, 100)
    found = emitted(timeline, timeline.history - 20_000, timeline.history + 5_000)
    quoted = found[TRADES].filter(pl.col("ts_event") > NOW - 1_500 * SECOND)
    assert outside(quoted, found[QUOTES]).is_empty()
    of_past = found[QUOTES].filter(pl.col("ts_event") < live.epoch_ns)
    assert abs(len(of_past) / (HISTORY_BOOK_RATE * 2_000) - 1) < 0.02
    btc = found[DEPTH].filter(symbol="BTCUSDT").sort("ts_event", "seq", "snapshot")
    followed = btc.slice(btc["snapshot"].arg_max())
    assert len(list(replayed(followed))) == len(followed) > 500


def test_batches_are_bounded_however_long_the_time_between_two_trades() -> None:
    timeline = start_timeline(PROFILE, 1, NOW, quotes=20_000, depth=20_000)
    sizes = [batch.rows for batch in BookRows(Simulator(timeline)).batches(0, 5)]
    assert max(sizes) < 3_000
    assert sum(sizes) > 80_000
