"""The catalog over both stores: times and rows of each series, and what is read again when days move or change."""

from __future__ import annotations

import polars as pl
import pytest

from gateway.answers.catalog import Catalog
from gateway.answers.coverage import ColdDay
from tapehouse.clock import DAY, parse_ns
from tapehouse.model import QUOTES, TRADES
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.gateway.world import World

_FIRST = parse_ns("2024-03-01")
_DAYS = 5


def _rows() -> pl.DataFrame:
    """Trades of A on every day, of B on the first alone."""
    times = [_FIRST + day * DAY + hour * 3 for day in range(_DAYS) for hour in (1, 5)] + [_FIRST + 77]
    rows = as_frame(batch(TRADES, len(times), 1, venue="V", start=_FIRST, span=1))
    return rows.with_columns(
        pl.Series("ts_event", times).cast(pl.Datetime("ns", "UTC")),
        seq=pl.int_range(len(times)),
        symbol=pl.Series(["A"] * (len(times) - 1) + ["B"]),
        flags=pl.lit(0, pl.Int16),
    )


@pytest.fixture
def world() -> World:
    quotes = as_frame(batch(QUOTES, 1, 1, venue="V", start=_FIRST, span=1)).with_columns(symbol=pl.lit("A"))
    return World({"trades": _rows(), "quotes": quotes})


def _read(catalog: Catalog) -> list[tuple[object, ...]]:
    found = catalog.read().filter(pl.col("kind") == "trades")
    return found.drop("kind").with_columns(pl.col("first", "last").cast(pl.Int64)).rows()


_EXPECTED = [
    ("V", "A", _FIRST + 3, _FIRST + (_DAYS - 1) * DAY + 15, 10),
    ("V", "B", _FIRST + 77, _FIRST + 77, 1),
]


def test_times_and_rows_are_the_same_wherever_the_days_are(world: World) -> None:
    catalog = Catalog(world)
    assert _read(catalog) == _EXPECTED
    assert catalog.names().rows() == [("quotes", "V", "A"), ("trades", "V", "A"), ("trades", "V", "B")]
    for _ in range(_DAYS):
        world.hand_over(TRADES, 1)
        world.refresh()
        assert _read(catalog) == _EXPECTED
        assert _read(Catalog(world)) == _EXPECTED
        world.leave(TRADES)
        world.refresh()
        assert _read(catalog) == _EXPECTED


def _asked_cold(world: World, catalog: Catalog) -> list[tuple[int, int]]:
    world.cold.asked.clear()
    catalog.read()
    spans = [tuple(map(int, asked.split()[1:])) for asked in world.cold.asked]
    return [(start, end) for start, end in spans]


def test_of_the_cold_store_only_days_that_are_new_are_read(world: World) -> None:
    catalog = Catalog(world)
    world.hand_over(TRADES, 2)
    world.refresh()
    assert _asked_cold(world, catalog) == [(0, _FIRST + 2 * DAY)]
    assert _asked_cold(world, catalog) == []
    world.hand_over(TRADES, 2)
    world.refresh()
    assert _asked_cold(world, catalog) == [(_FIRST + 2 * DAY, _FIRST + 4 * DAY)]


def test_a_cold_day_that_has_changed_is_read_again(world: World) -> None:
    catalog = Catalog(world)
    world.hand_over(TRADES, 2)
    world.refresh()
    assert _read(catalog) == _EXPECTED
    late = (
        _rows().tail(1).with_columns(seq=pl.lit(99, pl.Int64), ts_event=pl.col("ts_event").dt.offset_by("1d"))
    )
    world.cold.put(TRADES, late)
    world.owned["trades"][_FIRST + DAY] = ColdDay(3, "changed")
    world.refresh()
    assert _read(catalog)[1] == ("V", "B", _FIRST + 77, _FIRST + DAY + 77, 2)
