"""Rows compared with what a real QuestDB has stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.collision import Known, known, refuse_overwriting, refuse_start_inside, row_keys
from ingest.hotstore import HotStore
from tapehouse.batch import Batch, Strings
from tapehouse.errors import ConflictError
from tapehouse.model import ACCOUNT_TRADES, DEPTH, GAPS, QUOTES, TRADES
from tapehouse.questdb import QuestReader
from tests.batches import START, batch, decimals
from tests.conftest import Platform

Store = Callable[[Batch], None]


@pytest.fixture
def reader(provisioned: Platform) -> Iterator[QuestReader]:
    with QuestReader(provisioned.settings.questdb) as reader:
        yield reader


@pytest.fixture
def store(provisioned: Platform, reader: QuestReader) -> Iterator[Store]:
    hot = HotStore(provisioned.settings.questdb)

    def store(batch: Batch) -> None:
        assert hot.commit([batch]) == []
        reader.wait_applied(batch.kind.name)

    yield store
    hot.close()


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


def _told(found: Known) -> list[str]:
    return [
        "same" if same else "other" if stored else "new"
        for stored, same in zip(found.stored, found.same, strict=True)
    ]


def test_nothing_stored_is_known(reader: QuestReader, venue: str) -> None:
    assert _told(known(reader, _trades(venue))) == ["new"] * 6


def test_rows_stored_are_told_from_changed_and_new_ones(
    reader: QuestReader, store: Store, venue: str
) -> None:
    store(_trades(venue).slice(0, 4))
    store(_trades(f"{venue}2"))
    assert _told(known(reader, _trades(venue))) == ["same"] * 4 + ["new"] * 2
    price = _trades(venue).array("price").copy()
    price[1] = 7.25
    assert _told(known(reader, _trades(venue, price=price))) == [
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
        ("ts_event", lambda data: data + 10, "new"),
        ("seq", lambda data: data + 10, "new"),
        ("symbol", lambda data: Strings.constant("C", len(data.codes)), "new"),
    ],
)
def test_every_column_but_when_it_came_is_compared(
    reader: QuestReader, store: Store, venue: str, column: str, change: Callable[[Any], Any], expected: str
) -> None:
    written = _trades(venue)
    store(written)
    assert _told(known(reader, written)) == ["same"] * 6
    changed = replace(written, columns={**written.columns, column: change(written.columns[column])})
    assert _told(known(reader, changed)) == [expected] * 6


def test_nothing_and_an_empty_name_are_different(reader: QuestReader, store: Store, venue: str) -> None:
    store(_trades(venue, conditions=Strings.constant(None, 6)))
    assert _told(known(reader, _trades(venue, conditions=Strings.constant("", 6)))) == ["other"] * 6
    assert _told(known(reader, _trades(venue, conditions=Strings.constant(None, 6)))) == ["same"] * 6


def test_an_absent_price_equals_an_absent_price(reader: QuestReader, store: Store, venue: str) -> None:
    whole = batch(QUOTES, 4, venue=venue)
    whole.columns["seq"] = np.arange(4)
    whole.columns["bid"] = np.array([np.nan, 1.0, np.nan, 2.0])
    store(whole)
    whole.columns["bid"] = np.array([np.nan, np.nan, 1.0, 2.0])
    assert _told(known(reader, whole)) == ["same", "other", "other", "same"]


def test_a_random_mixture_is_told_as_a_plain_table_would(
    reader: QuestReader, store: Store, venue: str
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
        assert _told(known(reader, replace(whole, columns={**whole.columns, "price": prices}))) == expected


def test_of_rows_with_one_key_the_last_tells_for_all(reader: QuestReader, store: Store, venue: str) -> None:
    # A trade, its cancellation, and another trade.
    twice = np.array([0, 0, 1])
    whole = _trades(venue).take(twice)
    whole.columns["flags"] = np.array([0, 1, 0], np.int16)
    store(whole)
    assert _told(known(reader, whole)) == ["same"] * 3
    whole.columns["flags"] = np.array([1, 0, 0], np.int16)
    assert _told(known(reader, whole)) == ["other", "other", "same"]


def test_books_and_gaps_are_told_by_their_key(reader: QuestReader, store: Store, venue: str) -> None:
    book = batch(DEPTH, 4, venue=venue)
    book.columns["seq"] = np.array([1, 2, 3, 4])
    book.columns["snapshot"] = np.array([False, False, True, True])
    store(book.slice(0, 3))
    book.columns["snapshot"] = np.array([False, True, True, True])
    assert _told(known(reader, book)) == ["same", "new", "same", "new"]
    gaps = batch(GAPS, 2, venue=venue)
    store(gaps)
    assert _told(known(reader, gaps)) == ["same", "same"]
    gaps.columns["kind"] = Strings.constant("other", 2)
    assert _told(known(reader, gaps)) == ["new", "new"]


def test_accounts_are_told_by_their_key_and_their_amounts_to_the_last_place(
    reader: QuestReader, store: Store
) -> None:
    whole = batch(ACCOUNT_TRADES, 3)
    whole.columns["account_id"] = np.full(3, 4_720)
    whole.columns["id"] = np.arange(3)
    whole.columns["amount"] = decimals([10**38 - 1] * 3)
    store(whole.slice(0, 2))
    assert _told(known(reader, whole)) == ["same", "same", "new"]
    whole.columns["amount"] = decimals([10**38 - 1, 10**38 - 2, 0])
    assert _told(known(reader, whole)) == ["same", "other", "new"]


def test_a_source_that_begins_with_the_rows_stored_there_may_go_on(
    reader: QuestReader, store: Store, venue: str
) -> None:
    refuse_start_inside(reader, _trades(venue))
    store(_trades(venue))
    refuse_start_inside(reader, _trades(venue))
    # Beginning later in what is stored, at a whole timestamp.
    refuse_start_inside(reader, _trades(venue).slice(2, 6))


@pytest.mark.parametrize("case", ["fewer", "more", "changed", "another number"])
def test_a_source_that_begins_inside_other_rows_is_refused(
    reader: QuestReader, store: Store, venue: str, case: str
) -> None:
    times = np.full(6, START)
    whole = _trades(venue, ts_event=times)
    store(whole.slice(0, 4))
    begins = {
        "fewer": whole.slice(0, 2),
        "more": whole,
        "changed": replace(whole, columns={**whole.columns, "price": np.zeros(6)}).slice(0, 4),
        "another number": replace(whole, columns={**whole.columns, "seq": np.arange(6) + 9}).slice(0, 4),
    }
    with pytest.raises(
        ConflictError, match=f"A on {venue} at 2024-02-28T00:00:00Z: expected the rows"
    ) as found:
        refuse_start_inside(reader, begins[case])
    assert "--continue" in found.value.remedy
    assert found.value.fields == {"symbol": "A", "ts_event": START}


def test_a_symbol_that_begins_elsewhere_is_no_conflict(reader: QuestReader, store: Store, venue: str) -> None:
    store(_trades(venue))
    later = _trades(venue, ts_event=START + 100 + np.arange(6))
    refuse_start_inside(reader, later)


def test_numbered_rows_that_would_overwrite_others_are_refused_by_name(venue: str) -> None:
    whole = _trades(venue)
    new, stored = np.zeros(6, np.bool_), np.ones(6, np.bool_)
    refuse_overwriting(whole, Known(new, new))
    refuse_overwriting(whole, Known(stored, stored))
    same = np.array([True, True, True, False, True, False])
    with pytest.raises(ConflictError, match=f"B on {venue} at 2024-02-28T00:00:00.000000001Z"):
        refuse_overwriting(whole, Known(stored, same))


def test_keys_of_rows_are_those_of_the_model(venue: str) -> None:
    assert row_keys(_trades(venue).slice(0, 2)) == [(START, "A", 0), (START, "B", 1)]
    assert [len(key) for key in row_keys(batch(ACCOUNT_TRADES, 1))] == [3]
