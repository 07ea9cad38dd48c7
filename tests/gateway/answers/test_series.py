"""Names that are looked up: the venue that is left out, all symbols of one, and names that are not stored."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import polars as pl
import pytest

from gateway.answers import series
from gateway.answers.answer import QueryAnswer
from gateway.answers.series import SeriesDirectory
from gateway.query import Query
from tapehouse.clock import DAY, MAX_TS, parse_ns
from tapehouse.errors import UnknownSeriesError, UsageError
from tapehouse.model import GAPS, QUOTES, TICKS, TRADES
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.gateway.world import World
from tests.reads import whole

_FIRST = parse_ns("2024-03-01")


def _rows(kind: Any, venue: str, *symbols: str) -> pl.DataFrame:
    rows = as_frame(batch(kind, len(symbols), 1, venue=venue, start=_FIRST, span=1))
    return rows.with_columns(
        pl.Series("symbol", symbols),
        pl.Series("seq", range(len(symbols))),
        # The catalog has no trades that count in no bar.
        *([pl.lit(0, pl.Int16).alias("flags")] if kind is TRADES else ()),
    )


@pytest.fixture
def world() -> World:
    trades = [_rows(TRADES, "sim", "BTCUSDT", "ETHUSDT"), _rows(TRADES, "other", "ETHUSDT", "GCZ3")]
    quotes = [_rows(QUOTES, "sim", "BTCUSDT"), _rows(QUOTES, "tape", "GCZ3", "SPY")]
    gaps = _rows(GAPS, "sim", "NEW")
    return World({"trades": pl.concat(trades), "quotes": pl.concat(quotes), "gaps": gaps})


def _query(kind: str = "trades", venue: str = "sim", *symbols: str, **more: Any) -> Query:
    return Query.from_user(kind, venue=venue, symbols=symbols or ("BTCUSDT",), **{"start": 0, **more})


def _answered(world: World, query: Query) -> pl.DataFrame:
    return whole(QueryAnswer(query, world, SeriesDirectory(world).check))


@pytest.mark.parametrize(
    ("venue", "symbols", "said"),
    [
        ("sim", ("BTCUSD",), "no BTCUSD of sim; near: BTCUSDT"),
        ("sim", ("btcusdt",), "no btcusdt of sim; near: BTCUSDT"),
        ("sim", ("BTCUSDT", "ETHUSD"), "no ETHUSD of sim; near: ETHUSDT"),
        ("sim", ("GCZ3",), "no GCZ3 of sim; it is of other, tape"),
        ("sim", ("zzzz",), "no zzzz of sim; sim has BTCUSDT, ETHUSDT"),
        ("sin", ("BTCUSDT",), "no venue sin; near: sim"),
        ("xyz", ("BTCUSDT",), "no venue xyz; venues: other, sim, tape"),
        ("BTCUSDT", ("sim",), "no venue BTCUSDT; sim is a venue and BTCUSDT a symbol: were they swapped?"),
        ("other", ("sim",), "no sim of other; sim is a venue: write venue='sim'"),
    ],
)
@pytest.mark.parametrize("kind", ["trades", "bars", "quotes", "depth", "gaps"])
def test_a_wrong_name_is_an_error_that_names_near_ones(
    world: World, kind: str, venue: str, symbols: tuple[str, ...], said: str
) -> None:
    more = {"interval": "1m"} if kind == "bars" else {}
    with pytest.raises(UnknownSeriesError) as raised:
        _answered(world, _query(kind, venue, *symbols, **more))
    assert raised.value.message.startswith(said)
    assert "db.catalog()" in raised.value.remedy


@pytest.mark.parametrize("kind", ["trades", "bars", "quotes", "depth", "gaps"])
@pytest.mark.parametrize("cold", [False, True])
def test_a_span_without_rows_of_a_symbol_that_is_stored_is_empty(world: World, kind: str, cold: bool) -> None:
    if cold:
        for moved in TICKS:
            world.hand_over(moved, 9)
            world.leave(moved)
        world.refresh()
    more = {"interval": "1m"} if kind == "bars" else {}
    for symbols in (("BTCUSDT",), ("BTCUSDT", "ETHUSDT"), ("NEW",)):
        query = _query(kind, "sim", *symbols, start=_FIRST - DAY, end=_FIRST, **more)
        answer = QueryAnswer(query, world, SeriesDirectory(world).check)
        found = whole(answer)
        assert found.is_empty()
        assert found.columns == answer.schema.names
    # A page after the last row is empty, whoever's it is.
    assert _answered(
        world, replace(_query("trades", "sim", "X"), after=(MAX_TS - 1, "sim", "X", 1))
    ).is_empty()


def test_gaps_of_all_venues_and_rows_of_accounts_name_nothing_that_can_be_wrong(world: World) -> None:
    for query in (
        Query.from_user("gaps", start=0, end="1970-01-02"),
        Query.from_user("gaps", start=0, end="1970-01-02", venue="sim"),
        Query.from_user("account_trades", start=0, symbols="7"),
    ):
        assert _answered(world, query).is_empty()
    with pytest.raises(UnknownSeriesError, match="no venue sin; near: sim"):
        _answered(world, Query.from_user("gaps", start=0, end="1970-01-02", venue="sin"))


def test_names_are_looked_up_only_if_there_are_no_rows_and_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    directory = SeriesDirectory(world)
    read = directory.catalog.names
    monkeypatch.setattr(directory.catalog, "names", lambda: reads.append(1) or read())
    whole(QueryAnswer(_query(), world, directory.check))
    assert reads == []
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for _ in range(3):
            whole(QueryAnswer(_query("depth", "sim", symbol), world, directory.check))
    assert reads == [1]
    # A loop that waits for a symbol does not read the catalog each time.
    for _ in range(3):
        with pytest.raises(UnknownSeriesError):
            directory.check_names("sim", ["X"])
    assert reads == [1]
    world.hot.put(TRADES, _rows(TRADES, "sim", "X"))
    directory.check_names("sim", ["X"])


def test_a_venue_that_is_left_out_is_the_one_that_has_the_symbols(world: World) -> None:
    directory = SeriesDirectory(world)
    assert directory.resolve(_query("trades", "")).venue == "sim"
    assert directory.resolve(_query("bars", "", "GCZ3", interval="1m")).venue == "other"
    assert directory.resolve(_query("quotes", "", "GCZ3", "SPY")).venue == "tape"
    # The venue that has the kind, before one that has the symbol alone.
    assert directory.resolve(_query("trades", "", "GCZ3")).venue == "other"
    assert directory.resolve(_query("trades", "", "SPY")).venue == "tape"
    assert directory.resolve(_query()) == _query()


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        (("ETHUSDT",), "venue: expected one of other, sim, was nothing"),
        (("BTCUSD",), "no BTCUSD; near: BTCUSDT"),
        (("sim",), "no sim; sim is a venue: write venue='sim'"),
        (("BTCUSDT", "SPY"), "venue: expected one that has all symbols; BTCUSDT is of sim, SPY is of tape"),
        (("*",), "venue: expected one of other, sim, was nothing"),
    ],
)
def test_a_venue_that_cannot_be_found_is_an_error(world: World, symbols: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        SeriesDirectory(world).resolve(_query("trades", "", *symbols, limit=1))
    assert raised.value.message.startswith(said)


def test_a_symbol_stored_a_moment_ago_is_found_without_its_venue(world: World) -> None:
    directory = SeriesDirectory(world)
    assert directory.venue_of("trades", ["BTCUSDT"]) == "sim"
    world.hot.put(TRADES, _rows(TRADES, "fresh", "NOW"))
    assert directory.venue_of("trades", ["NOW"]) == "fresh"


def test_all_symbols_are_those_of_the_venue_and_kind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = SeriesDirectory(world)
    query = directory.resolve(_query("trades", "sim", "*", last=1))
    assert query.symbols == ("BTCUSDT", "ETHUSDT")
    assert directory.resolve(_query("quotes", "sim", "*", limit=9)).symbols == ("BTCUSDT",)
    with pytest.raises(UnknownSeriesError, match="no venue sin; near: sim"):
        directory.resolve(_query("trades", "sin", "*", last=1))
    with pytest.raises(UsageError, match="end: expected an end, limit or last with the symbols"):
        _query("trades", "sim", "*")
    with pytest.raises(UsageError, match=r"expected names, or \* alone"):
        _query("trades", "sim", "*", "A", last=1)
    monkeypatch.setattr(series, "MAX_SYMBOLS", 1)
    with pytest.raises(UsageError, match=r"expected at most 1, was \* of sim, which has 2"):
        directory.resolve(_query("trades", "sim", "*", last=1))


def test_where_nothing_is_stored_it_says_so() -> None:
    world = World({})
    with pytest.raises(UnknownSeriesError, match="nothing is stored yet"):
        _answered(world, _query())
    with pytest.raises(UnknownSeriesError, match="nothing is stored yet"):
        SeriesDirectory(world).resolve(_query("trades", "", "*", last=1))


def test_while_the_owners_of_days_are_unknown_an_empty_answer_is_not_refused(world: World) -> None:
    world.coverage = replace(world.coverage, unknown_reason="clickhouse is away")
    query = _query("trades", "sim", "X", start=MAX_TS - DAY)
    assert _answered(world, query).is_empty()


def test_random_names_are_never_a_defect(world: World) -> None:
    chance = Random(1)
    directory = SeriesDirectory(world)
    for _ in range(50):
        venue, symbol = ("".join(chance.choices("simBTCUSDÄ*", k=chance.randrange(1, 9))) for _ in range(2))
        with pytest.raises(UnknownSeriesError, match=r"^no "):
            directory.check_names(venue, [symbol])
