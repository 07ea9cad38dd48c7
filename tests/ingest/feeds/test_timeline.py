import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.feeds.timeline import MARGIN, Profile, Segment, Timeline, begin, resume
from tapehouse.clock import DAY, MILLISECOND, SECOND
from tapehouse.errors import UsageError

NOW = 1_723_161_600_000_000_000
RATES = st.one_of(st.integers(1, 1_000_000), st.sampled_from((1, 2, 7, 1_000, 999_983, 1_000_000)))


@given(RATES, st.integers(0, 10**6), st.integers(0, 10**12))
@settings(max_examples=50, deadline=None)
def test_times_never_fall(rate: int, block: int, seed: int) -> None:
    timeline = begin(Profile(seed=seed), rate, NOW)
    times = np.concatenate((timeline.block_times(block), timeline.block_times(block + 1)))
    assert (np.diff(times) >= 0).all()
    received = timeline.received(times)
    assert (np.diff(received) >= 0).all()
    assert (received - times >= MILLISECOND // 5).all()
    assert (received - times <= MILLISECOND * 1.2).all()


@pytest.mark.parametrize("rate", [1, 3, 4_096, 50_000])
def test_every_second_has_its_count(rate: int) -> None:
    timeline = begin(Profile(ties=0), rate, NOW)
    times = np.concatenate([timeline.block_times(block) for block in range(rate * 3 // 4096 + 2)])
    counts = np.bincount((times - NOW) // SECOND)
    assert (counts[: len(times) // rate] == rate).all()


def test_seconds_have_bursts() -> None:
    timeline = begin(Profile(ties=0), 50_000, NOW)
    gaps = np.diff(np.concatenate([timeline.block_times(block) for block in range(13)]))
    assert gaps.max() > 2 * gaps.min()


def test_ties_are_as_many_as_set() -> None:
    for share in (0.0, 0.2, 0.5):
        timeline = begin(Profile(ties=share), 1_000, NOW)
        times = np.concatenate([timeline.block_times(block) for block in range(20)])
        assert abs((np.diff(times) == 0).mean() - share) < 0.01


@given(RATES, st.integers(0, 10**7), st.integers(-5 * SECOND, 3600 * SECOND))
@settings(max_examples=50, deadline=None)
def test_due_is_the_first_position_received_later(rate: int, position: int, later: int) -> None:
    timeline = begin(Profile(), rate, NOW)
    due = timeline.due(position, NOW + later)

    def received(place: int) -> int:
        block, within = divmod(place, timeline.profile.block)
        return int(timeline.received(timeline.block_times(block))[within])

    assert due >= position
    assert received(due) > NOW + later
    assert due == position or received(due - 1) <= NOW + later


def test_json_and_back() -> None:
    timeline = resume(begin(Profile(seed=5, ties=0.1), 10, NOW), 1_000, 100, NOW + DAY, 20)
    assert Timeline.from_json(timeline.to_json()) == timeline


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


def test_a_week_of_downtime_is_not_caught_up() -> None:
    timeline = begin(Profile(), 1_000, NOW)
    stopped = timeline.due(0, NOW + 10 * SECOND)
    later = resume(timeline, stopped - 500, 2_000, NOW + 7 * DAY, 1_000)
    assert later.segments[-1] == Segment(stopped + 1_500, NOW + 7 * DAY, 1_000)
    assert later.due(stopped, NOW + 7 * DAY + SECOND) <= stopped + 1_500 + 1_000


def test_a_quick_restart_switches_at_what_was_due() -> None:
    timeline = begin(Profile(ties=0), 1_000, NOW)
    again = resume(timeline, 9_000, 10**9, NOW + 10 * SECOND, 50)
    switch = again.segments[-1]
    assert switch.first == timeline.due(0, NOW + 10 * SECOND + MARGIN)
    assert NOW + 10 * SECOND <= switch.epoch_ns <= NOW + 10 * SECOND + MARGIN
    assert switch.rate == 50


def test_a_segment_that_never_began_is_replaced() -> None:
    timeline = resume(begin(Profile(), 1_000, NOW), 1_000, 0, NOW + DAY, 1_000)
    again = resume(timeline, 1_000, 0, NOW + 2 * DAY, 1_000)
    assert again.segments == (Segment(0, NOW, 1_000), Segment(1_000, NOW + 2 * DAY, 1_000))


def test_a_clock_far_behind_is_refused() -> None:
    timeline = begin(Profile(), 1_000, NOW)
    with pytest.raises(UsageError, match="clock: expected a time from 2024-08-09T00:"):
        resume(timeline, 1_000_000, 10, NOW + SECOND, 1_000)
