"""Rows of a source beside those that the real stores have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.imports.comparison import Compared, TimeNumbering
from ingest.imports.id_comparison import IdComparison
from ingest.imports.stored_rows import StoredRows
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MINUTE
from tapehouse.model import ACCOUNT_TRADES, DEPTH, QUOTES, TRADES
from tests.batches import START, batch, decimals
from tests.conftest import Platform

Store = Callable[[Batch], None]


@pytest.fixture
def stored(provisioned: Platform) -> Iterator[StoredRows]:
    found = StoredRows(provisioned.settings, {})
    yield found
    found.close()


@pytest.fixture
def store(provisioned: Platform, stored: StoredRows) -> Iterator[Store]:
    hot = QuestDBWriter(provisioned.settings.questdb)

    def store(batch: Batch) -> None:
        assert hot.commit([batch]) == []
        stored.wait_applied(batch.kind)

    yield store
    hot.close()


def _compared(stored: StoredRows, batch: Batch, *absent: str) -> Compared:
    provided = [name for name in batch.kind.names if name not in absent]
    return IdComparison(batch.kind, provided).compare(batch, stored.of_ids(batch))


def _trades(venue: str, rows: int = 6, **columns: Any) -> Batch:
    """Trades of two symbols, numbered, two at a time."""
    whole = batch(TRADES, rows, 3, venue=venue)
    usual = {
        "ts_event": START + np.arange(rows) // 2,
        "seq": np.arange(rows),
        "symbol": Strings.of(["AB"[row % 2] for row in range(rows)]),
        "price": np.arange(rows) + 0.5,
        "conditions": Strings.of([None, "", "x"][row % 3] for row in range(rows)),
    }
    return replace(whole, columns={**whole.columns, **usual, **columns})


def _outcomes(found: Compared) -> list[str]:
    return [
        "rejected" if row in found.rejected else "same" if same else "other" if other else "new"
        for row, (same, other) in enumerate(zip(found.duplicate, found.corrected, strict=True))
    ]


def test_nothing_stored_is_known(stored: StoredRows, venue: str) -> None:
    assert _outcomes(_compared(stored, _trades(venue))) == ["new"] * 6


def test_rows_stored_are_told_from_changed_and_new_ones(stored: StoredRows, store: Store, venue: str) -> None:
    store(_trades(venue).slice(0, 4))
    store(_trades(f"{venue}2"))
    assert _outcomes(_compared(stored, _trades(venue))) == ["same"] * 4 + ["new"] * 2
    price = _trades(venue).array("price").copy()
    price[1] = 7.25
    assert _outcomes(_compared(stored, _trades(venue, price=price))) == [
        "same",
        "other",
        "same",
        "same",
        "new",
        "new",
    ]


@pytest.mark.parametrize(
    ("column", "change", "expected"),
    [
        ("ts_recv", lambda data: data + 1, "same"),
        ("size", lambda data: data + 1.0, "other"),
        ("side", lambda data: np.where(data == 1, -1, 1).astype(np.int8), "other"),
        ("flags", lambda data: data ^ 1, "other"),
        ("exchange", lambda data: Strings.constant("elsewhere", len(data.codes)), "other"),
        ("conditions", lambda data: Strings.constant("other", len(data.codes)), "other"),
        ("ts_event", lambda data: data + 10, "same"),
        ("ts_event", lambda data: data + 2 * MINUTE, "new"),
        ("seq", lambda data: data + 10, "new"),
        ("symbol", lambda data: Strings.constant("C", len(data.codes)), "new"),
    ],
)
def test_every_column_but_when_it_came_is_compared(
    stored: StoredRows, store: Store, venue: str, column: str, change: Callable[[Any], Any], expected: str
) -> None:
    written = _trades(venue)
    store(written)
    assert _outcomes(_compared(stored, written)) == ["same"] * 6
    changed = replace(written, columns={**written.columns, column: change(written.columns[column])})
    assert _outcomes(_compared(stored, changed)) == [expected] * 6


def test_nothing_and_an_empty_name_are_different(stored: StoredRows, store: Store, venue: str) -> None:
    store(_trades(venue, conditions=Strings.constant(None, 6)))
    assert _outcomes(_compared(stored, _trades(venue, conditions=Strings.constant("", 6)))) == ["other"] * 6
    assert _outcomes(_compared(stored, _trades(venue, conditions=Strings.constant(None, 6)))) == ["same"] * 6


def test_an_absent_price_equals_an_absent_price(stored: StoredRows, store: Store, venue: str) -> None:
    whole = batch(QUOTES, 4, venue=venue)
    whole.columns["seq"] = np.arange(4)
    whole.columns["bid"] = np.array([np.nan, 1.0, np.nan, 2.0])
    store(whole)
    whole.columns["bid"] = np.array([np.nan, np.nan, 1.0, 2.0])
    assert _outcomes(_compared(stored, whole)) == ["same", "other", "other", "same"]


def test_a_random_mixture_is_told_as_a_plain_table_would(
    stored: StoredRows, store: Store, venue: str
) -> None:
    for seed in range(5):
        own = f"{venue}{seed}"
        chance = np.random.default_rng(seed)
        whole = _trades(own, 300)
        kept = chance.random(300) < 0.5
        store(whole.take(kept))
        prices = whole.array("price") + (chance.random(300) < 0.3)
        expected = [
            ("same" if prices[row] == row + 0.5 else "other") if kept[row] else "new" for row in range(300)
        ]
        assert (
            _outcomes(_compared(stored, replace(whole, columns={**whole.columns, "price": prices})))
            == expected
        )


def test_a_trade_and_its_cancellation_are_a_row_and_its_correction(
    stored: StoredRows, store: Store, venue: str
) -> None:
    # A trade, its cancellation, and another trade.
    whole = _trades(venue).take(np.array([0, 0, 1]))
    whole.columns["flags"] = np.array([0, 1, 0], np.int16)
    assert _outcomes(_compared(stored, whole)) == ["new", "other", "new"]
    store(whole)
    assert _outcomes(_compared(stored, whole)) == ["same"] * 3
    whole.columns["flags"] = np.array([1, 0, 0], np.int16)
    assert _outcomes(_compared(stored, whole)) == ["same", "other", "same"]


def test_of_rows_with_one_key_a_repeat_is_a_duplicate_and_another_is_rejected(
    stored: StoredRows, store: Store, venue: str
) -> None:
    whole = _trades(venue).take(np.array([0, 0, 0, 1]))
    whole.columns["price"] = np.array([1.5, 1.5, 2.5, 1.5])
    found = _compared(stored, whole)
    assert _outcomes(found) == ["new", "same", "rejected", "new"]
    assert "--number-by time" in found.rejected[2]
    assert found.published.array("price").tolist() == [1.5, 1.5]
    store(found.published)
    assert _outcomes(_compared(stored, whole)) == ["same", "same", "rejected", "same"]


def test_a_column_that_a_source_lacks_is_not_compared_and_not_overwritten(
    stored: StoredRows, store: Store, venue: str
) -> None:
    store(_trades(venue, exchange=Strings.constant("N", 6)))
    price = _trades(venue).array("price").copy()
    price[3] = 9.25
    poorer = _trades(
        venue, price=price, exchange=Strings.constant(None, 6), conditions=Strings.constant(None, 6)
    )
    found = _compared(stored, poorer, "exchange", "conditions", "ts_recv")
    assert _outcomes(found) == ["same", "same", "same", "other", "same", "same"]
    assert found.published.rows == 1
    assert found.published.strings("exchange").to_list() == ["N"]
    assert found.published.array("ts_recv")[0] == _trades(venue).array("ts_recv")[3]
    assert found.published.array("price")[0] == 9.25


def test_rows_of_one_key_far_apart_are_told_as_those_side_by_side(
    stored: StoredRows, store: Store, venue: str
) -> None:
    first = _trades(venue)
    cancelled = {"flags": np.array([0, 1, 1, 0, 0, 0])}
    prices = first.array("price").copy()
    prices[[1, 4, 5]] = 9.25
    changed = _trades(venue, price=prices)
    seconds = [
        first,
        changed,
        _trades(venue, **cancelled),
        Batch.concat([changed, first, changed]),
        Batch.concat([_trades(venue, **cancelled), _trades(venue, **cancelled), changed]),
    ]
    for number, second in enumerate(seconds):
        own = [_with_venue(rows, f"{venue}{number}") for rows in (first, second)]
        side_by_side = _outcomes(_compared(stored, Batch.concat(own)))
        comparison = IdComparison(TRADES, TRADES.names)
        assert not comparison.may_repeat(own[0])
        assert _outcomes(comparison.compare(own[0], stored.of_ids(own[0]))) == ["new"] * 6
        store(own[0])
        assert comparison.may_repeat(own[1])
        assert _outcomes(comparison.compare(own[1], stored.of_ids(own[1]))) == side_by_side[6:], number


def _with_venue(rows: Batch, venue: str) -> Batch:
    return replace(rows, venue=venue)


def test_a_file_that_corrects_what_another_stored_may_not_correct_itself(
    stored: StoredRows, store: Store, venue: str
) -> None:
    store(_trades(venue))
    comparison = IdComparison(TRADES, TRADES.names)
    other = _trades(venue, price=np.zeros(6))
    assert _outcomes(comparison.compare(other, stored.of_ids(other))) == ["other"] * 6
    store(other)
    assert _outcomes(comparison.compare(_trades(venue), stored.of_ids(_trades(venue)))) == ["rejected"] * 6
    assert _outcomes(comparison.compare(other, stored.of_ids(other))) == ["same"] * 6


def test_books_are_known_by_their_key(stored: StoredRows, store: Store, venue: str) -> None:
    book = batch(DEPTH, 4, venue=venue)
    book.columns["seq"] = np.array([1, 2, 3, 4])
    book.columns["snapshot"] = np.array([False, False, True, True])
    store(book.slice(0, 3))
    book.columns["snapshot"] = np.array([False, True, True, True])
    assert _outcomes(_compared(stored, book)) == ["same", "new", "same", "new"]


def test_a_book_with_other_levels_is_a_correction_and_a_repeat_a_duplicate(
    stored: StoredRows, store: Store, venue: str
) -> None:
    book = batch(DEPTH, 4, venue=venue)
    book.columns["seq"] = np.array([1, 2, 3, 4])
    twice = book.take(np.array([0, 0, 1, 2, 3]))
    assert _outcomes(_compared(stored, twice)) == ["new", "same", "new", "new", "new"]
    store(book)
    sizes = book.lists("bid_sizes")
    book.columns["bid_sizes"] = replace(
        sizes, values=np.where(np.arange(len(sizes.values)) == 0, 7.5, sizes.values)
    )
    assert sizes.ends[0] > 0
    assert _outcomes(_compared(stored, book)) == ["other", "same", "same", "same"]


def test_accounts_are_told_by_their_key_and_their_amounts_to_the_last_place(
    stored: StoredRows, store: Store
) -> None:
    whole = batch(ACCOUNT_TRADES, 3)
    whole.columns["account_id"] = np.full(3, 4_720)
    whole.columns["id"] = np.arange(3)
    whole.columns["amount"] = decimals([10**38 - 1] * 3)
    store(whole.slice(0, 2))
    assert _outcomes(_compared(stored, whole)) == ["same", "same", "new"]
    whole.columns["amount"] = decimals([10**38 - 1, 10**38 - 2, 0])
    assert _outcomes(_compared(stored, whole)) == ["same", "other", "new"]


def _numbered(stored: StoredRows, batch: Batch) -> Compared:
    return TimeNumbering(batch.kind, batch.kind.names, {}).number(batch, stored.near(batch))


def test_rows_without_ids_go_on_after_those_stored_at_their_time(
    stored: StoredRows, store: Store, venue: str
) -> None:
    times = np.full(6, START)
    whole = _trades(venue, ts_event=times, symbol=Strings.constant("A", 6))
    first = _numbered(stored, whole.slice(0, 4))
    assert first.batch.array("seq").tolist() == [START, START + 1, START + 2, START + 3]
    store(first.batch)
    again = _numbered(stored, whole)
    assert _outcomes(again) == ["same"] * 4 + ["new"] * 2
    assert again.batch.array("seq").tolist() == [START + row for row in range(6)]


def test_a_row_follows_the_row_before_it_in_time_though_that_one_is_not_in_its_file(
    stored: StoredRows, store: Store, venue: str
) -> None:
    symbol = Strings.constant("A", 6)
    store(_numbered(stored, _trades(venue, ts_event=np.full(6, START), symbol=symbol)).batch)
    after = _trades(venue, ts_event=np.full(6, START + 2), symbol=symbol)
    assert _numbered(stored, after).batch.array("seq").tolist() == [START + 6 + row for row in range(6)]


def test_books_without_ids_are_known_by_their_place_among_those_of_their_time(
    stored: StoredRows, store: Store, venue: str
) -> None:
    book = batch(DEPTH, 4, venue=venue)
    book.columns["ts_event"] = np.full(4, START)
    book.columns["snapshot"] = np.zeros(4, np.bool_)
    book.columns["symbol"] = Strings.constant("A", 4)
    book.columns["seq_first"] = book.columns["seq_previous"] = np.full(4, -(2**63))
    book.columns["flags"] = np.zeros(4, np.int16)
    store(_numbered(stored, book.slice(0, 3)).batch)
    assert _outcomes(_numbered(stored, book)) == ["same"] * 3 + ["new"]
