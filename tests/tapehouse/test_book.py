"""A book: a snapshot, and the updates that chain behind it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.book import Book

PRICE = st.integers(1, 12).map(float)
SIDE = st.dictionaries(PRICE, st.integers(0, 3).map(float), max_size=6)


def a_book() -> Book:
    return Book(10, 1, [100.0, 99.0], [1.0, 2.0], [101.0, 102.0], [3.0, 4.0])


def test_a_snapshot_shows_its_best_prices_and_all_levels() -> None:
    book = a_book()
    assert book.best() == (100.0, 1.0, 101.0, 3.0)
    assert book.levels() == ([100.0, 99.0], [1.0, 2.0], [101.0, 102.0], [3.0, 4.0])


def test_an_update_sets_and_removes_levels() -> None:
    book = a_book()
    assert book.apply(10, 12, 5, [100.0, 98.0], [0.0, 7.0], [100.5], [1.0])
    assert book.best() == (99.0, 2.0, 100.5, 1.0)
    assert (book.seq, book.ts_event) == (12, 5)


def test_an_update_that_does_not_chain_changes_nothing() -> None:
    book = a_book()
    assert not book.apply(11, 12, 5, [200.0], [1.0], [], [])
    assert book.seq == 10
    assert book.best()[0] == 100.0


def test_an_update_that_is_known_changes_nothing() -> None:
    book = a_book()
    assert book.apply(8, 10, 5, [200.0], [1.0], [], [])
    assert book.best()[0] == 100.0


def test_an_empty_side_has_no_best_price() -> None:
    book = a_book()
    book.apply(10, 11, 5, [100.0, 99.0], [0.0, 0.0], [], [])
    bid, size, ask, _ = book.best()
    assert math.isnan(bid)
    assert math.isnan(size)
    assert ask == 101.0


@given(SIDE, SIDE, st.lists(st.tuples(SIDE, SIDE, st.booleans()), max_size=12))
def test_the_best_prices_are_those_of_all_levels_whenever_they_are_asked_for(
    bids: dict[float, float], asks: dict[float, float], updates: list[tuple[dict[float, float], ...]]
) -> None:
    book = Book(0, 0, list(bids), list(bids.values()), list(asks), list(asks.values()))
    for seq, (more_bids, more_asks, looked_at) in enumerate(updates, 1):
        book.apply(
            seq - 1, seq, seq, [*more_bids], [*more_bids.values()], [*more_asks], [*more_asks.values()]
        )
        bids, asks = {**bids, **more_bids}, {**asks, **more_asks}
        if looked_at:
            bid, _, ask, _ = book.best()
            assert bid == pytest.approx(max((p for p, s in bids.items() if s), default=math.nan), nan_ok=True)
            assert ask == pytest.approx(min((p for p, s in asks.items() if s), default=math.nan), nan_ok=True)
