"""Reading from a real QuestDB, against the same rows in plain hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MAX_TS, parse_ns
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import DEPTH, GAPS, TRADES
from tapehouse.stores import questdb as reading
from tapehouse.stores.questdb import QuestReader
from tests.batches import batch
from tests.conftest import Platform

_START = parse_ns("2024-02-28T22:00:00Z")
Store = Callable[[Batch], None]


@pytest.fixture
def reader(provisioned: Platform) -> Iterator[QuestReader]:
    with QuestReader(provisioned.settings.questdb) as reader:
        yield reader


@pytest.fixture
def store(provisioned: Platform, reader: QuestReader) -> Iterator[Store]:
    hot = QuestDBWriter(provisioned.settings.questdb)

    def store(rows: Batch) -> None:
        assert hot.commit([rows]) == []
        reader.wait_applied(rows.kind.name)

    yield store
    hot.close()


def _trades(venue: str, times: Any, seqs: Any) -> Batch:
    whole = batch(TRADES, len(times), len(times), venue=venue)
    columns = {"ts_event": np.asarray(times), "seq": np.asarray(seqs)}
    return replace(whole, columns={**whole.columns, **columns, "symbol": Strings.constant("S", len(times))})


@pytest.mark.parametrize("page", [1, 2, 3, 7, 100])
def test_pages_cut_anywhere_give_the_same_rows_in_order(
    store: Store, reader: QuestReader, venue: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(page)
    # Timestamps of more rows than a page among others of one.
    times = np.sort(_START + chance.choice(12, 60) ** 3)
    trades = _trades(venue, times, chance.permutation(60))
    store(trades.take(chance.permutation(60)))
    monkeypatch.setattr(reading, "PAGE_ROWS", page)
    frames = list(reader.rows(TRADES, venue, ["S"], 0, MAX_TS))
    assert all(frame.height for frame in frames)
    found = pl.concat(frames)
    expected = sorted(zip(times.tolist(), trades.array("seq").tolist(), strict=True))
    assert list(zip(found["ts_event"].cast(pl.Int64), found["seq"], strict=True)) == expected
    assert found.columns == list(TRADES.names)
    if page == 7:
        assert len(frames) > 2


def test_books_and_gaps_come_in_the_order_of_their_whole_key(
    store: Store, reader: QuestReader, venue: str
) -> None:
    book = batch(DEPTH, 6, venue=venue)
    book.columns.update(
        ts_event=np.full(6, _START),
        symbol=Strings.constant("S", 6),
        seq=np.array([2, 1, 2, 1, 3, 3]),
        snapshot=np.array([True, True, False, False, False, True]),
    )
    store(book)
    [frame] = reader.rows(DEPTH, venue, ["S"], 0, MAX_TS)
    assert list(zip(frame["seq"], frame["snapshot"], strict=True)) == [
        (seq, snapshot) for seq in (1, 2, 3) for snapshot in (False, True)
    ]
    gaps = batch(GAPS, 4, venue=venue)
    gaps.columns.update(
        ts_event=np.full(4, _START),
        symbol=Strings.of(["S", "S", "R", "S"]),
        seq=np.zeros(4, np.int64),
        kind=Strings.of(["trades", "depth", "trades", "quotes"]),
    )
    store(gaps)
    [frame] = reader.rows(GAPS, venue, ["S", "R"], 0, MAX_TS)
    assert list(zip(frame["symbol"], frame["kind"], strict=True)) == [
        ("R", "trades"),
        ("S", "depth"),
        ("S", "quotes"),
        ("S", "trades"),
    ]


def test_rows_are_counted_in_a_span_without_its_end(store: Store, reader: QuestReader, venue: str) -> None:
    store(_trades(venue, [_START, _START, _START + 5], [7, 9, 3]))
    assert reader.count(TRADES, venue, _START, _START + 5) == 2


def test_a_server_that_does_not_answer_and_a_statement_it_refuses_are_told_apart(
    provisioned: Platform, reader: QuestReader
) -> None:
    settings = provisioned.settings.questdb.model_copy(update={"pg_port": 1})
    with QuestReader(settings) as gone, pytest.raises(ConnectError, match="questdb: no answer"):
        gone.fetch("SELECT 1")
    with pytest.raises(TapehouseError, match="questdb: ") as refusal:
        reader.fetch("SELECT nothing FROM trades")
    assert not isinstance(refusal.value, ConnectError)
    with pytest.raises(TapehouseError, match=r"permission|denied|read-only"):
        reader.fetch("DROP TABLE trades")
    assert reader.fetch("SELECT 1") == [(1,)]


def test_the_reader_connects_again_after_closing(reader: QuestReader) -> None:
    assert reader.fetch("SELECT 1") == [(1,)]
    reader.close()
    assert reader.fetch("SELECT %s + 1", [2]) == [(3,)]
