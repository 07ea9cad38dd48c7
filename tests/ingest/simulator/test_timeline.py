import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.simulator.timeline import (
    CLOCK_SETBACK_MARGIN,
    HISTORY_RATE,
    Profile,
    Segment,
    Timeline,
    resume_timeline,
    start_timeline,
)
from tapehouse.clock import DAY, MILLISECOND, SECOND
from tapehouse.errors import UsageError

NOW = 1_723_161_600_000_000_000
RATES = st.one_of(st.integers(1, 1_000_000), st.sampled_from((1, 2, 7, 1_000, 999_983, 1_000_000)))


@given(RATES, st.integers(0, 10**6), st.integers(0, 10**12))
@settings(max_examples=50, deadline=None)
def test_times_never_fall(rate: int, block: int, seed: int) -> None:
    timeline = start_timeline(Profile(seed=seed), rate, NOW)
    times = np.concatenate((timeline.block_times(block), timeline.block_times(block + 1)))
    assert (np.diff(times) >= 0).all()
    received = timeline.received(times)
    assert (np.diff(received) >= 0).all()
    assert (received - times >= MILLISECOND // 5).all()
    assert (received - times <= MILLISECOND * 1.2).all()


@pytest.mark.parametrize("rate", [1, 3, 4_096, 50_000])
def test_every_second_has_its_count(rate: int) -> None:
    timeline = start_timeline(Profile(ties=0), rate, NOW)
    times = np.concatenate([timeline.block_times(block) for block in range(rate * 3 // 4096 + 2)])
    counts = np.bincount((times - NOW) // SECOND)
    assert (counts[: len(times) // rate] == rate).all()


def test_seconds_have_bursts() -> None:
    timeline = start_timeline(Profile(ties=0), 50_000, NOW)
    gaps = np.diff(np.concatenate([timeline.block_times(block) for block in range(13)]))
    assert gaps.max() > 2 * gaps.min()


def test_ties_are_as_many_as_set() -> None:
    for share in (0.0, 0.2, 0.5):
        timeline = start_timeline(Profile(ties=share), 1_000, NOW)
        times = np.concatenate([timeline.block_times(block) for block in range(20)])
        assert abs((np.diff(times) == 0).mean() - share) < 0.01


@given(RATES, st.integers(0, 10**7), st.integers(-5 * SECOND, 3600 * SECOND))
@settings(max_examples=50, deadline=None)
def test_due_is_the_first_position_received_later(rate: int, position: int, later: int) -> None:
    timeline = start_timeline(Profile(), rate, NOW)
    due = timeline.due(position, NOW + later)

    def received(place: int) -> int:
        block, within = divmod(place, timeline.profile.block)
        return int(timeline.received(timeline.block_times(block))[within])

    assert due >= position
    assert received(due) > NOW + later
    assert due == position or received(due - 1) <= NOW + later


@pytest.mark.parametrize("history_days", [0, 2])
def test_json_and_back(history_days: int) -> None:
    timeline = resume_timeline(
        start_timeline(Profile(seed=5, ties=0.1), 10, NOW, history_days), 1_000, 100, NOW + DAY, 20
    )
    assert Timeline.from_json(timeline.to_json()) == timeline


def test_a_file_without_a_history_has_none() -> None:
    text = b'{"version":1,"seed":5,"segments":[[0,7,1]]}'
    assert Timeline.from_json(text) == Timeline(Profile(seed=5), (Segment(0, 7, 1),))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version":2}',
        b'{"version":1,"segments":[]}',
        b'{"version":1,"segments":[[1,0,1]]}',
        b'{"version":1,"segments":[[0,0,0]]}',
        b'{"version":1,"segments":[[0,0,1]],"odd":1}',
        b'{"version":1,"segments":[[0,0,1,-1,0]]}',
        b'{"version":1,"segments":[[0,0,1,0,0,0]]}',
        b'{"version":1,"segments":[[0,0,1]],"history":1}',
        b"\xff",
    ],
)
def test_other_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"[Ee]xpect|decode"):
        Timeline.from_json(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbols": 0},
        {"symbols": 100_001},
        {"late": -0.1},
        {"late": 0.6},
        {"ties": 2.0},
        {"duplicates": float("nan")},
    ],
)
def test_profiles_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Profile(**wrong)  # type: ignore[arg-type]


def test_rates_out_of_bounds_are_refused() -> None:
    for rate in (0, 1_000_001):
        with pytest.raises(UsageError, match="expected 1 to 1,000,000 a second"):
            Segment(0, NOW, rate)


def test_rates_of_books_out_of_bounds_are_refused() -> None:
    for rates in ({"quotes": -1}, {"depth": 100_001}):
        with pytest.raises(UsageError, match="expected 0 to 100,000 a second"):
            Segment(0, NOW, 1, **rates)


def test_a_restart_may_have_other_rates() -> None:
    timeline = start_timeline(Profile(), 1_000, NOW, quotes=5, depth=7)
    again = resume_timeline(timeline, 1_000, 0, NOW + DAY, 50, quotes=0, depth=9)
    assert again.segments == (Segment(0, NOW, 1_000, 5, 7), Segment(1_000, NOW + DAY, 50, 0, 9))
    assert Timeline.from_json(again.to_json()) == again


def test_a_week_of_downtime_is_not_caught_up() -> None:
    timeline = start_timeline(Profile(), 1_000, NOW)
    stopped = timeline.due(0, NOW + 10 * SECOND)
    later = resume_timeline(timeline, stopped - 500, 2_000, NOW + 7 * DAY, 1_000)
    assert later.segments[-1] == Segment(stopped + 1_500, NOW + 7 * DAY, 1_000)
    assert later.due(stopped, NOW + 7 * DAY + SECOND) <= stopped + 1_500 + 1_000


def test_a_quick_restart_switches_at_what_was_due() -> None:
    timeline = start_timeline(Profile(ties=0), 1_000, NOW)
    again = resume_timeline(timeline, 9_000, 10**9, NOW + 10 * SECOND, 50)
    switch = again.segments[-1]
    assert switch.first == timeline.due(0, NOW + 10 * SECOND + CLOCK_SETBACK_MARGIN)
    assert NOW + 10 * SECOND <= switch.epoch_ns <= NOW + 10 * SECOND + CLOCK_SETBACK_MARGIN
    assert switch.rate == 50


def test_a_segment_that_never_began_is_replaced() -> None:
    timeline = resume_timeline(start_timeline(Profile(), 1_000, NOW), 1_000, 0, NOW + DAY, 1_000)
    again = resume_timeline(timeline, 1_000, 0, NOW + 2 * DAY, 1_000)
    assert again.segments == (Segment(0, NOW, 1_000), Segment(1_000, NOW + 2 * DAY, 1_000))


def test_a_clock_far_behind_is_refused() -> None:
    timeline = start_timeline(Profile(), 1_000, NOW)
    with pytest.raises(
        UsageError, match="clock: expected a time after the last simulated tick, 2024-08-09T00:"
    ):
        resume_timeline(timeline, 1_000_000, 10, NOW + SECOND, 1_000)


@given(st.integers(1, 30), st.integers(0, DAY - 1), RATES)
@settings(max_examples=30, deadline=None)
def test_a_history_begins_at_midnight_and_ends_where_the_live_ticks_begin(
    days: int, since_midnight: int, rate: int
) -> None:
    midnight = NOW // DAY * DAY
    now = midnight + since_midnight
    timeline = start_timeline(Profile(), rate, now, days)
    past, live = timeline.segments
    assert past == Segment(0, midnight - days * DAY, HISTORY_RATE)
    assert live == Segment(timeline.history, now, rate)
    assert abs(timeline.history - (days * DAY + since_midnight) * HISTORY_RATE / SECOND) <= HISTORY_RATE
    assert timeline.due(0, now) == timeline.history
    block = timeline.history // timeline.profile.block
    around = [timeline.block_times(number) for number in range(max(block - 1, 0), block + 2)]
    times = np.concatenate(around)
    assert (np.diff(times) >= 0).all()
    at = timeline.history - max(block - 1, 0) * timeline.profile.block
    assert (times[:at] < now).all()
    assert (times[at:] >= now).all()
    assert timeline.block_times(0)[0] == midnight - days * DAY


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_history_stays_whole_whenever_it_is_cut_off(data: st.DataObject) -> None:
    timeline = whole = start_timeline(Profile(), 1_000, NOW, 3)
    checkpoint, now = 0, NOW
    for _ in range(data.draw(st.integers(1, 4))):
        now += data.draw(st.integers(0, 3 * DAY))
        # No position is stored before it is due.
        last = min(whole.history + 10_000, timeline.due(checkpoint, now))
        checkpoint = data.draw(st.integers(checkpoint, max(checkpoint, last)))
        timeline = resume_timeline(timeline, checkpoint, 5_000, now, data.draw(RATES))
        assert timeline.history == whole.history
        assert timeline.segments[0] == whole.segments[0]
        assert timeline.segments[1].first == whole.history
        assert timeline.due(checkpoint, now) >= whole.history
