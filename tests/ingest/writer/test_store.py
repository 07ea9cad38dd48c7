"""Batches into a real QuestDB: read back equal, bad rows set aside, nothing half done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from ingest.writer import store as hotstore
from ingest.writer.store import QuestDBWriter, RejectedRow
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import ACCOUNT_TRADES, BARS, DEPTH, GAPS, TICKS, TRADES, Kind
from tapehouse.stores.questdb import QuestReader
from tests.batches import DECIMAL_MAX, START, batch, decimals
from tests.conftest import Platform
from tests.stored import by_key, expected, stored


@pytest.fixture
def hot(provisioned: Platform) -> Iterator[QuestDBWriter]:
    store = QuestDBWriter(provisioned.settings.questdb)
    yield store
    store.close()


@pytest.fixture
def reader(provisioned: Platform) -> Iterator[QuestReader]:
    with QuestReader(provisioned.settings.questdb) as reader:
        yield reader


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_rows_of_every_kind_are_read_back_as_they_were(
    hot: QuestDBWriter, reader: QuestReader, kind: Kind, venue: str
) -> None:
    for seed, rows in enumerate((1, 2, 30, 30, 400)):
        own = f"{venue}{seed}"
        written = batch(kind, rows, seed, venue=own)
        where, value = "venue", own
        if kind is ACCOUNT_TRADES:
            where, value = "account_id", int(written.array("account_id")[0])
            written.columns["account_id"] = np.full(rows, value)
        assert hot.commit([written]) == []
        assert by_key(stored(reader, kind, where, value), kind) == expected(written)


def test_amounts_are_exact_to_38_digits(hot: QuestDBWriter, reader: QuestReader) -> None:
    numbers = [DECIMAL_MAX, -DECIMAL_MAX, 1, -1, 0, 10**18, 123456789012345678901234567890]
    written = batch(ACCOUNT_TRADES, len(numbers))
    written.columns["account_id"] = np.full(len(numbers), 4_711)
    written.columns["id"] = np.arange(len(numbers))
    written.columns["amount"] = decimals(numbers)
    assert hot.commit([written]) == []
    found = {row["id"]: row["amount"] for row in stored(reader, ACCOUNT_TRADES, "account_id", 4_711)}
    assert found == {index: Decimal(f"{number}e-18") for index, number in enumerate(numbers)}


def test_names_of_all_kinds_and_no_name_are_kept(hot: QuestDBWriter, reader: QuestReader, venue: str) -> None:
    names = ["a b", "q\"uo'te", "new\nline", "comma,equals=", "back\\slash", "☃𝄞", " ", "x" * 5_000, "", None]
    written = batch(TRADES, len(names), venue=venue)
    written.columns["seq"] = np.arange(len(names))
    written.columns["conditions"] = Strings.of(names)
    assert hot.commit([written]) == []
    found = {row["seq"]: row["conditions"] for row in stored(reader, TRADES, "venue", venue)}
    assert found == dict(enumerate(names))


def test_a_column_without_any_name_is_null(hot: QuestDBWriter, reader: QuestReader, venue: str) -> None:
    written = batch(TRADES, 3, venue=venue)
    written.columns["exchange"] = Strings.constant(None, 3)
    assert hot.commit([written]) == []
    assert {row["exchange"] for row in stored(reader, TRADES, "venue", venue)} == {None}


def test_books_with_and_without_levels_are_kept(hot: QuestDBWriter, reader: QuestReader, venue: str) -> None:
    for seq, levels in enumerate(([[], []], [[1.5], []], [[0.1, 0.2, 0.3], [5e-324, 1e12]])):
        written = batch(DEPTH, 2, venue=venue)
        written.columns["seq"] = np.array([seq, seq])
        written.columns["snapshot"] = np.array([True, False])
        for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"):
            written.columns[name] = Lists.of(levels)
        assert hot.commit([written]) == []
        found = {
            row["snapshot"]: row["ask_sizes"]
            for row in stored(reader, DEPTH, "venue", venue)
            if row["seq"] == seq
        }
        assert found == {True: levels[0], False: levels[1]}


def test_batches_of_several_venues_are_one_transaction(
    hot: QuestDBWriter, reader: QuestReader, venue: str
) -> None:
    parts = [batch(TRADES, 5, seed, venue=f"{venue}{seed % 2}") for seed in range(4)]
    for place, part in enumerate(parts):
        part.columns["seq"] = np.arange(5) + 5 * place
    assert hot.commit(parts) == []
    for own in (f"{venue}0", f"{venue}1"):
        written = expected(*(part for part in parts if part.venue == own))
        assert by_key(stored(reader, TRADES, "venue", own), TRADES) == written


def test_what_is_committed_twice_is_there_once(hot: QuestDBWriter, reader: QuestReader, venue: str) -> None:
    written = batch(GAPS, 20, venue=venue)
    written.columns["seq"] = np.arange(20)
    for _ in range(3):
        assert hot.commit([written]) == []
    assert len(stored(reader, GAPS, "venue", venue)) == 20


def _spoilt(rows: int, venue: str, bad: list[int]) -> Batch:
    """Trades whose flags are beyond their column in some rows."""
    written = batch(TRADES, rows, venue=venue)
    flags = np.zeros(rows, np.int32)
    flags[bad] = 70_000
    return replace(written, columns={**written.columns, "seq": np.arange(rows), "flags": flags})


@pytest.mark.parametrize("bad", [[0], [4], [9], [0, 4, 9], [2, 3], list(range(10))])
def test_a_row_that_questdb_refuses_is_set_aside_and_the_others_are_in(
    hot: QuestDBWriter, reader: QuestReader, venue: str, bad: list[int]
) -> None:
    refused = hot.commit([_spoilt(10, venue, bad)])
    assert sorted(one.row for one in refused) == bad
    assert all(one.reason.startswith("questdb: ") and "flags" in one.reason for one in refused)
    seqs = sorted(row["seq"] for row in stored(reader, TRADES, "venue", venue))
    assert seqs == [row for row in range(10) if row not in bad]


def test_a_refused_row_is_counted_over_all_batches_given(
    hot: QuestDBWriter, reader: QuestReader, venue: str
) -> None:
    parts = [_spoilt(5, venue, []), _spoilt(7, f"{venue}2", [3]), _spoilt(5, venue, [])]
    assert [one.row for one in hot.commit(parts)] == [8]
    assert len(stored(reader, TRADES, "venue", f"{venue}2")) == 6


def test_a_decimal_too_large_and_a_time_too_late_are_refused_by_name(
    hot: QuestDBWriter, reader: QuestReader, venue: str
) -> None:
    written = batch(ACCOUNT_TRADES, 3)
    written.columns["account_id"] = np.full(3, 4_712)
    written.columns["amount"] = decimals([1, DECIMAL_MAX + 1, 2])
    [refused] = hot.commit([written])
    assert refused.row == 1
    assert "amount" in refused.reason
    late = batch(TRADES, 2, venue=venue)
    late.columns["ts_event"] = np.array([START, 2**63 - 1])
    [refused] = hot.commit([late])
    assert refused == RejectedRow(1, refused.reason)
    assert "timestamp" in refused.reason
    assert len(stored(reader, TRADES, "venue", venue)) == 1


def test_where_questdb_names_no_row_the_rows_are_halved(
    hot: QuestDBWriter, reader: QuestReader, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = hotstore._row_fault
    monkeypatch.setattr(hotstore, "_row_fault", lambda error: (fault := named(error)) and (None, fault[1]))
    refused = hot.commit([_spoilt(40, venue, [0, 7, 8, 39])])
    assert sorted(one.row for one in refused) == [0, 7, 8, 39]
    assert len(stored(reader, TRADES, "venue", venue)) == 36


def test_a_connection_goes_on_after_a_refusal_and_after_closing(
    hot: QuestDBWriter, reader: QuestReader, venue: str
) -> None:
    hot.commit([_spoilt(2, venue, [0])])
    written = batch(TRADES, 2, venue=f"{venue}2")
    assert hot.commit([written]) == []
    hot.close()
    hot.close()
    assert hot.commit([written]) == []


def test_a_table_that_is_not_there_says_that_the_schema_is_behind(hot: QuestDBWriter, venue: str) -> None:
    with pytest.raises(TapehouseError, match=r"the schema is outdated: .*bars") as refusal:
        hot.commit([batch(BARS, 2, venue=venue)])
    assert "migrations" in refusal.value.remedy
    column = replace(TRADES, columns=(*TRADES.columns, replace(TRADES.column("price"), name="colour")))
    with pytest.raises(TapehouseError, match="the schema is outdated"):
        hot.commit([batch(column, 2, venue=venue)])


def test_no_server_and_a_wrong_password_are_connect_errors(provisioned: Platform, venue: str) -> None:
    settings = provisioned.settings.questdb
    for update in ({"http_port": 1}, {"password": type(settings.password)("wrong")}):
        store = QuestDBWriter(settings.model_copy(update=update))
        for _ in range(2):
            with pytest.raises(ConnectError, match=r"questdb: no answer from 127\.0\.0\.1:") as refusal:
                store.commit([batch(TRADES, 2, venue=venue)])
            assert refusal.value.remedy
        store.close()
