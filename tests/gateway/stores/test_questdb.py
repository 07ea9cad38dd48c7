"""Answers of a real QuestDB against the same rows in plain hands."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateway.query import Query
from gateway.stores import questdb as module
from gateway.stores.questdb import QuestStore
from ingest.hotstore import HotStore
from tapehouse import questdb as reading
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, HOUR, INTERVALS, MAX_TS, MINUTE, SECOND, now_ns, parse_ns
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.model import ACCOUNT_TRADES, BARS, DEPTH, GAPS, NO_BAR, QUOTES, TRADES
from tapehouse.questdb import QuestReader
from tapehouse.tabular import TIME
from tests.batches import batch, decimals
from tests.conftest import Platform

# Around the end of a leap month and of a week, so that every interval has several bars and a seam.
_START = parse_ns("2024-02-28T22:00:00Z")
Store = Callable[..., None]


@pytest.fixture
def reader(provisioned: Platform) -> Iterator[QuestReader]:
    with QuestReader(provisioned.settings.questdb) as reader:
        yield reader


@pytest.fixture
def quest(provisioned: Platform) -> Iterator[QuestStore]:
    with QuestStore(provisioned.settings.questdb) as quest:
        yield quest


@pytest.fixture(scope="module")
def store(provisioned: Platform) -> Iterator[Store]:
    hot = HotStore(provisioned.settings.questdb)
    reader = QuestReader(provisioned.settings.questdb)

    def store(*batches: Batch, at_once: bool = False) -> None:
        for written in [batches] if at_once else [[one] for one in batches]:
            assert hot.commit(written) == []
        reader.wait_applied(batches[0].kind.name)
        if batches[0].kind is TRADES:
            for view in ("bars_1m", "bars_1d"):
                reader.wait_refreshed(view, 60)

    yield store
    hot.close()
    reader.close()


def _trades(venue: str, times: list[int] | np.ndarray[Any, Any], symbol: str = "S", **columns: Any) -> Batch:
    rows = len(times)
    chance = np.random.default_rng(rows)
    usual = {
        "ts_event": np.asarray(times, np.int64),
        "symbol": Strings.constant(symbol, rows),
        "seq": np.arange(rows),
        "price": chance.integers(1, 1_000, rows) / 8,
        "size": chance.integers(0, 100, rows) / 4,
        "flags": np.zeros(rows, np.int16),
    }
    whole = batch(TRADES, rows, rows, venue=venue)
    return replace(whole, columns={**whole.columns, **usual, **columns})


def _rebuilt(trades: Batch, interval: str) -> pl.DataFrame:
    """The bars of trades, of the last row of each key, by the words of the design."""
    frame = pl.DataFrame(
        {
            "ts": INTERVALS[interval].bucket(trades.array("ts_event")),
            "ts_event": trades.array("ts_event"),
            "seq": trades.array("seq"),
            "price": trades.array("price"),
            "size": trades.array("size"),
            "side": trades.array("side"),
            "flags": trades.array("flags"),
        }
    )
    frame = frame.unique(["ts_event", "seq"], keep="last", maintain_order=True)
    counted = frame.filter(pl.Series((frame["flags"].to_numpy() & int(NO_BAR)) == 0))
    return (
        counted.sort("seq")
        .group_by("ts")
        .agg(
            open=pl.col("price").first(),
            high=pl.col("price").max(),
            low=pl.col("price").min(),
            close=pl.col("price").last(),
            volume=pl.col("size").sum(),
            turnover=(pl.col("price") * pl.col("size")).sum(),
            trades=pl.len().cast(pl.Int64),
            buy_volume=pl.col("size").filter(pl.col("side") == 1).sum(),
            seq_first=pl.col("seq").min(),
            seq_last=pl.col("seq").max(),
        )
        .sort("ts")
        .with_columns(pl.col("ts").cast(TIME), venue=pl.lit(trades.venue), symbol=pl.lit("S"))
        .select(BARS.names)
    )


def _assert_equal(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Sums to 1e-9 relative, all else exactly."""
    sums = ("volume", "turnover", "buy_volume")
    assert found.columns == expected.columns
    assert found.drop(sums).equals(expected.drop(sums))
    for name in sums:
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-9)


def _bars(venue: str, interval: str, start: int, end: int, fill: Any = "none") -> Query:
    return Query("bars", venue, "S", start, end, interval, fill)


def _shuffled(seed: int, venue: str) -> list[Batch]:
    """Trades with ties, out of order, late by weeks, cancelled and corrected, in several commits."""
    chance = np.random.default_rng(seed)
    rows = 1_000
    # Thick for some minutes, thinner for hours and days, thin for weeks.
    reach = chance.choice([5 * MINUTE, 2 * HOUR, 3 * DAY, 70 * DAY], rows, p=[0.3, 0.3, 0.2, 0.2])
    times = np.sort(_START + (chance.random(rows) * reach).astype(np.int64) // SECOND * SECOND)
    ties = chance.random(rows) < 0.3
    times[ties] = times[ties] // (30 * SECOND) * (30 * SECOND)
    # Numbers that are not in the order of time.
    seq = np.arange(rows)
    swapped = chance.permutation(rows)[: rows // 5]
    seq[swapped] = chance.permutation(seq[swapped])
    flags = chance.choice([0, 0, 0, 0, 1, 2, 3, 4, 5], rows).astype(np.int16)
    whole = _trades(venue, times, seq=seq, flags=flags)
    parts = [whole.take(part) for part in np.array_split(chance.permutation(rows), 4)]
    corrected = whole.take(chance.permutation(rows)[:50])
    cancelled = (corrected.array("flags") ^ 1).astype(np.int16)
    prices = corrected.array("price") + 1
    return [*parts, replace(corrected, columns={**corrected.columns, "flags": cancelled, "price": prices})]


@pytest.fixture(scope="module")
def shuffled(store: Store) -> list[Batch]:
    """The trades of two venues, all that was written of them."""
    written = [_shuffled(seed, f"T{secrets.token_hex(4).upper()}") for seed in range(2)]
    for parts in zip(*written, strict=True):
        store(*parts, at_once=True)
    return [Batch.concat(parts) for parts in written]


@pytest.mark.parametrize("interval", INTERVALS)
def test_bars_equal_a_rebuild_from_the_trades(
    quest: QuestStore, shuffled: list[Batch], interval: str
) -> None:
    for trades in shuffled:
        expected = _rebuilt(trades, interval)
        assert expected.height > 2
        assert expected["trades"].max() > 3
        _assert_equal(quest.read(_bars(trades.venue, interval, 0, MAX_TS)), expected)
        # Any part of it has the bars that start in it, and each is whole.
        chance = np.random.default_rng(7)
        for _ in range(5):
            reach = int(chance.choice([HOUR, 3 * DAY, 70 * DAY]))
            start, end = sorted((_START + chance.integers(0, reach, 2)).tolist())
            within = expected.filter(pl.col("ts").cast(pl.Int64).is_between(start, end, closed="left"))
            _assert_equal(quest.read(_bars(trades.venue, interval, start, end)), within)


def test_late_rows_change_the_bars_they_belong_to(store: Store, quest: QuestStore, venue: str) -> None:
    first = _trades(venue, [_START + index * SECOND for index in range(120)], seq=np.arange(120) * 10)
    store(first)
    late = _trades(
        venue, [_START + 30 * SECOND] * 3, seq=np.array([5, 305, 2_000]), price=np.array([1e6, 2e6, 3e6])
    )
    store(late)
    for interval in ("15s", "1m", "1d", "1M"):
        _assert_equal(
            quest.read(_bars(venue, interval, 0, MAX_TS)), _rebuilt(Batch.concat([first, late]), interval)
        )


def test_other_venues_and_symbols_take_no_part(store: Store, quest: QuestStore, venue: str) -> None:
    own = _trades(venue, [_START, _START + 1])
    store(_trades(f"{venue}2", [_START] * 3), _trades(venue, [_START] * 3, "T"), own)
    for interval in ("15s", "1m", "1w"):
        _assert_equal(quest.read(_bars(venue, interval, 0, MAX_TS)), _rebuilt(own, interval))


def test_a_span_is_half_open_to_the_nanosecond(store: Store, quest: QuestStore, venue: str) -> None:
    store(_trades(venue, [_START - 1, _START, _START + 1, _START + 2]))

    def seqs(start: int, end: int) -> list[int]:
        return quest.read(Query("trades", venue, "S", start, end))["seq"].to_list()

    assert seqs(_START, _START + 2) == [1, 2]
    assert seqs(_START - 1, _START) == [0]
    assert seqs(_START + 2, _START + 3) == [3]
    assert seqs(_START + 3, MAX_TS) == []
    assert seqs(0, MAX_TS) == [0, 1, 2, 3]
    bars = [(_START - 15 * SECOND, _START), (_START - 15 * SECOND + 1, _START), (_START, _START + 1)]
    counts = [quest.read(_bars(venue, "15s", *span))["trades"].to_list() for span in bars]
    assert counts == [[1], [], [3]]


def _filled(
    bars: pl.DataFrame, interval: str, starts: list[int], before: float | None
) -> list[tuple[Any, ...]]:
    """(ts, open, high, low, close, volume, trades, seq_first) with flat bars where there are none."""
    names = ("ts", "open", "high", "low", "close", "volume", "trades", "seq_first")
    by_start = {
        row[0]: row for row in bars.with_columns(pl.col("ts").cast(pl.Int64)).select(names).iter_rows()
    }
    rows, close = [], before
    for start in starts:
        if start in by_start:
            rows.append(by_start[start])
            close = by_start[start][4]
        elif close is not None:
            rows.append((start, close, close, close, close, 0.0, 0, None))
    return rows


def _length(interval: str) -> int:
    table = INTERVALS[interval]
    return int(table.following(table.bucket(np.array([_START])))[0] - table.bucket(np.array([_START]))[0])


def _sparse(interval: str, venue: str) -> Batch:
    """Trades with empty bars between; some in each bar, at any moment of it, numbered across the order of time."""
    length = _length(interval)
    chance = np.random.default_rng(length % 2**32)
    times = [
        _START + step * length + int(at) for step in (0, 1, 5, 6, 11) for at in chance.integers(0, length, 4)
    ]
    return _trades(venue, times, seq=chance.permutation(len(times)))


@pytest.fixture(scope="module")
def sparse(store: Store) -> dict[str, Batch]:
    """For each interval trades of a venue of their own."""
    written = {name: _sparse(name, f"T{secrets.token_hex(4).upper()}") for name in INTERVALS}
    store(*written.values(), at_once=True)
    return written


@pytest.mark.parametrize("interval", INTERVALS)
def test_filled_bars_are_flat_at_the_close_before(
    quest: QuestStore, sparse: dict[str, Batch], interval: str
) -> None:
    trades, length = sparse[interval], _length(interval)
    bars = _rebuilt(trades, interval)
    table = INTERVALS[interval]
    starts = [int(table.bucket(np.array([_START - 2 * length]))[0])]
    while starts[-1] < _START + 15 * length:
        starts.append(int(table.following(np.array([starts[-1]]))[0]))
    for first in range(len(starts) - 1):
        span = starts[first], starts[-1]
        inside = [start for start in starts[:-1] if start >= span[0]]
        closes = bars.filter(pl.col("ts").cast(pl.Int64) < span[0])["close"]
        expected = _filled(bars, interval, inside, closes[-1] if len(closes) else None)
        found = quest.read(_bars(trades.venue, interval, *span, "flat"))
        names = ("ts", "open", "high", "low", "close", "volume", "trades", "seq_first")
        assert found.with_columns(pl.col("ts").cast(pl.Int64)).select(names).rows() == expected
        assert found.columns == list(BARS.names)
        assert found.schema == bars.schema
        assert found["venue"].unique().to_list() in ([trades.venue], [])


def test_nothing_is_filled_before_the_first_trade_nor_after_now(
    store: Store, quest: QuestStore, venue: str
) -> None:
    assert quest.read(_bars(venue, "1m", 0, MAX_TS, "flat")).height == 0
    now = now_ns()
    store(_trades(venue, [now - 5 * MINUTE]))
    found = quest.read(_bars(venue, "1m", now - HOUR, now + HOUR, "flat"))
    starts = found["ts"].cast(pl.Int64).to_list()
    assert starts[0] == (now - 5 * MINUTE) // MINUTE * MINUTE
    assert now // MINUTE * MINUTE <= starts[-1] <= now_ns()
    assert np.all(np.diff(starts) == MINUTE)


@pytest.mark.parametrize("page", [1, 2, 3, 7, 100])
def test_pages_cut_anywhere_give_the_same_rows_in_order(
    store: Store, quest: QuestStore, venue: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng(page)
    # Timestamps of more rows than a page among others of one.
    times = np.sort(_START + chance.choice(12, 60) ** 3)
    trades = _trades(venue, times, seq=chance.permutation(60))
    store(trades.take(chance.permutation(60)))
    monkeypatch.setattr(reading, "PAGE_ROWS", page)
    frames = list(quest.stream(Query("trades", venue, "S", 0, MAX_TS)))
    assert all(frame.height for frame in frames)
    found = pl.concat(frames)
    expected = sorted(zip(times.tolist(), trades.array("seq").tolist(), strict=True))
    assert list(zip(found["ts_event"].cast(pl.Int64), found["seq"], strict=True)) == expected
    assert found["price"].to_list() == [
        trades.array("price")[trades.array("seq") == seq][0] for _, seq in expected
    ]
    if page == 7:
        assert len(frames) > 2


def test_trades_and_quotes_have_the_models_columns_and_types(
    store: Store, quest: QuestStore, venue: str
) -> None:
    trades = _trades(venue, [_START, _START + 1], conditions=Strings.of(["@", None]))
    quotes = batch(QUOTES, 2, venue=venue)
    quotes.columns.update(
        symbol=Strings.constant("S", 2),
        ts_event=np.array([_START, _START + 1]),
        seq=np.arange(2),
        bid=np.array([1.0, np.nan]),
        bid_size=np.array([1.0, np.nan]),
    )
    store(trades)
    store(quotes)
    found = quest.read(Query("trades", venue, "S", 0, MAX_TS))
    assert found.columns == list(TRADES.names)
    assert found["ts_event"].dtype == found["ts_recv"].dtype == TIME
    assert found["conditions"].to_list() == ["@", None]
    assert found["ts_recv"].cast(pl.Int64).to_list() == trades.array("ts_recv").tolist()
    assert (found["venue"].to_list(), found["side"].dtype) == ([venue] * 2, pl.Int8)
    found = quest.read(Query("quotes", venue, "S", 0, MAX_TS))
    assert found.columns == list(QUOTES.names)
    assert (found["bid"].to_list(), found["bid_size"].to_list()) == ([1.0, None], [1.0, None])
    for kind in ("trades", "quotes"):
        empty = quest.read(Query(kind, venue, "nobody", 0, MAX_TS))
        full = quest.read(Query(kind, venue, "S", 0, MAX_TS))
        assert (empty.height, empty.schema) == (0, full.schema)


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


def test_the_last_number_is_that_of_the_last_time_at_or_before(
    store: Store, reader: QuestReader, venue: str
) -> None:
    store(_trades(venue, [_START, _START, _START + 5], seq=np.array([7, 9, 3])))
    asked = {when: reader.last_seq(TRADES, venue, "S", _START + when) for when in (-1, 0, 4, 5, 100)}
    assert asked == {-1: None, 0: 9, 4: 9, 5: 3, 100: 3}
    assert reader.last_seq(TRADES, venue, "T", MAX_TS - 1) is None
    assert reader.count(TRADES, venue, _START, _START + 5) == 2


def test_a_server_that_does_not_answer_and_a_statement_it_refuses_are_told_apart(
    provisioned: Platform, reader: QuestReader, venue: str
) -> None:
    settings = provisioned.settings.questdb.model_copy(update={"pg_port": 1})
    with QuestStore(settings) as store, pytest.raises(ConnectError, match="questdb: no answer"):
        store.read(Query("trades", venue, "S", 0, 1))
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
    assert module.QuestStore is QuestStore


def test_account_trades_are_one_accounts_in_the_order_of_the_key_with_exact_amounts(
    quest: QuestStore, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE_ROWS", 7)
    account = secrets.randbits(40)
    amounts = [10**38 - 1, 1 - 10**38, 1, 10**18 + 1, 0] * 8
    whole = batch(ACCOUNT_TRADES, 40, 1)
    columns = {
        "ts_event": _START + np.arange(40) // 4,
        "account_id": np.where(np.arange(40) % 2, account, account + 1),
        "id": np.arange(40)[::-1].copy(),
        "amount": decimals(amounts),
    }
    store(replace(whole, columns={**whole.columns, **columns}))
    found = quest.read(Query("account_trades", "", str(account), _START, _START + 9))
    expected = sorted(
        (_START + row // 4, 39 - row, Decimal(f"{amounts[row]}e-18")) for row in range(36) if row % 2
    )
    assert found.columns == list(ACCOUNT_TRADES.names)
    times = found["ts_event"].cast(pl.Int64)
    assert list(zip(times, found["id"], found["amount"], strict=True)) == expected
    assert set(found["account_id"]) == {account}
    none = quest.read(Query("account_trades", "", str(account), _START + 10, _START + 11))
    assert none.schema == found.schema
    assert none.is_empty()
