"""Each id passes once, and missing ids are known, however two connections deliver them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.venues.sequences import Gap, IncreasingSequence, LinkedSequence
from tapehouse.clock import MINUTE, Nanos


def column(values: list[int]) -> Nanos:
    return np.array(values, np.int64)


def filter_new(sequence: LinkedSequence, ids: list[int], ts: int = 5) -> list[int]:
    """The ids let through, each row naming the id one below it as the one before."""
    seq = column(ids)
    fresh, _ = sequence.filter_new(seq - 1, seq, np.full(len(ids), ts), now_ns=1)
    return seq[fresh].tolist()


def missing_ranges(sequence: LinkedSequence | IncreasingSequence) -> list[tuple[int, int]]:
    return [ids for gap in sequence.gaps for ids in gap.missing_ranges]


def test_ids_that_follow_on_each_other_all_pass_and_leave_no_gap() -> None:
    sequence = LinkedSequence(countable=True)
    assert filter_new(sequence, [7, 8, 9]) == [7, 8, 9]
    assert filter_new(sequence, [10]) == [10]
    assert sequence.last == 10
    assert not sequence.gaps


def test_a_repeat_is_dropped() -> None:
    sequence = LinkedSequence(countable=True)
    filter_new(sequence, [7, 8, 9])
    assert filter_new(sequence, [8, 9, 10]) == [10]


def test_ids_passed_over_are_a_gap_that_later_rows_fill_to_the_id() -> None:
    sequence = LinkedSequence(countable=True)
    filter_new(sequence, [1, 2, 6])
    assert missing_ranges(sequence) == [(3, 5)]
    assert filter_new(sequence, [4]) == [4]
    assert missing_ranges(sequence) == [(3, 3), (5, 5)]
    assert sequence.gaps[0].missing == 2
    assert filter_new(sequence, [3, 4, 5]) == [3, 5]
    assert missing_ranges(sequence) == []
    assert sequence.gaps[0].missing == 0


def test_ids_that_go_back_while_time_goes_on_are_told_apart_from_repeats() -> None:
    sequence = LinkedSequence(countable=True)
    filter_new(sequence, [100, 101], ts=5)
    fresh, back = sequence.filter_new(column([0]), column([1]), column([6 + MINUTE]), now_ns=1)
    assert (fresh.tolist(), back.tolist()) == ([False], [True])


def test_updates_of_a_book_chain_by_the_id_before_them() -> None:
    sequence = LinkedSequence(countable=False)
    fresh, _ = sequence.filter_new(column([10, 25]), column([25, 31]), column([1, 2]), now_ns=1)
    assert fresh.all()
    sequence.filter_new(column([40]), column([44]), column([3]), now_ns=1)
    assert missing_ranges(sequence) == [(32, 40)]
    assert sequence.gaps[0].missing is None
    fresh, _ = sequence.filter_new(column([31, 36]), column([36, 40]), column([2, 2]), now_ns=1)
    assert fresh.all()
    assert not sequence.gaps[0].missing_ranges


@given(st.data())
def test_two_connections_bring_each_id_once_and_the_gaps_are_what_neither_brought(
    data: st.DataObject,
) -> None:
    ids = list(range(1, data.draw(st.integers(2, 60))))
    lost = data.draw(st.sets(st.sampled_from(ids[1:] or ids)))
    brought = [i for i in ids if i not in lost or i == 1]
    # The second connection begins later, and the two are interleaved in any way that keeps each in order.
    second = brought[data.draw(st.integers(0, len(brought))) :]
    first, got = brought[1:], [brought[0]]
    sequence = LinkedSequence(countable=True)
    filter_new(sequence, got)
    while first or second:
        source = data.draw(st.sampled_from([queue for queue in (first, second) if queue]))
        count = data.draw(st.integers(1, len(source)))
        got += filter_new(sequence, source[:count])
        del source[:count]
    assert sorted(got) == brought
    missing = [i for low, high in missing_ranges(sequence) for i in range(low, high + 1)]
    assert sorted(missing) == [i for i in range(1, brought[-1] + 1) if i not in brought]


@given(st.data())
def test_a_chain_goes_on_from_its_saved_state(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=40))
    cut = data.draw(st.integers(0, len(ids)))
    whole, first, second = (
        LinkedSequence(countable=True),
        LinkedSequence(countable=True),
        LinkedSequence(countable=True),
    )
    expected = filter_new(whole, ids[:cut]) + filter_new(whole, ids[cut:])
    got = filter_new(first, ids[:cut])
    second.restore(first.state())
    assert got + filter_new(second, ids[cut:]) == expected
    assert missing_ranges(second) == missing_ranges(whole)


def test_rows_whose_ids_only_rise_pass_once_also_when_a_second_connection_is_ahead() -> None:
    sequence = IncreasingSequence()
    ts = column([1])
    assert sequence.filter_new(column([100]), ts, 1)[0].all()
    assert sequence.filter_new(column([130]), ts, 1)[0].all()
    # The first connection lags: 110 and 120 were not seen, 130 was.
    fresh, _ = sequence.filter_new(column([110, 120, 130, 140]), column([1, 1, 1, 1]), 1)
    assert fresh.tolist() == [True, True, False, True]
    assert not sequence.gaps


def test_a_disconnection_of_rows_that_cannot_be_counted_is_a_gap_up_to_the_next_row() -> None:
    sequence = IncreasingSequence()
    sequence.filter_new(column([100]), column([7]), 1)
    sequence.mark_disconnected("disconnected")
    sequence.filter_new(column([150]), column([9]), 1)
    (gap,) = sequence.gaps
    assert (gap.first, gap.last, gap.ts, gap.ts_end, gap.missing) == (101, 149, 7, 9, None)
    assert gap.reason == "disconnected"


def test_rows_behind_a_restart_that_were_seen_before_it_are_dropped() -> None:
    before, after = IncreasingSequence(), IncreasingSequence()
    before.filter_new(column([100, 105]), column([1, 1]), 1)
    after.restore(before.state())
    fresh, _ = after.filter_new(column([100, 105, 106]), column([1, 1, 1]), 1)
    assert fresh.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("before", "seq", "left"),
    [(3, 4, [(5, 9)]), (0, 20, []), (5, 7, [(4, 5), (8, 9)]), (8, 12, [(4, 8)]), (9, 10, [(4, 9)])],
)
def test_a_row_fills_what_it_covers_of_a_gap(before: int, seq: int, left: list[tuple[int, int]]) -> None:
    gap = Gap(4, 9, 0, 0, True, "skipped", 0, missing_ranges=[(4, 9)])
    assert gap.fill(before, seq) == (left != [(4, 9)])
    assert gap.missing_ranges == left


def test_a_saved_state_stays_as_it_was_when_gaps_are_filled_later() -> None:
    sequence = LinkedSequence(countable=True)
    filter_new(sequence, [1, 5])
    saved = sequence.state()
    filter_new(sequence, [2, 3, 4])
    again = LinkedSequence(countable=True)
    again.restore(saved)
    assert missing_ranges(again) == [(2, 4)]


def test_a_disconnection_is_known_after_a_restore() -> None:
    sequence, after = IncreasingSequence(), IncreasingSequence()
    sequence.filter_new(np.array([1, 2]), np.array([10, 20]), 0)
    sequence.mark_disconnected("not running")
    after.restore(json.loads(json.dumps(sequence.state())))
    after.filter_new(np.array([9]), np.array([90]), 0)
    assert [(gap.first, gap.last, gap.reason) for gap in after.gaps] == [(3, 8, "not running")]
    # And once only.
    after.filter_new(np.array([15]), np.array([150]), 0)
    assert len(after.gaps) == 1


def test_why_ids_may_be_missing_is_known_after_a_restore_and_only_until_the_next_row() -> None:
    sequence, after = LinkedSequence(countable=True), LinkedSequence(countable=True)
    filter_new(sequence, [1, 2])
    sequence.mark_disconnected("disconnected")
    after.restore(json.loads(json.dumps(sequence.state())))
    filter_new(after, [9])
    filter_new(after, [12])
    after.mark_disconnected("disconnected")
    filter_new(after, [13])
    filter_new(after, [20])
    assert [(gap.first, gap.reason) for gap in after.gaps] == [
        (3, "disconnected"),
        (10, "skipped"),
        (14, "skipped"),
    ]
