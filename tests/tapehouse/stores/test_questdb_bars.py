"""Bars read from QuestDB are those of all visible trades, whatever its views show."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.writer.store import QuestDBWriter
from ops.drill.proof import count_different_bars, rebuild_bars
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, HOUR, INTERVALS, MAX_TS, MINUTE, parse_ns
from tapehouse.model import BARS, TRADES, Flags
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader, as_owner, frame
from tapehouse.stores.questdb_bars import BarPiece, RefreshedViews, bars_statement, read_refreshed_views
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.conftest import Platform
from tests.waiting import until

_START = parse_ns("2024-05-06")
_COLUMNS = ", ".join("cast(ts AS long)" if name == "ts" else name for name in BARS.names)
_SYMBOLS = ("A", "B", "null")


@pytest.fixture(scope="module")
def questdb(provisioned: Platform) -> QuestDB:
    return provisioned.settings.questdb


@pytest.fixture
def reader(questdb: QuestDB) -> Iterator[QuestReader]:
    with QuestReader(questdb) as reader:
        yield reader


@pytest.fixture
def writer(questdb: QuestDB) -> Iterator[QuestDBWriter]:
    writer = QuestDBWriter(questdb)
    yield writer
    writer.close()


def _trades(venue: str, seed: int, start: int, span: int, rows: int = 60) -> Batch:
    """Random trades of a span, some cancelled, with ids by their times."""
    chance = np.random.default_rng(seed)
    times = start + np.sort(chance.integers(0, span, rows))
    made = batch(TRADES, rows, seed, venue=venue, start=start, span=span)
    return Batch(
        TRADES,
        venue,
        rows,
        {
            **made.columns,
            "ts_event": times,
            "seq": (times - _START) // 1000 * 1000 + chance.integers(0, 1000, rows),
            "symbol": Strings(_SYMBOLS, chance.integers(0, 3, rows).astype(np.int32)),
            "flags": np.where(chance.random(rows) < 0.1, int(Flags.CANCELLED), 0).astype(np.int16),
            "price": 100 + chance.integers(0, 999, rows) / 100,
            "size": chance.integers(1, 99, rows).astype(np.float64),
        },
    )


def _cancelled(one: Batch) -> Batch:
    """The same rows, each of them cancelled."""
    return Batch(TRADES, one.venue, one.rows, {**one.columns, "flags": np.full(one.rows, 1, np.int16)})


def _bars(reader: QuestReader, venue: str, interval: str, start: int = 0, end: int = MAX_TS) -> pl.DataFrame:
    pieces = read_refreshed_views(reader, interval).pieces(interval, start, end)
    statement, bound = bars_statement(pieces, INTERVALS[interval], "venue = %s AND ", [venue])
    return frame(BARS.columns, reader.fetch(f"SELECT {_COLUMNS} FROM ({statement})", bound))


def _refresh_minutes(questdb: QuestDB, reader: QuestReader) -> None:
    """Refresh bars_1m alone, as when what refreshes is killed between the two views."""
    with as_owner(questdb) as connection:
        connection.execute("REFRESH MATERIALIZED VIEW bars_1m INCREMENTAL")
    reader.wait_refreshed("bars_1m", 60)


def _assert_bars_of(reader: QuestReader, venue: str, stored: list[Batch]) -> None:
    rows = pl.concat([as_frame(one) for one in stored]).unique(TRADES.key, keep="last", maintain_order=True)
    for interval in INTERVALS:
        found = _bars(reader, venue, interval)
        assert count_different_bars(found, rebuild_bars(rows, interval)) == 0, interval
        assert found["ts"].is_sorted(), interval


@pytest.mark.parametrize("seed", range(3))
def test_bars_are_those_of_the_trades_at_every_step_of_writes_and_refreshes(
    questdb: QuestDB, reader: QuestReader, writer: QuestDBWriter, venue: str, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    stored: list[Batch] = []
    for step in range(8):
        start = _START + int(chance.integers(0, 3)) * DAY + int(chance.integers(0, 24)) * HOUR
        span = int(chance.choice([MINUTE, 20 * MINUTE, 30 * HOUR]))
        new = _trades(venue, 100 * seed + step, start, span)
        if stored and chance.random() < 0.3:
            new = _cancelled(stored[int(chance.integers(0, len(stored)))])
        stored.append(new)
        assert not writer.commit([new])
        reader.wait_applied("trades")
        _assert_bars_of(reader, venue, stored)
        match int(chance.integers(0, 3)):
            case 0:
                _refresh_minutes(questdb, reader)
            case 1:
                refresh_bar_views(questdb)
        _assert_bars_of(reader, venue, stored)


def test_closed_minutes_are_read_from_the_views_and_written_ones_from_the_trades(
    questdb: QuestDB, reader: QuestReader, writer: QuestDBWriter, venue: str
) -> None:
    assert not writer.commit([_trades(venue, 1, _START, 2 * DAY)])
    refresh_bar_views(questdb)
    refreshed = read_refreshed_views(reader, "1d")
    assert refreshed == RefreshedViews((), MAX_TS)
    at = _START + DAY + 90 * MINUTE
    assert not writer.commit([_trades(venue, 2, at, MINUTE)])
    reader.wait_applied("trades")
    late = read_refreshed_views(reader, "1d")
    assert late == RefreshedViews(((at, at + MINUTE),), MAX_TS)
    assert late.pieces("5m", _START, _START + 3 * DAY) == [
        BarPiece("bars_1m", _START, at),
        BarPiece("trades", at, at + MINUTE),
        BarPiece("bars_1m", at + MINUTE, _START + 3 * DAY),
    ]
    assert late.pieces("1w", _START, _START + 7 * DAY) == [
        BarPiece("bars_1d", _START, _START + DAY),
        BarPiece("bars_1m", _START + DAY, at),
        BarPiece("trades", at, at + MINUTE),
        BarPiece("bars_1m", at + MINUTE, _START + 2 * DAY),
        BarPiece("bars_1d", _START + 2 * DAY, _START + 7 * DAY),
    ]
    assert late.pieces("15s", _START, _START + DAY) == [BarPiece("trades", _START, _START + DAY)]
    # Only one of the views refreshed: days are made of minutes until the other is, too.
    _refresh_minutes(questdb, reader)
    between = read_refreshed_views(reader, "1d")
    assert between.unrefreshed == ()
    assert between.daily_before_ns <= _START
    assert [piece.source for piece in between.pieces("1d", _START, _START + 3 * DAY)] == ["bars_1m"]


def test_a_bar_starts_within_the_span(
    questdb: QuestDB, reader: QuestReader, writer: QuestDBWriter, venue: str
) -> None:
    assert not writer.commit([_trades(venue, 3, _START, 3 * DAY, 900)])
    refresh_bar_views(questdb)
    assert not writer.commit([_trades(venue, 4, _START + DAY, DAY)])
    reader.wait_applied("trades")
    whole = _bars(reader, venue, "1d")
    some = _bars(reader, venue, "1d", _START + HOUR, _START + DAY + HOUR)
    assert some.equals(whole.filter(pl.col("ts").dt.day() == 7))


@pytest.mark.long
async def test_transactions_are_kept_until_they_are_refreshed_and_forgotten_then(
    questdb: QuestDB, reader: QuestReader, writer: QuestDBWriter, venue: str
) -> None:
    """QuestDB keeps them in parts of 5,000, which it looks through each 30 seconds."""
    statement = "SELECT min(sequencerTxn), max(sequencerTxn) FROM wal_transactions('trades')"
    refresh_bar_views(questdb)
    shown = reader.fetch(statement)[0][1]
    for number in range(10_100):
        assert not writer.commit([_trades(venue, 5, _START + number * MINUTE, MINUTE, 1)])
    reader.wait_applied("trades")
    # Longer than the pause between two looks.
    await asyncio.sleep(40)
    assert reader.fetch(statement)[0][0] <= shown + 1
    written = ((_START, _START + 10_100 * MINUTE),)
    assert read_refreshed_views(reader, "1m").unrefreshed == written
    refresh_bar_views(questdb)
    await until(lambda: reader.fetch(statement)[0][0] > shown + 5_000 - 1, "the transactions to be forgotten")


_spans = st.lists(st.tuples(st.integers(0, 8000), st.integers(1, 4000)), max_size=12)


@settings(deadline=None)
@given(
    written=_spans,
    start=st.integers(0, 5 * DAY),
    length=st.integers(0, 5 * DAY),
    interval=st.sampled_from(["1m", "5m", "1d", "1w"]),
    daily=st.integers(0, 6),
)
def test_pieces_cover_a_span_once_without_what_the_views_lack(
    written: list[tuple[int, int]], start: int, length: int, interval: str, daily: int
) -> None:
    minutes = sorted((first * MINUTE, (first + count) * MINUTE) for first, count in written)
    apart: list[tuple[int, int]] = []
    for first, last in minutes:
        if apart and first <= apart[-1][1]:
            apart[-1] = apart[-1][0], max(apart[-1][1], last)
        else:
            apart.append((first, last))
    pieces = RefreshedViews(tuple(apart), daily * DAY).pieces(interval, start, start + length)
    step = INTERVALS[interval].length if interval == "1d" else DAY if interval == "1w" else MINUTE
    first, last = -(-start // step) * step, -(-(start + length) // step) * step
    assert (pieces[0].start_ns, pieces[-1].end_ns) == (first, last)
    for one, following in pairwise(pieces):
        assert one.end_ns == following.start_ns
    for piece in pieces:
        if piece.start_ns < piece.end_ns and not piece.is_trades:
            assert not any(low < piece.end_ns and piece.start_ns < high for low, high in apart)
        if piece.source == "bars_1d":
            assert piece.end_ns <= daily * DAY or piece.start_ns == piece.end_ns
            assert (piece.start_ns % DAY, piece.end_ns % DAY) == (0, 0)


class _Answers:
    """QuestDB's answers about one view and its base."""

    def __init__(self, transactions: list[tuple[Any, ...]], status: str = "valid") -> None:
        self._transactions = transactions
        self._status = status

    def fetch(self, statement: str, bound: object = ()) -> list[tuple[Any, ...]]:
        if "materialized_views" in statement:
            return [(self._status, 7, 9)]
        return self._transactions if "wal_transactions" in statement else [(3 * DAY + 5,)]

    def wait_applied(self, table: str) -> None:
        pass


@pytest.mark.parametrize(
    "answers",
    [
        # Two transactions after the seventh, of which QuestDB has only the times of one.
        _Answers([(0, 1, 9, 1, 1)]),
        _Answers([]),
        # Without times.
        _Answers([(None, None, 9, 2, 2)]),
        _Answers([(0, 1, 9, 2, 2)], "invalid"),
    ],
)
def test_what_questdb_does_not_tell_is_read_from_the_trades_of_all_days_it_has(answers: Any) -> None:
    assert read_refreshed_views(answers, "1m").unrefreshed == ((3 * DAY, MAX_TS),)


def test_transactions_without_rows_touch_nothing() -> None:
    answers: Any = _Answers([(None, None, 8, 1, 0), (60_000_000, 61_000_000, 9, 1, 1)])
    assert read_refreshed_views(answers, "1m").unrefreshed == ((MINUTE, 2 * MINUTE),)
