"""The books of one segment: quotes that hold for the trades, and depth that agrees with the quotes."""

import numpy as np
import polars as pl
import pytest

from ingest.simulator.books import SNAPSHOT_EVERY, Books
from ingest.simulator.instruments import Instruments
from ingest.simulator.ladders import LEVELS
from ingest.simulator.timeline import Profile, start_timeline
from tapehouse.client.asof import asof
from tapehouse.clock import SECOND
from tapehouse.model import DEPTH, QUOTES
from tests.ingest.simulator.books import emitted, outside, replayed

NOW = 1_723_161_600_000_000_000
RATES = [(1_000, 1_000, 1_000), (1_000, 100, 300), (1_000, 300, 100), (50, 2, 2), (20_000, 7, 20_000)]
"""Trades, quotes and updates a second."""


def rows_of(
    rate: int, quotes: int, depth: int, positions: int = 20_000, symbols: int = 8
) -> dict[str, pl.DataFrame]:
    timeline = start_timeline(Profile(symbols=symbols), rate, NOW, quotes=quotes, depth=depth)
    return {kind.name: rows for kind, rows in emitted(timeline, 0, positions).items()}


@pytest.mark.parametrize(("rate", "quotes", "depth"), [*RATES, (1, 1, 0), (100_000, 100_000, 0), (3, 100, 0)])
def test_every_trade_is_within_the_quote_in_force(rate: int, quotes: int, depth: int) -> None:
    found = rows_of(rate, quotes, depth, symbols=40)
    assert outside(found["trades"], found["quotes"]).is_empty()
    assert (found["quotes"]["bid"] < found["quotes"]["ask"]).all()
    assert min(found["quotes"].select(pl.col("bid", "bid_size", "ask_size").min()).row(0)) > 0
    assert found["quotes"].n_unique(["symbol", "seq"]) == len(found["quotes"])


def test_buyers_pay_the_ask_and_sellers_get_the_bid_where_quotes_are_many() -> None:
    found = rows_of(100, 100_000, 0, positions=300, symbols=3)
    joined = asof(found["trades"], found["quotes"])
    taken = joined.select(pl.when(pl.col("side") == 1).then("ask").otherwise("bid") == pl.col("price"))
    assert taken.to_series().mean() > 0.95  # type: ignore[operator]


def test_spreads_are_wider_where_the_price_moves_more_until_the_next_quote() -> None:
    spread = 2e4 * (pl.col("ask") - pl.col("bid")) / (pl.col("ask") + pl.col("bid"))
    median = {}
    for quotes in (4, 100, 10_000):
        found = rows_of(50 * quotes, quotes, 0, positions=100_000, symbols=50)["quotes"]
        median[quotes] = found.select(spread.median()).item()
    # In hundredths of a percent: as those of traded instruments.
    assert 0.5 < median[10_000] < median[100] < median[4] < 20


@pytest.mark.parametrize(("rate", "quotes", "depth"), RATES)
def test_the_best_levels_are_the_quote_in_force(rate: int, quotes: int, depth: int) -> None:
    found = rows_of(rate, quotes, depth)
    for symbol, mine in found["depth"].group_by("symbol"):
        of_symbol = found["quotes"].filter(symbol=symbol[0]).sort("ts_event")
        times = of_symbol["ts_event"].to_numpy()
        values = of_symbol.select("bid", "bid_size", "ask", "ask_size").rows()
        compared = 0
        rows = list(mine.sort("ts_event", "seq", "snapshot").iter_rows(named=True))
        for (row, book), following in zip(replayed(mine), [*rows[1:], None], strict=True):
            in_force = int(np.searchsorted(times, row["ts_event"], side="right")) - 1
            assert book.best() == values[in_force]
            # With as many updates as quotes it is so at any time: no quote comes before the next update.
            if depth >= quotes and following and following["ts_event"] > row["ts_event"]:
                until = int(np.searchsorted(times, following["ts_event"], side="left")) - 1
                assert until == in_force
            compared += 1
        assert compared > 1


@pytest.mark.parametrize(("rate", "quotes", "depth"), [*RATES, (1_000, 0, 500)])
def test_updates_lead_from_snapshot_to_snapshot(rate: int, quotes: int, depth: int) -> None:
    found = rows_of(rate, quotes, depth)["depth"]
    for _, mine in found.group_by("symbol"):
        begun = 0
        for row, book in replayed(mine):
            begun += row["seq"] == NOW
            assert all(len(side) == LEVELS for side in book.levels())
            assert book.best()[0] < book.best()[2]
        assert begun == 1
    assert found.select(pl.col("snapshot").sum()).item() > 8


@pytest.mark.parametrize(("rate", "quotes", "depth"), [(1_000, 300, 300), (50, 0, 10)])
def test_levels_are_in_order_with_sizes_above_0(rate: int, quotes: int, depth: int) -> None:
    found = rows_of(rate, quotes, depth)["depth"]
    asks, bids = pl.col("ask_prices").list, pl.col("bid_prices").list
    rising = pl.all_horizontal(asks.diff().list.drop_nulls().list.min() > 0, bids.diff().list.max() < 0)
    # An update of one level has no differences.
    assert found.select(rising.fill_null(True)).to_series().all()
    sizes = pl.col("bid_sizes", "ask_sizes")
    assert found.filter("snapshot").select(sizes.list.min().min()).row(0) > (0, 0)
    updates = found.filter(pl.col("snapshot").not_())
    assert updates.select(sizes.list.min().min()).row(0) == (0, 0)
    assert updates.filter(bids.len() + asks.len() == 0).is_empty()


def test_levels_are_on_the_price_grid_and_near_the_price() -> None:
    found = rows_of(1_000, 100, 100)
    whole = found["depth"].filter("snapshot")
    deepest = 1 - whole["bid_prices"].list.last() / whole["bid_prices"].list.first()
    assert 0.0005 < deepest.min() < deepest.max() < 0.02  # type: ignore[operator]
    for price in whole["ask_prices"].explode().to_list():
        assert len(f"{price!r}".replace(".", "").strip("0")) <= 9


def test_rows_are_as_many_as_set() -> None:
    found = rows_of(1_000, 200, 500, positions=100_000, symbols=20)
    assert abs(len(found["quotes"]) - 20_000) < 200
    updates = found["depth"].filter(pl.col("snapshot").not_())
    assert abs(len(updates) - 50_000) < 500
    assert abs(len(found["depth"]) - len(updates) - 20 - len(updates) / SNAPSHOT_EVERY) < 50


@pytest.mark.parametrize(("quotes", "depth"), [(0, 0), (100, 0), (0, 100)])
def test_a_rate_of_0_has_no_rows(quotes: int, depth: int) -> None:
    found = rows_of(1_000, quotes, depth)
    assert ("quotes" in found, "depth" in found) == (quotes > 0, depth > 0)


def test_a_window_has_a_bounded_number_of_rows() -> None:
    for quotes, depth, symbols in (
        (100_000, 100_000, 3),
        (1, 1, 3_000),
        (100_000, 1, 200),
        (1, 100_000, 200),
    ):
        timeline = start_timeline(Profile(symbols=symbols), 1, NOW, quotes=quotes, depth=depth)
        books = Books(timeline, timeline.segments[0], Instruments(symbols, 1))
        windows = list(books.windows(NOW, NOW + SECOND))
        rows = [batch.rows for window in windows[:3] for batch in books.window(window)]
        assert max(rows) < 3_000


def test_books_of_many_symbols_begin_in_parts() -> None:
    timeline = start_timeline(Profile(symbols=5_000), 1_000, NOW, quotes=10, depth=10)
    found = emitted(timeline, 0, 1)
    assert [len(found[kind]) for kind in (QUOTES, DEPTH)] == [5_000, 5_000]
    assert set(found[DEPTH]["ts_event"]) == {NOW}
    assert found[DEPTH]["snapshot"].all()
