"""Every store answers alike: the same rows, in the same order, whatever is asked and however it is cut in pages."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway import arrow
from gateway.query import Query, RowKey
from gateway.stores.contract import Store
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, HOUR, MAX_TS, SECOND, parse_ns
from tapehouse.model import ACCOUNT_TRADES, BARS, DEPTH, GAPS, QUOTES, TICKS, TRADES, Kind
from tests.batches import batch
from tests.gateway import oracle
from tests.gateway.stores.stored_rows import Stores, rows_of

START = parse_ns("2024-02-28T22:00:00Z")
NAMES = (
    "BTCUSDT",
    "O'Brien",
    "''; DROP TABLE trades; --",
    '"quoted"',
    "back\\slash\\'",
    "\\N",
    "per%cent%s %d ?",
    "{symbol:String}",
    "$1 :name",
    "☃ 𝄞 🚀",
    "e\u0301 \u0928\u0940",
    "ÄÖ\u200dü\u202e",
    "tab\tnew\nline\rreturn",
    " ",
    "NULL",
    "ä" * 256,
)
NUMBERED = np.array([0, START - 599, START + 602, START + 2 * HOUR + 3])
FEW = settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], phases=[Phase.generate]
)


def asked(kind: Kind, venue: str, symbols: tuple[str, ...] = (), **more: Any) -> Query:
    """All rows of names, but for what is said otherwise."""
    usual: dict[str, Any] = {"start_ns": 0, "end_ns": MAX_TS}
    return Query(kind.name, venue, symbols, **{**usual, **more})


def tied(kind: Kind, venue: str, rows: int, seed: int) -> Batch:
    """Rows of several names with every column, many of one time, in no order; the keys are all different."""
    chance = np.random.default_rng(seed)
    times = START + chance.choice([0, 1, 2, SECOND, 3 * HOUR, 3 * HOUR, DAY, 3 * DAY], rows)
    columns: dict[str, Any] = {"ts_event": times}
    if kind is ACCOUNT_TRADES:
        columns |= {"account_id": ACCOUNT + chance.integers(0, 3, rows), "id": chance.permutation(rows)}
    else:
        columns |= {
            "symbol": Strings(("A", "B", "a", "Ä"), chance.integers(0, 4, rows).astype(np.int32)),
            # Some near their time, which are stored otherwise; some below it, and some far above.
            "seq": chance.permutation(rows) * 4 + NUMBERED[chance.integers(0, 4, rows)],
        }
    whole = batch(kind, rows, seed, venue=venue)
    return replace(whole, columns={**whole.columns, **columns})


ACCOUNT = secrets.randbits(50)
VENUE = f"T{secrets.token_hex(4).upper()}"


@pytest.fixture(scope="module")
def stored(stores: Stores) -> dict[str, pl.DataFrame]:
    """Rows of every kind that all stores have."""
    return {kind.name: stores.put(tied(kind, VENUE, 300, seed)) for seed, kind in enumerate(TICKS)}


def every(kind: Kind, **more: Any) -> Query:
    if kind is ACCOUNT_TRADES:
        return asked(kind, "", tuple(str(ACCOUNT + n) for n in range(3)), **more)
    return asked(kind, VENUE, ("A", "B", "a", "Ä"), **more)


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_all_rows_and_columns_of_every_kind_come_in_the_order_of_the_key(
    store: Store, stored: dict[str, pl.DataFrame], kind: Kind
) -> None:
    query = every(kind)
    found = rows_of(store, kind, query)
    assert found.columns == list(kind.names)
    oracle.assert_answers(found, oracle.answer(stored, query, 0))
    assert found.height == 300


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_names_are_told_apart_and_one_alone_is_as_good_as_many(
    store: Store, stored: dict[str, pl.DataFrame], kind: Kind
) -> None:
    chosen: list[tuple[str, ...]] = [("A",), ("Ä",), ("Ä", "a"), ("nobody",), ("nobody", "B")]
    if kind is ACCOUNT_TRADES:
        chosen = [(str(ACCOUNT),), ("1",), (str(ACCOUNT + 2), "1")]
    for names in chosen:
        query = replace(every(kind), symbols=names)
        oracle.assert_answers(rows_of(store, kind, query), oracle.answer(stored, query, 0))


def test_gaps_of_all_venues_or_of_all_symbols_of_one(store: Store, stored: dict[str, pl.DataFrame]) -> None:
    for query in (asked(GAPS, VENUE), asked(GAPS, ""), asked(GAPS, "", ("A", "Ä"))):
        found = rows_of(store, GAPS, query, 100).filter(pl.col("venue") == VENUE)
        oracle.assert_answers(found, oracle.answer(stored, query, 0))


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_a_choice_of_columns_has_those_of_the_key_with_it(
    store: Store, stored: dict[str, pl.DataFrame], kind: Kind
) -> None:
    for name in kind.names:
        query = every(kind, columns=(name,))
        wanted = [one for one in kind.names if one == name or one in kind.key]
        page = store.read(query, 0, MAX_TS, None, 1_000)
        assert page.is_last
        assert page.batch.schema == arrow.schema(kind.name, tuple(wanted))
        found = pl.DataFrame(pl.from_arrow(page.batch))
        oracle.assert_answers(found, oracle.answer(stored, every(kind), 0).select(wanted))


@pytest.mark.parametrize("kind", [TRADES, QUOTES, DEPTH], ids=lambda kind: kind.name)
def test_rows_with_a_flag_are_left_out_where_that_is_asked(
    store: Store, stored: dict[str, pl.DataFrame], kind: Kind
) -> None:
    for flags in range(1, 8):
        query = every(kind, flags=flags)
        expected = oracle.answer(stored, query, 0)
        assert expected.height < 300
        oracle.assert_answers(rows_of(store, kind, query), expected)


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
@FEW
@given(data=st.data())
def test_pages_of_any_size_put_together_are_the_rows(
    store: Store, stored: dict[str, pl.DataFrame], kind: Kind, data: st.DataObject
) -> None:
    reach = [START - 1, START, START + 1, START + 2, START + SECOND, START + DAY, START + 3 * DAY, MAX_TS]
    start, end = sorted(data.draw(st.lists(st.sampled_from(reach), min_size=2, max_size=2, unique=True)))
    query = every(kind, start_ns=start, end_ns=end, flags=0)
    if data.draw(st.booleans()):
        query = replace(query, symbols=query.symbols[:1])
    found = rows_of(store, kind, query, data.draw(st.sampled_from([7, 23, 64, 150, 299, 300, 301])))
    assert not found.select(kind.key).is_duplicated().any()
    oracle.assert_answers(found, oracle.answer(stored, query, 0))


def test_pages_of_one_row_are_enough(store: Store, stored: dict[str, pl.DataFrame]) -> None:
    query = replace(every(TRADES), symbols=("A",), end_ns=START + 2)
    expected = oracle.answer(stored, query, 0)
    assert expected.height > 10
    oracle.assert_answers(rows_of(store, TRADES, query, 1), expected)


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
@FEW
@given(data=st.data())
def test_behind_any_key_come_the_rows_with_greater_ones(
    store: Store, stored: dict[str, pl.DataFrame], kind: Kind, data: st.DataObject
) -> None:
    rows = stored[kind.name]
    row = data.draw(st.integers(0, rows.height - 1))
    key: list[Any] = [int(rows[kind.time].cast(pl.Int64)[row]), *rows.select(kind.key[1:]).row(row)]
    place = data.draw(st.integers(0, len(key)))
    if place < len(key):
        key[place] = _beside(key[place], data)
    after: RowKey = tuple(key)
    query = every(kind, after=after, start_ns=data.draw(st.sampled_from([0, START, START + 1])))
    oracle.assert_answers(rows_of(store, kind, query, 40), oracle.answer(stored, query, 0))


def _beside(value: Any, data: st.DataObject) -> Any:
    """A value that is no row's, or another's."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(0, value + data.draw(st.sampled_from([-1, 1, HOUR])))
    return data.draw(st.sampled_from(["", "A", "AA", "é", value + "!", "zzz", "'; --"]))


def test_spans_are_half_open_to_the_nanosecond(
    stores: Stores, store: Store, store_name: str, venue: str
) -> None:
    four = plain(venue, [START - 1, START, START + 1, START + 2])
    stores.put(four)

    def seqs(start: int, end: int) -> list[Any]:
        return rows_of(store, TRADES, asked(TRADES, venue, ("S",), start_ns=start, end_ns=end))[
            "seq"
        ].to_list()

    assert seqs(START, START + 2) == [1, 2]
    assert seqs(START - 1, START) == [0]
    assert seqs(START + 2, START + 3) == [3]
    assert seqs(START + 3, MAX_TS) == []
    assert seqs(0, START - 1) == []
    assert seqs(0, MAX_TS) == [0, 1, 2, 3]
    for start, end in ((START, START + 2), (START + 2, MAX_TS), (0, START - 1)):
        query = asked(TRADES, venue, ("S",))
        count, oldest = store.count_newest(query, start, end, 10)
        assert count == len(seqs(start, end))
        assert oldest == (max(start, START - 1) if count else end)


def plain(venue: str, times: list[int], **columns: Any) -> Batch:
    """Trades of the symbol S, numbered from 0, that take part in bars."""
    rows = len(times)
    usual: dict[str, Any] = {
        "ts_event": np.array(times),
        "symbol": Strings.constant("S", rows),
        "seq": np.arange(rows),
        "flags": np.zeros(rows, np.int16),
    }
    whole = batch(TRADES, rows, rows, venue=venue)
    return replace(whole, columns={**whole.columns, **usual, **columns})


@pytest.mark.parametrize("kind", [TRADES, GAPS], ids=lambda kind: kind.name)
def test_names_are_any_text(stores: Stores, store: Store, store_name: str, venue: str, kind: Kind) -> None:
    rows = batch(kind, len(NAMES), 3, venue=venue)
    rows.columns.update(
        symbol=Strings.of(NAMES), seq=np.arange(len(NAMES)), ts_event=np.full(len(NAMES), START)
    )
    stores.put(rows)
    for seq, name in enumerate(NAMES):
        found = rows_of(store, kind, asked(kind, venue, (name,)))
        assert found.select("symbol", "seq").rows() == [(name, seq)]
        after = (START, venue, name, seq - 1) if kind is TRADES else (START, venue, name, seq - 1, "z")
        behind = rows_of(store, kind, asked(kind, venue, (name,), after=after))
        assert behind["symbol"].to_list() == [name]
        strangers = asked(kind, f"{venue}{name}"[:256], (name,))
        assert rows_of(store, kind, strangers).height == 0
    found = rows_of(store, kind, asked(kind, venue, NAMES), 5)
    assert found["symbol"].to_list() == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_venues_are_any_text(stores: Stores, store: Store, store_name: str, venue: str, name: str) -> None:
    own = f"{venue}{name}"
    stores.put(plain(own, [START, START + 1]))
    assert rows_of(store, TRADES, asked(TRADES, own, ("S",)))["venue"].to_list() == [own] * 2
    assert store.last_bar_time(_bars(own), "S", 0, MAX_TS) is not None
    assert store.bars(_bars(own), 0, MAX_TS)[0].column("venue").to_pylist() == [own]
    assert store.latest(own, ["S"]).column("venue").to_pylist() == [own]


def _bars(venue: str, interval: str = "1m") -> Query:
    return Query("bars", venue, ("S",), 0, MAX_TS, interval)


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_the_newest_rows_are_counted_back_from_the_end(
    store: Store, stored: dict[str, pl.DataFrame], kind: Kind
) -> None:
    flagged = {"flags": 1} if "flags" in kind.names else {}
    for more in ({}, flagged):
        query = every(kind, **more)
        for start, end in ((0, MAX_TS), (START, START + 2), (START + SECOND, START + DAY), (0, START)):
            times = oracle.chosen(stored[kind.name], replace(query, start_ns=start, end_ns=end))[kind.time]
            for count in (1, 2, 50, 10_000):
                newest = times.cast(pl.Int64).tail(count).to_list()
                expected = (len(newest), newest[0]) if newest else (0, end)
                assert store.count_newest(query, start, end, count) == expected


def test_the_last_trade_that_takes_part_in_bars(
    stores: Stores, store: Store, store_name: str, venue: str
) -> None:
    times = [START, START, START, START + HOUR, START + HOUR, START + DAY]
    flags = np.array([0, 4, 0, 1, 2, 3], np.int16)
    seq = np.array([5, 9, 7, 20, 21, 22])
    stores.put(plain(venue, times, seq=seq, flags=flags))
    other = plain(venue, [START + 5, START + 4], symbol=Strings.constant("T", 2))
    stores.put(other)
    found = store.latest(venue, ["T", "nobody", "S"])
    assert found.schema == arrow.schema(TRADES.name, TRADES.names)
    last = {row["symbol"]: row["seq"] for row in found.select(["symbol", "seq"]).to_pylist()}
    assert last == {"S": 9, "T": 0}
    assert store.latest(venue, ["nobody"]).num_rows == store.latest(venue, []).num_rows == 0


def test_what_is_held_is_known_by_day_and_the_oldest_time(
    stores: Stores, store: Store, store_name: str
) -> None:
    early = parse_ns("1999-12-31T23:59:59.999999999Z")
    before = store.day_sizes(QUOTES)
    quotes = batch(QUOTES, 3, 1, venue=f"T{secrets.token_hex(4)}")
    quotes.columns.update(ts_event=np.array([early, early + 1, early + 2]), seq=np.arange(3))
    stores.put(quotes)
    found = store.day_sizes(QUOTES)
    new = {day: size.rows - (before[day].rows if day in before else 0) for day, size in found.items()}
    days = {day: rows for day, rows in new.items() if rows and day <= early + DAY}
    # Each store comes upon the rows that the test before has put.
    assert days in ({early // DAY * DAY: 1, early + 1: 2}, {})
    assert found[early // DAY * DAY].bytes > 0
    assert store.oldest_time(QUOTES) == early


def test_there_is_nothing_of_what_is_not_there(store: Store, store_name: str, venue: str) -> None:
    for kind in TICKS:
        names = ("1",) if kind is ACCOUNT_TRADES else ("S",)
        query = asked(kind, "" if kind is ACCOUNT_TRADES else venue, names)
        page = store.read(query, 0, MAX_TS, None, 100)
        assert (page.batch.num_rows, page.is_last) == (0, True)
        assert page.batch.schema == arrow.schema(kind.name, kind.names)
        assert store.count_newest(query, 0, MAX_TS, 5) == (0, MAX_TS)
    bars, _ = store.bars(_bars(venue), 0, MAX_TS)
    assert (bars.num_rows, bars.schema) == (0, arrow.schema(BARS.name, BARS.names))
    assert store.last_bar_time(_bars(venue), "S", 0, MAX_TS) is None
    store.check_health()


@pytest.mark.long
def test_a_million_rows_come_whole(stores: Stores, store_name: str, venue: str) -> None:
    if store_name == "memory":
        pytest.skip("frames are not made for it")
    rows, parts = 1_000_000, 4
    chance = np.random.default_rng(1)
    times = np.sort(START + chance.integers(0, 3 * DAY, rows) // 1_000_000 * 1_000_000)
    whole = batch(TRADES, rows, 1, venue=venue)
    whole.columns.update(ts_event=times, seq=chance.permutation(rows), symbol=Strings.constant("S", rows))
    expected = stores.put(
        *(whole.slice(part * rows // parts, (part + 1) * rows // parts) for part in range(parts))
    )
    found = stores.answer(store_name, asked(TRADES, venue, ("S",)))
    assert found.equals(expected.sort("ts_event", "seq"))
