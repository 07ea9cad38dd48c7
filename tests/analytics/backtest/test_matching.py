"""The matching engine against a plain model of it, and what it promises by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.backtest.matching import (
    BUY,
    CANCEL,
    COMMAND,
    DONE,
    FOK,
    GTC,
    IOC,
    LIMIT,
    MARKET,
    POST_ONLY,
    REPLACE,
    RESULT,
    SELL,
    TRADE,
    Book,
    execute,
    match,
    new_book,
)
from tapehouse.errors import UsageError
from tests.analytics.backtest.plain_book import Command, PlainBook

_IDS, _LEVELS = 24, 256
# Mostly right commands on few prices, so that they meet; some of everything that is wrong.
_commands = st.lists(
    st.builds(
        Command,
        st.integers(-1, _IDS),
        st.sampled_from([LIMIT, LIMIT, LIMIT, MARKET, CANCEL, REPLACE, 4]),
        st.sampled_from([BUY, SELL, BUY, SELL, 2]),
        st.sampled_from([GTC, GTC, GTC, IOC, FOK, POST_ONLY, 4]),
        st.one_of(st.integers(60, 68), st.integers(-1, _LEVELS)),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=80,
)


def _rows(commands: Sequence[Command]) -> np.ndarray:
    rows = np.zeros(len(commands), COMMAND)
    for name in Command._fields:
        rows[name] = [getattr(command, name) for command in commands]
    return rows


def _resting(book: Book) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """By side and price the queue of ids and lots, as its links say."""
    found = {}
    for side, price in zip(*np.nonzero(book.levels["lots"]), strict=True):
        at, queue = int(book.levels[side, price]["first"]), []
        while at >= 0:
            queue.append((at, int(book.orders[at]["lots"])))
            at = int(book.orders[at]["next"])
        found[int(side), int(price)] = queue
    return found


@given(_commands)
@settings(max_examples=300)
def test_random_orders_match_as_in_the_plain_model(commands: list[Command]) -> None:
    book, plain = new_book(_IDS, _LEVELS), PlainBook(_IDS, _LEVELS)
    results, trades = match(book, _rows(commands))
    assert [tuple(map(int, row)) for row in results] == [plain.execute(command) for command in commands]
    assert [tuple(map(int, row)) for row in trades] == plain.trades

    expected: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for order in plain.resting:
        expected.setdefault((order.side, order.price), []).append((order.id, order.lots))
    assert _resting(book) == expected
    assert {key: sum(lots for _, lots in queue) for key, queue in expected.items()} == {
        key: int(book.levels[key]["lots"]) for key in expected
    }
    bids = [price for side, price in expected if side == BUY]
    asks = [price for side, price in expected if side == SELL]
    assert book.best.tolist() == [max(bids, default=-1), min(asks, default=_LEVELS)]
    assert (np.unpackbits(book.used.view(np.uint8), bitorder="little").reshape(2, _LEVELS) == (
        book.levels["first"] >= 0
    )).all()  # fmt: skip


def test_lots_are_neither_made_nor_lost_in_a_long_flow() -> None:
    random = np.random.default_rng(7)
    count = 50_000
    rows = np.zeros(count, COMMAND)
    rows["id"] = random.integers(0, 500, count)
    rows["kind"] = random.choice([LIMIT, LIMIT, MARKET, CANCEL, REPLACE], count)
    rows["side"] = random.integers(0, 2, count)
    rows["life"] = random.integers(0, 4, count)
    rows["price"] = random.integers(0, 1024, count)
    rows["lots"] = random.integers(1, 100, count)
    book = new_book(500, 1024)
    results, trades = match(book, rows)
    assert trades["lots"].sum() == results["filled"].sum() > 0
    rests = book.orders[book.orders["lots"] > 0]
    for side in (BUY, SELL):
        assert book.levels[side]["lots"].sum() == rests["lots"][rests["side"] == side].sum()
    assert book.best[BUY] < book.best[SELL]


def test_price_comes_before_time_and_time_before_size() -> None:
    commands = [
        Command(0, LIMIT, SELL, GTC, 101, 5),
        Command(1, LIMIT, SELL, GTC, 100, 1),
        Command(2, LIMIT, SELL, GTC, 100, 9),
        Command(3, LIMIT, BUY, GTC, 101, 12),
    ]
    book = new_book(8, 128)
    results, trades = match(book, _rows(commands))
    assert trades.tolist() == [(1, 3, 100, 1), (2, 3, 100, 9), (0, 3, 101, 2)]
    assert results[3].tolist() == (DONE, 12)
    assert _resting(book) == {(SELL, 101): [(0, 3)]}


@pytest.mark.parametrize(("lots", "first"), [(2, 0), (9, 1)])
def test_a_smaller_order_keeps_its_place_and_a_larger_one_does_not(lots: int, first: int) -> None:
    commands = [
        Command(0, LIMIT, BUY, GTC, 100, 5),
        Command(1, LIMIT, BUY, GTC, 100, 5),
        Command(0, REPLACE, BUY, GTC, 100, lots),
        Command(2, MARKET, SELL, GTC, 0, 1),
    ]
    _, trades = match(new_book(8, 128), _rows(commands))
    assert trades["maker"].tolist() == [first]


def test_execution_stops_where_trades_have_no_room_and_goes_on() -> None:
    commands = [Command(at, LIMIT, SELL, GTC, 50, 1) for at in range(4)]
    commands += [Command(4, MARKET, BUY, GTC, 0, 3), Command(5, MARKET, BUY, GTC, 0, 1)]
    rows, book = _rows(commands), new_book(8, 128)
    results, trades = np.zeros(len(rows), RESULT), np.empty(9, TRADE)
    assert execute(book, rows, 0, results, trades) == (5, 3)
    assert execute(book, rows, 5, results, trades) == (6, 1)
    assert results["filled"].tolist() == [0, 0, 0, 0, 3, 1]


@pytest.mark.parametrize(("orders", "levels"), [(0, 64), (8, 0), (8, 100), (2**31, 64)])
def test_a_book_out_of_bounds_is_refused(orders: int, levels: int) -> None:
    with pytest.raises(UsageError, match="book: expected"):
        new_book(orders, levels)
