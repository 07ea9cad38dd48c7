"""Numbers for rows whose source has none, and the record that keeps every symbol to one numbering."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.numbering import BY_TIME, NumberingRegistry, number_by_time
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MAX_TS
from tapehouse.errors import NumberingError
from tapehouse.model import QUOTES, TRADES
from tapehouse.stream.bus import Bus, State
from tests.batches import NAMES, batch
from tests.conftest import Platform

Row = tuple[str, int]
# Few times and symbols, so that they meet.
_rows = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 6) | st.integers(0, MAX_TS - 1)), min_size=1, max_size=40
)


def _batch(rows: list[Row], spare: tuple[str, ...] = ()) -> Batch:
    whole = batch(TRADES, len(rows))
    symbols = Strings.of([symbol for symbol, _ in rows])
    whole.columns["symbol"] = Strings((*spare, *symbols.values), symbols.codes + len(spare))
    whole.columns["ts_event"] = np.array([ts for _, ts in rows], np.int64)
    return whole


def _plain(rows: list[Row], previous: dict[str, int]) -> list[int]:
    """max(previous + 1, ts_event), row by row."""
    numbers = []
    for symbol, ts in rows:
        previous[symbol] = max(previous[symbol] + 1, ts) if symbol in previous else ts
        numbers.append(previous[symbol])
    return numbers


@given(_rows, st.dictionaries(st.sampled_from("abcd"), st.integers(0, 10) | st.integers(0, MAX_TS)))
def test_numbers_are_those_of_the_plain_rule(rows: list[Row], before: dict[str, int]) -> None:
    previous, expected_previous = dict(before), dict(before)
    numbered = number_by_time(_batch(rows, ("x", "y")), previous)
    assert numbered.array("seq").tolist() == _plain(rows, expected_previous)
    assert numbered.array("seq").dtype == np.int64
    assert previous == expected_previous


@given(_rows, st.lists(st.integers(1, 10), min_size=1))
def test_cuts_change_nothing(rows: list[Row], sizes: list[int]) -> None:
    whole = _batch(rows)
    previous: dict[str, int] = {}
    found: list[int] = []
    start = 0
    for index in range(len(rows)):
        stop = start + sizes[index % len(sizes)]
        if start < len(rows):
            found += number_by_time(whole.slice(start, stop), previous).array("seq").tolist()
        start = stop
    assert found == _plain(rows, {})


@given(_rows)
def test_numbers_rise_within_a_symbol_and_are_the_same_each_time(rows: list[Row]) -> None:
    one, other = number_by_time(_batch(rows), {}), number_by_time(_batch(rows), {})
    assert one.array("seq").tolist() == other.array("seq").tolist()
    for symbol in "abc":
        own = one.array("seq")[[index for index, row in enumerate(rows) if row[0] == symbol]]
        assert (np.diff(own) > 0).all()
    assert (one.array("seq") >= one.array("ts_event")).all()


def test_everything_else_stays_as_it_was() -> None:
    whole = _batch([("a", 5), ("b", 5), ("a", 5)])
    numbered = number_by_time(whole, {})
    assert {name for name in whole.columns if numbered.columns[name] is not whole.columns[name]} == {"seq"}
    assert (numbered.kind, numbered.venue, numbered.rows) == (whole.kind, whole.venue, whole.rows)
    assert numbered.array("seq").tolist() == [5, 5, 6]


def test_a_row_without_a_symbol_touches_no_symbol() -> None:
    whole = _batch([("a", 1), ("b", 1), ("b", 1)])
    whole.columns["symbol"] = Strings.of(["a", None, "b"])
    previous: dict[str, int] = {}
    assert number_by_time(whole, previous).array("seq").tolist()[::2] == [1, 1]
    assert previous == {"a": 1, "b": 1}
    whole.columns["symbol"] = Strings.of([None, None, None])
    number_by_time(whole, previous)
    assert previous == {"a": 1, "b": 1}


def test_no_rows_have_no_numbers() -> None:
    previous = {"a": 3}
    assert number_by_time(_batch([("a", 1)]).slice(0, 0), previous).rows == 0
    assert previous == {"a": 3}


@pytest.fixture
async def state(provisioned: Platform) -> AsyncIterator[State]:
    bus = await Bus.connect(provisioned.settings, "feed")
    yield await bus.shared_state()
    await bus.close()


async def test_the_first_numbering_of_a_symbol_is_recorded_and_any_other_refused(
    state: State, venue: str
) -> None:
    await NumberingRegistry(state, venue).claim_symbols(TRADES, NAMES, BY_TIME)
    await NumberingRegistry(state, venue).claim_symbols(TRADES, NAMES, BY_TIME)
    for name in NAMES:
        other = NumberingRegistry(state, venue)
        with pytest.raises(NumberingError, match="expected rows numbered by time, was trade id") as refusal:
            await other.claim_symbols(TRADES, [name], "trade id")
        assert refusal.value.fields == {"symbol": name, "recorded": "time"}
        assert venue in refusal.value.message
        assert refusal.value.remedy


async def test_a_numbering_is_of_a_kind_venue_and_symbol(state: State, venue: str) -> None:
    await NumberingRegistry(state, venue).claim_symbols(TRADES, ["A"], BY_TIME)
    await NumberingRegistry(state, venue).claim_symbols(QUOTES, ["A"], "id")
    await NumberingRegistry(state, f"{venue}2").claim_symbols(TRADES, ["A"], "id")
    await NumberingRegistry(state, venue).claim_symbols(TRADES, ["B"], "id")


async def test_a_refused_symbol_is_refused_again(state: State, venue: str) -> None:
    await NumberingRegistry(state, venue).claim_symbols(TRADES, ["A"], BY_TIME)
    other = NumberingRegistry(state, venue)
    for _ in range(2):
        with pytest.raises(NumberingError):
            await other.claim_symbols(TRADES, ["A"], "id")


async def test_of_many_that_begin_at_once_one_numbering_holds(state: State, venue: str) -> None:
    symbols = [f"S{number}" for number in range(20)]

    async def hold(numbering: str) -> list[bool]:
        async def held(symbol: str) -> bool:
            try:
                await NumberingRegistry(state, venue).claim_symbols(TRADES, [symbol], numbering)
            except NumberingError:
                return False
            return True

        return list(await asyncio.gather(*(held(symbol) for symbol in symbols)))

    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*(hold(numbering) for numbering in ("a", "b", "a", "c")))
    for by_a, by_b, by_a_too, by_c in zip(*outcomes, strict=True):
        assert by_a == by_a_too
        assert [by_a, by_b, by_c].count(True) == 1


async def test_thousands_of_symbols_are_held(state: State, venue: str) -> None:
    symbols = [f"S{number}" for number in range(1_000)]
    numberings = NumberingRegistry(state, venue)
    await numberings.claim_symbols(TRADES, symbols, BY_TIME)
    with pytest.raises(NumberingError):
        await NumberingRegistry(state, venue).claim_symbols(TRADES, symbols[-1:], "id")
