"""Where a writer goes on from: pure tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.stream.floor import Floor, FloorHistory, floor_key, may_lack_commits

_CREATED, _HOT = 1_000, 2_000


@pytest.mark.parametrize(
    ("seq", "hot_start", "record", "expected"),
    [
        # Nothing was committed yet: nothing can be lacking.
        (0, 3_000, None, False),
        (0, 3_000, {"start_ns": 3_000, "unclean_ns": 2_999}, False),
        # The same QuestDB goes on.
        (5, _HOT, None, False),
        (5, _HOT, {"start_ns": _HOT, "unclean_ns": 9_999}, False),
        # Another, which nobody vouches for.
        (5, 3_000, None, True),
        (5, 3_000, {"start_ns": _HOT, "unclean_ns": 0}, True),
        (5, 3_000, {"start_ns": 4_000, "unclean_ns": 0}, True),
        # Another, vouched for: never unclean, unclean before ours, unclean since.
        (5, 3_000, {"start_ns": 3_000, "unclean_ns": 0}, False),
        (5, 3_000, {"start_ns": 3_000, "unclean_ns": 1_999}, False),
        (5, 3_000, {"start_ns": 3_000, "unclean_ns": 2_001}, True),
        # Clean now, but unclean at a start in between that this writer never saw.
        (5, 4_000, {"start_ns": 4_000, "unclean_ns": 2_500}, True),
    ],
)
def test_commits_may_be_lacking_only_after_an_end_that_was_not_clean(
    seq: int, hot_start: int, record: dict[str, Any] | None, expected: bool
) -> None:
    assert may_lack_commits(Floor(_CREATED, seq, _HOT, 0), hot_start, record) is expected


def test_a_floor_is_read_as_it_was_recorded() -> None:
    floor = Floor(_CREATED, 7, _HOT, 3)
    assert Floor.read(floor.value(), _CREATED) == floor


@pytest.mark.parametrize("value", [None, Floor(_CREATED + 1, 7, _HOT, 3).value()])
def test_a_floor_of_another_stream_or_none_is_the_beginning(value: dict[str, Any] | None) -> None:
    assert Floor.read(value, _CREATED) == Floor(_CREATED, 0, 0, 0)


def test_floors_of_shards_have_keys_of_their_own() -> None:
    assert len({floor_key(shard) for shard in range(50)}) == 50


def test_the_trail_is_the_latest_floor_a_margin_ago() -> None:
    trail = FloorHistory(100, 0)
    steps = [(5, 0.0), (6, 50.0), (7, 99.0), (8, 100.0), (9, 150.5), (10, 160.0), (11, 300.0)]
    assert [trail.note(seq, now) for seq, now in steps] == [0, 0, 0, 5, 6, 6, 10]


def test_the_trail_begins_where_it_was_recorded_and_never_falls_behind_it() -> None:
    trail = FloorHistory(100, 40)
    assert trail.note(30, 0.0) == 40
    assert trail.note(35, 100.0) == 40
    assert trail.note(50, 200.0) == 40
    assert trail.note(60, 300.0) == 50


def test_without_a_margin_the_trail_is_the_floor() -> None:
    trail = FloorHistory(0, 0)
    assert [trail.note(seq, 0.0) for seq in (1, 2, 3)] == [1, 2, 3]


@given(
    st.floats(0.1, 1e4),
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), min_size=1, max_size=200),
)
def test_the_trail_is_always_old_enough_and_catches_up(margin: float, steps: list[tuple[int, float]]) -> None:
    trail = FloorHistory(margin, 0)
    noted: list[tuple[float, int]] = []
    seq, now = 0, 0.0
    for more, passed in steps:
        seq, now = seq + more, now + passed
        noted.append((now, seq))
        found = trail.note(seq, now)
        assert found <= max((old for at, old in noted if now - at >= margin), default=0)
        # However much is noted, little is kept.
        assert len(trail._recent) <= 102
    trail.note(seq, now + margin)
    assert trail.note(seq, now + 3 * margin) == seq
