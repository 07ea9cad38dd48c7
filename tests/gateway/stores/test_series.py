"""The series that a store has: first and last time and rows of each, and the rows of some names in a span."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from gateway.query import Query
from gateway.stores import questdb_series
from gateway.stores.contract import Store
from tapehouse.batch import Strings
from tapehouse.clock import DAY, HOUR, MAX_TS, MINUTE, SECOND, parse_ns
from tapehouse.model import QUOTES, TRADES
from tapehouse.stores.questdb import QuestReader
from tapehouse.stores.questdb_bars import BarPiece
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tests.batches import batch
from tests.gateway import oracle
from tests.gateway.stores.stored_rows import Stores

START = parse_ns("2012-02-27")
VENUE = f"T{secrets.token_hex(4).upper()}"
SYMBOLS = tuple(f"S{number}" for number in range(60))


def _put(
    stores: Stores, venue: str, times: Sequence[int], names: Sequence[str], flags: Sequence[int]
) -> None:
    whole = batch(TRADES, len(times), 3, venue=venue)
    columns = {
        "ts_event": np.array(times, np.int64),
        "symbol": Strings.of(names),
        "seq": np.arange(len(times)),
        "flags": np.array(flags, np.int16),
    }
    stores.put(replace(whole, columns={**whole.columns, **columns}))


@pytest.fixture(scope="module")
def stored(stores: Stores) -> pl.DataFrame:
    """Trades of 60 series over four days: of some one trade, of some none that counts, of some none on some days."""
    chance = np.random.default_rng(4)
    times, names, flags = [], [], []
    for number, name in enumerate(SYMBOLS):
        first, last = sorted(chance.integers(0, 4 * DAY, 2).tolist())
        count = int(chance.choice([1, 2, 200]))
        times += (START + chance.integers(first, last + 1, count)).tolist()
        names += [name] * count
        flags += [3] * count if number % 10 == 9 else chance.choice([0, 0, 1, 2, 4], count).tolist()
    _put(stores, VENUE, times, names, flags)
    refresh_bar_views(stores.settings.questdb)
    return _listed(stores.memory, 0, MAX_TS)


def _listed(store: Store, start: int, end: int, venue: str = VENUE, *, exact: bool = True) -> pl.DataFrame:
    return store.symbols(TRADES, start, end, exact=exact).filter(pl.col("venue") == venue)


def test_first_and_last_are_those_of_the_trades_to_the_nanosecond(
    stores: Stores, store: Store, stored: pl.DataFrame
) -> None:
    assert 40 < stored.height <= 54
    assert _listed(store, 0, MAX_TS).equals(stored)
    for start, end in ((START, START + DAY), (START + DAY, START + 3 * DAY), (START + 9 * DAY, MAX_TS)):
        assert _listed(store, start, end).equals(_listed(stores.memory, start, end))


def test_without_exactness_the_days_are_right(store: Store, stored: pl.DataFrame) -> None:
    found = _listed(store, 0, MAX_TS, exact=False)
    assert found.drop("first", "last").equals(stored.drop("first", "last"))
    for name in ("first", "last"):
        assert found[name].dt.truncate("1d").equals(stored[name].dt.truncate("1d"))


def test_trades_that_no_view_shows_yet_are_in_it(stores: Stores, store: Store, venue: str) -> None:
    old, new = START + 20 * DAY + HOUR + 7, START + 21 * DAY + 2 * HOUR + 9
    _put(stores, venue, [old, old + 1], ["A", "A"], [0, 0])
    refresh_bar_views(stores.settings.questdb)
    # Late ones of another number of minutes, before and after what the views show.
    _put(stores, venue, [old - SECOND, old - HOUR, new], ["A", "B", "A"], [0, 0, 0])
    found = _listed(store, 0, MAX_TS, venue)
    assert found.with_columns(pl.col("first", "last").cast(pl.Int64)).rows() == [
        (venue, "A", old - SECOND, new, 4),
        (venue, "B", old - HOUR, old - HOUR, 1),
    ]


def test_of_the_trades_only_minutes_are_read(
    stores: Stores, stored: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whole days none; however many series share a minute, once."""
    read: list[tuple[str, Sequence[int]]] = []
    read_within = questdb_series._read_within

    def told(reader: QuestReader, piece: BarPiece, starts: Sequence[int]) -> pl.DataFrame:
        read.append((piece.source, starts))
        return read_within(reader, piece, starts)

    monkeypatch.setattr(questdb_series, "_read_within", told)
    monkeypatch.setattr(questdb_series, "_STARTS", 7)
    refresh_bar_views(stores.settings.questdb)
    assert _listed(stores.hot, START, START + 4 * DAY).equals(stored)
    (days, day_starts), (minutes, minute_starts) = read
    assert (days, minutes) == ("bars_1m", "trades")
    assert set(day_starts) <= {START + day * DAY for day in range(4)}
    assert all(start % MINUTE == 0 for start in minute_starts)
    assert 7 < len(minute_starts) == len(set(minute_starts)) <= 2 * stored.height
    read.clear()
    _listed(stores.hot, START, START + 4 * DAY, exact=False)
    assert read == []
    with QuestReader(stores.settings.questdb) as reader:
        plan = reader.fetch(
            "EXPLAIN SELECT count() FROM trades WHERE ts_event IN '[2012-02-27T00:01,2012-02-28T00:03]'"
        )
    assert any("Interval forward scan" in line for (line,) in plan)


def test_rows_of_names_in_any_span(stores: Stores, store: Store, stored: pl.DataFrame) -> None:
    chance = np.random.default_rng(5)
    query = Query("trades", VENUE, SYMBOLS[:5], 0, MAX_TS, flags=7)
    spans = [(0, MAX_TS), (START, START + DAY), (START + 1, START + 4 * DAY - 1), (START, START + 1)]
    for _ in range(6):
        start, end = sorted((START + chance.integers(0, 4 * DAY, 2)).tolist())
        spans.append((start, end + 1))
        spans.append((start, start + int(chance.integers(1, 3 * MINUTE))))
    for start, end in spans:
        expected = stores.memory.count_rows(query, start, end)
        assert store.count_rows(query, start, end) == expected, (start, end)
        bars = Query("bars", VENUE, SYMBOLS[:5], 0, MAX_TS, "7m")
        assert store.count_rows(bars, start, end) == expected
    assert (stores.memory.count_rows(query, 0, MAX_TS) or 0) > 100


def test_rows_of_other_kinds_are_known_where_the_store_sorts_by_name(
    stores: Stores, store: Store, store_name: str, venue: str
) -> None:
    quotes = batch(QUOTES, 40, 1, venue=venue, start=START, span=DAY)
    stores.put(quotes)
    symbol = quotes.strings("symbol").to_list()[0]
    query = Query("quotes", venue, (str(symbol),), 0, MAX_TS)
    expected = oracle.of_names(stores.memory.rows["quotes"], query).height
    assert store.count_rows(query, 0, MAX_TS) == (None if store_name == "hot" else expected)
