import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator.timeline import Profile, Timeline, resume_timeline, start_timeline
from ingest.simulator.trades import Simulator
from ingest.validation import invalid_rows
from tapehouse.batch import Batch
from tapehouse.clock import DAY, HOUR, MILLISECOND, SECOND
from tapehouse.stream.wire import pack

NOW = 1_723_161_600_000_000_000
Tick = tuple[object, ...]


def ticks(batch: Batch) -> list[Tick]:
    columns = [batch.strings("symbol").to_list()]
    columns += [
        batch.array(name).tolist() for name in ("seq", "ts_event", "ts_recv", "price", "size", "side")
    ]
    return list(zip(*columns, strict=True))


def simulator(rate: int = 1_000, **profile: float) -> Simulator:
    return Simulator(start_timeline(Profile(**profile), rate, NOW))  # type: ignore[arg-type]


def test_the_first_ticks_are_these() -> None:
    """Fails when anything changes what is simulated: homes that exist would contradict themselves."""
    batch = simulator(symbols=20, late=0.1, duplicates=0.1).batch(0, 20_000)
    assert hashlib.sha256(pack(batch)).hexdigest()[:16] == "cffc8f31b2105576"


def test_another_process_makes_the_same() -> None:
    code = (
        "from ingest.simulator.trades import Simulator\n"
        "from ingest.simulator.timeline import Profile, start_timeline\n"
        "from tapehouse.stream.wire import pack\nimport hashlib\n"
        f"batch = Simulator(start_timeline(Profile(), 1_000, {NOW})).batch(10_000, 20_000)\n"
        "print(hashlib.sha256(pack(batch)).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(pack(simulator().batch(10_000, 20_000))).hexdigest()


@given(st.lists(st.integers(0, 30_000), max_size=8), st.sampled_from((1, 1_000, 1_000_000)))
@settings(max_examples=30, deadline=None)
def test_cuts_and_their_order_change_nothing(cuts: list[int], rate: int) -> None:
    whole = ticks(simulator(rate, late=0.1, duplicates=0.1).batch(0, 30_000))
    bounds = sorted({0, 30_000, *cuts})
    other = simulator(rate, late=0.1, duplicates=0.1)
    parts = {start: ticks(other.batch(start, stop)) for start, stop in reversed(list(pairwise(bounds)))}
    assert [tick for start in sorted(parts) for tick in parts[start]] == whole


@pytest.mark.parametrize("rate", [1, 1_000, 1_000_000])
@pytest.mark.parametrize("symbols", [1, 3, 200, 3_000])
def test_ids_count_from_1_without_gaps(rate: int, symbols: int) -> None:
    sim = simulator(rate, symbols=symbols, late=0.05, duplicates=0.05)
    blocks = 4
    found = sim.batch(0, blocks * sim.profile.block)
    later = 260 if rate == 1_000_000 and symbols < 3_000 else 80
    settled = sim.batch(blocks * sim.profile.block, (blocks + later) * sim.profile.block)
    both = Batch.concat([found, settled])
    keys = np.stack([both.strings("symbol").codes, both.array("seq")], axis=1)
    for code in np.unique(keys[:, 0])[:20].tolist():
        ids = np.unique(keys[keys[:, 0] == code, 1])
        first = np.unique(keys[: found.rows][keys[: found.rows, 0] == code, 1])
        assert ids[0] == 1
        assert (np.diff(ids)[: len(first)] == 1).all()
    assert len(np.unique(keys[:, 0])) == symbols


def test_a_hundred_thousand_symbols() -> None:
    sim = simulator(1_000_000, symbols=100_000, late=0)
    batch = sim.batch(0, sim.profile.block)
    assert len(set(batch.strings("symbol").codes.tolist())) == 100_000
    assert len(set(sim.instruments.names)) == 100_000
    assert batch.array("price").min() > 0


def test_rows_are_sound() -> None:
    batch = simulator().batch(0, 50_000)
    assert not invalid_rows(batch, NOW + 60 * SECOND)
    assert batch.array("size").min() > 0


@given(st.integers(0, 20_000), st.integers(-SECOND, 10 * SECOND))
@settings(max_examples=50, deadline=None)
def test_due_is_that_of_the_timeline(position: int, later: int) -> None:
    sim = simulator(4_000)
    assert sim.due(position, NOW + later) == sim.timeline.due(position, NOW + later)


@pytest.mark.parametrize("rate", [1, 1_000, 20_000, 1_000_000])
def test_nothing_is_emitted_before_it_happened(rate: int) -> None:
    sim = simulator(rate, late=0.1, duplicates=0.1)
    position = 0
    for step in range(1, 20):
        now = NOW + step * max(SECOND // 10, 3_000 * SECOND // rate // 10)
        due = sim.due(position, now)
        batch = sim.batch(position, due)
        assert (batch.array("ts_recv") <= now).all()
        assert (batch.array("ts_event") < batch.array("ts_recv")).all()
        position = due
    assert position > 1_000


def test_order_of_emission_is_that_of_receiving_but_for_duplicates() -> None:
    batch = simulator(20_000, late=0.2, duplicates=0).batch(0, 100_000)
    assert (np.diff(batch.array("ts_recv")) >= 0).all()
    seq, codes = batch.array("seq"), batch.strings("symbol").codes
    late = sum(int((np.diff(seq[codes == code]) < 0).sum()) for code in range(10))
    assert late > 100


@pytest.mark.parametrize(("late", "duplicates"), [(0.0, 0.0), (0.01, 0.005), (0.3, 0.2), (0.0, 0.5)])
def test_shares_are_as_set(late: float, duplicates: float) -> None:
    sim = simulator(4_096, late=late, duplicates=duplicates)
    batch = sim.batch(20 * 4_096, 60 * 4_096)
    rows = ticks(batch)
    assert abs(1 - len(set(rows)) / len(rows) - duplicates / (1 + duplicates)) < 0.01
    waits = batch.array("ts_recv") - batch.array("ts_event")
    assert abs((waits > 2 * MILLISECOND).mean() - late / (1 + duplicates)) < 0.01


@pytest.mark.parametrize("rate", [100, 10_000, 1_000_000])
def test_late_ticks_are_late_by_up_to_some_seconds(rate: int) -> None:
    sim = simulator(rate, late=0.1)
    start = 260 * sim.profile.block
    batch = sim.batch(start, start + 5 * sim.profile.block)
    waits = batch.array("ts_recv") - batch.array("ts_event")
    assert 500 * MILLISECOND < waits.max() < 10 * SECOND


def test_symbols_trade_unequally() -> None:
    batch = simulator().batch(0, 40_960)
    counts = np.sort(np.bincount(batch.strings("symbol").codes))
    assert counts[0] >= 1
    assert counts[-1] > 10 * np.median(counts)


def test_prices_move_like_prices() -> None:
    sim = simulator()
    at = NOW + np.arange(0, 60 * DAY, HOUR)
    changes = []
    for code in range(60):
        codes = np.full(len(at), code, np.int32)
        prices = sim.instruments.prices(codes, at, np.zeros(len(at), np.int8))
        assert prices.min() > 0
        changes.append(np.diff(np.log(prices[::24])).std())
    assert 0.01 < np.median(changes) < 0.06
    assert max(changes) < 0.15


def test_prices_do_not_jump() -> None:
    sim = simulator()
    at = NOW + np.arange(0, 100 * SECOND, 100 * MILLISECOND)
    prices = sim.instruments.prices(np.zeros(len(at), np.int32), at, np.zeros(len(at), np.int8))
    assert np.abs(np.diff(np.log(prices))).max() < 0.001
    assert len(np.unique(prices)) > 50


def test_prices_lie_on_their_grid() -> None:
    batch = simulator().batch(0, 20_000)
    for price, size in zip(batch.array("price").tolist(), batch.array("size").tolist(), strict=True):
        assert len(f"{price!r}".replace(".", "").strip("0")) <= 9
        assert len(f"{size!r}".replace(".", "").strip("0")) <= 9


RATES = st.sampled_from((1, 50, 1_000, 40_000, 1_000_000))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_kills_lose_nothing_and_contradict_nothing(data: st.DataObject) -> None:
    """Whatever a killed run had published beyond its checkpoint, the last timeline has it, the same."""
    bound = data.draw(st.sampled_from((0, 1, 700, 20_000)))
    now, checkpoint = NOW, 0
    timeline = start_timeline(Profile(symbols=30, late=0.1, duplicates=0.1), data.draw(RATES), now)
    published: set[Tick] = set()
    for _ in range(data.draw(st.integers(1, 5))):
        sim = Simulator(timeline)
        died = now + data.draw(st.integers(0, 20 * SECOND)) // max(1, timeline.rate // 1_000)
        reached = min(sim.due(checkpoint, died), checkpoint + 30_000)
        stored = data.draw(st.integers(max(checkpoint, reached - bound), reached))
        published.update(ticks(sim.batch(checkpoint, reached)))
        assert reached <= stored + bound
        checkpoint = stored
        back = data.draw(st.integers(0, SECOND))
        now = max(NOW, died - back) + data.draw(st.sampled_from((0, SECOND, DAY)))
        timeline = resume_timeline(timeline, checkpoint, bound, now, data.draw(RATES))
        assert Timeline.from_json(timeline.to_json()) == timeline
    last = Simulator(timeline)
    end = timeline.segments[-1].first + 5_000
    published.update(ticks(last.batch(checkpoint, end)))
    assert published == set(ticks(last.batch(0, end)))
    by_key: dict[tuple[object, object], tuple[object, ...]] = {}
    for symbol, seq, ts_event, *values in published:
        assert by_key.setdefault((symbol, seq), (ts_event, *values)) == (ts_event, *values)


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_kills_while_a_history_is_published_change_nothing_in_it(data: st.DataObject) -> None:
    """As the feed does: without a limit up to the end of the history, by the bound from there on."""
    bound, rates = 700, st.sampled_from((1, 1_000, 40_000))
    now = NOW // DAY * DAY + data.draw(st.integers(0, HOUR))
    profile = Profile(symbols=30, late=0.1, duplicates=0.1)
    first = timeline = start_timeline(profile, data.draw(rates), now, 1)
    # Positions far below the end are like any others: the kills are put around it.
    checkpoint = start = first.history - 6_000
    published: set[Tick] = set()
    for _ in range(data.draw(st.integers(1, 4))):
        sim = Simulator(timeline)
        now += data.draw(st.integers(0, 5 * SECOND))
        limit = min(max(timeline.history, checkpoint + bound), sim.due(checkpoint, now))
        reached = data.draw(st.integers(checkpoint, limit))
        published.update(ticks(sim.batch(checkpoint, reached)))
        # The bound counts from what was saved before the run's last tick, the history needs none.
        low = max(checkpoint, reached - bound) if reached > timeline.history else checkpoint
        checkpoint = data.draw(st.integers(low, reached))
        now += data.draw(st.sampled_from((0, SECOND, DAY)))
        timeline = resume_timeline(timeline, checkpoint, bound, now, data.draw(rates))
    last = Simulator(timeline)
    end = timeline.segments[-1].first + 1_000
    published.update(ticks(last.batch(checkpoint, end)))
    assert published == set(ticks(last.batch(start, end)))
    assert ticks(last.batch(start, first.history)) == ticks(Simulator(first).batch(start, first.history))


def test_a_history_goes_over_into_live_ticks_without_a_hole() -> None:
    first = start_timeline(Profile(symbols=30, late=0.1, duplicates=0), 1_000, NOW, 1)
    start, stop = first.history - 20_000, first.history + 20_000
    batch = Simulator(first).batch(start, stop)
    assert not invalid_rows(batch, NOW + 60 * SECOND)
    found = set(ticks(batch))
    assert len(found) == batch.rows
    punctual = Simulator(replace(first, profile=replace(first.profile, late=0.0)))
    # What was late before the start or is withheld behind the stop is the same in kind on both sides.
    whole = {tick[:3] for tick in ticks(punctual.batch(start + 3_000, stop - 3_000))}
    assert whole <= {tick[:3] for tick in found}
    assert sum(tick[2] < NOW for tick in whole) == 17_000  # type: ignore[operator]
