"""What of a venue's ids was seen, however two connections bring them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.continuity import Chain, Hole, Rising
from tapehouse.clock import MINUTE, Nanos


def column(values: list[int]) -> Nanos:
    return np.array(values, np.int64)


def sift(chain: Chain, ids: list[int], ts: int = 5) -> list[int]:
    """The ids let through, each following on the one before it by nature."""
    seq = column(ids)
    fresh, _ = chain.sift(seq - 1, seq, np.full(len(ids), ts), now_ns=1)
    return seq[fresh].tolist()


def spans(chain: Chain | Rising) -> list[tuple[int, int]]:
    return [span for hole in chain.holes for span in hole.left]


def test_ids_that_follow_on_each_other_all_pass_and_leave_no_hole() -> None:
    chain = Chain(counted=True)
    assert sift(chain, [7, 8, 9]) == [7, 8, 9]
    assert sift(chain, [10]) == [10]
    assert chain.last == 10
    assert not chain.holes


def test_a_repeat_is_held_back() -> None:
    chain = Chain(counted=True)
    sift(chain, [7, 8, 9])
    assert sift(chain, [8, 9, 10]) == [10]


def test_ids_passed_over_are_a_hole_that_later_rows_fill_to_the_id() -> None:
    chain = Chain(counted=True)
    sift(chain, [1, 2, 6])
    assert spans(chain) == [(3, 5)]
    assert sift(chain, [4]) == [4]
    assert spans(chain) == [(3, 3), (5, 5)]
    assert chain.holes[0].missing == 2
    assert sift(chain, [3, 4, 5]) == [3, 5]
    assert spans(chain) == []
    assert chain.holes[0].missing == 0


def test_ids_that_go_back_while_time_goes_on_are_told_apart_from_repeats() -> None:
    chain = Chain(counted=True)
    sift(chain, [100, 101], ts=5)
    fresh, back = chain.sift(column([0]), column([1]), column([6 + MINUTE]), now_ns=1)
    assert (fresh.tolist(), back.tolist()) == ([False], [True])


def test_updates_of_a_book_chain_by_the_id_before_them() -> None:
    chain = Chain(counted=False)
    fresh, _ = chain.sift(column([10, 25]), column([25, 31]), column([1, 2]), now_ns=1)
    assert fresh.all()
    chain.sift(column([40]), column([44]), column([3]), now_ns=1)
    assert spans(chain) == [(32, 40)]
    assert chain.holes[0].missing is None
    fresh, _ = chain.sift(column([31, 36]), column([36, 40]), column([2, 2]), now_ns=1)
    assert fresh.all()
    assert not chain.holes[0].left


@given(st.data())
def test_two_connections_bring_each_id_once_and_the_holes_are_what_neither_brought(
    data: st.DataObject,
) -> None:
    ids = list(range(1, data.draw(st.integers(2, 60))))
    lost = data.draw(st.sets(st.sampled_from(ids[1:] or ids)))
    brought = [i for i in ids if i not in lost or i == 1]
    # The second connection begins later, and the two are interleaved in any way that keeps each in order.
    second = brought[data.draw(st.integers(0, len(brought))) :]
    first, got = brought[1:], [brought[0]]
    chain = Chain(counted=True)
    sift(chain, got)
    while first or second:
        source = data.draw(st.sampled_from([queue for queue in (first, second) if queue]))
        count = data.draw(st.integers(1, len(source)))
        got += sift(chain, source[:count])
        del source[:count]
    assert sorted(got) == brought
    missing = [i for low, high in spans(chain) for i in range(low, high + 1)]
    assert sorted(missing) == [i for i in range(1, brought[-1] + 1) if i not in brought]


@given(st.data())
def test_a_chain_goes_on_from_its_saved_state(data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=40))
    cut = data.draw(st.integers(0, len(ids)))
    whole, first, second = Chain(counted=True), Chain(counted=True), Chain(counted=True)
    expected = sift(whole, ids[:cut]) + sift(whole, ids[cut:])
    got = sift(first, ids[:cut])
    second.restore(first.state())
    assert got + sift(second, ids[cut:]) == expected
    assert spans(second) == spans(whole)


def test_rows_whose_ids_only_rise_pass_once_also_when_a_second_connection_is_ahead() -> None:
    rising = Rising()
    ts = column([1])
    assert rising.sift(column([100]), ts, 1)[0].all()
    assert rising.sift(column([130]), ts, 1)[0].all()
    # The first connection is behind: 110 and 120 were not seen, 130 was.
    fresh, _ = rising.sift(column([110, 120, 130, 140]), column([1, 1, 1, 1]), 1)
    assert fresh.tolist() == [True, True, False, True]
    assert not rising.holes


def test_a_disconnection_of_rows_that_cannot_be_counted_is_a_hole_up_to_the_next_row() -> None:
    rising = Rising()
    rising.sift(column([100]), column([7]), 1)
    rising.broken("disconnected")
    rising.sift(column([150]), column([9]), 1)
    (hole,) = rising.holes
    assert (hole.first, hole.last, hole.ts, hole.ts_end, hole.missing) == (101, 149, 7, 9, None)
    assert hole.reason == "disconnected"


def test_rows_behind_a_restart_that_were_seen_before_it_are_held_back() -> None:
    before, after = Rising(), Rising()
    before.sift(column([100, 105]), column([1, 1]), 1)
    after.restore(before.state())
    fresh, _ = after.sift(column([100, 105, 106]), column([1, 1, 1]), 1)
    assert fresh.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("before", "seq", "left"),
    [(3, 4, [(5, 9)]), (0, 20, []), (5, 7, [(4, 5), (8, 9)]), (8, 12, [(4, 8)]), (9, 10, [(4, 9)])],
)
def test_a_row_fills_what_it_covers_of_a_hole(before: int, seq: int, left: list[tuple[int, int]]) -> None:
    hole = Hole(4, 9, 0, 0, True, "skipped", 0, left=[(4, 9)])
    assert hole.fill(before, seq) == (left != [(4, 9)])
    assert hole.left == left


def test_a_saved_state_stays_as_it_was_when_holes_are_filled_later() -> None:
    chain = Chain(counted=True)
    sift(chain, [1, 5])
    saved = chain.state()
    sift(chain, [2, 3, 4])
    again = Chain(counted=True)
    again.restore(saved)
    assert spans(again) == [(2, 4)]
