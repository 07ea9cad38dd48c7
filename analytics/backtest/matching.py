"""A price-time priority matching engine of one simulated book, compiled by numba without the GIL.

book = new_book(orders=100_000, levels=65_536)
results, trades = match(book, commands)

Prices are levels, whole ticks above the lowest price of the book. An order's id is its place in the book's memory: any
from 0 to orders - 1 that no resting order has. A level is a queue, linked through the orders in it; which levels have
orders is kept as bits, so that the next best price is found without looking at every empty one.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from tapehouse.errors import UsageError

BUY, SELL = 0, 1
LIMIT, MARKET, CANCEL, REPLACE = range(4)
"""What a command does. A market order's rest is cancelled. A replaced order keeps its place in the queue where only its
size falls, else it is a new order at the end of its queue, which may match."""
GTC, IOC, FOK, POST_ONLY = range(4)
"""How long a limit order lives; POST_ONLY: until filled or cancelled, refused where it would take."""
DONE, ID_IN_USE, UNKNOWN_ID, OUT_OF_BOUNDS, WOULD_TAKE, NOT_ALL, NO_ROOM = range(7)
"""Results: DONE, or why nothing happened. NO_ROOM: the trades had no room left; the command was not looked at."""
RESULTS: Final = (
    "done",
    "an order with this id rests",
    "no order with this id rests",
    "a price, size, side, id or word out of bounds",
    "post-only: it would take liquidity",
    "fill or kill: not all could fill",
    "no room for trades",
)

COMMAND = np.dtype(
    [
        ("id", "<i4"),
        ("kind", "i1"),
        ("side", "i1"),
        ("life", "i1"),
        ("_", "i1"),
        ("price", "<i8"),
        ("lots", "<i8"),
    ]
)
RESULT = np.dtype([("code", "<i8"), ("filled", "<i8")])
"""Of a command: its code, and the lots that it took."""
TRADE = np.dtype([("maker", "<i4"), ("taker", "<i4"), ("price", "<i8"), ("lots", "<i8")])
_ORDER = np.dtype([("price", "<i8"), ("lots", "<i8"), ("next", "<i4"), ("previous", "<i4"), ("side", "<i8")])
_LEVEL = np.dtype([("lots", "<i8"), ("first", "<i4"), ("last", "<i4")])
_NONE = -1
_WORD = 64
_jit = numba.njit(cache=True, nogil=True, error_model="numpy")
_inlined = numba.njit(inline="always", error_model="numpy")


class Book(NamedTuple):
    """A book of N orders at most and L levels; made by `new_book`, changed by `match`."""

    orders: NDArray[Any]
    """[N] by id; of an id that rests `lots` is above 0."""
    levels: NDArray[Any]
    """[2, L] by side and price: the sum of its lots, its first and last order."""
    used: NDArray[np.uint64]
    """[2, L / 64] a bit for each level that has orders."""
    best: NDArray[np.int64]
    """[2] the best price of each side: -1 where there are no buyers, L where there are no sellers."""


def new_book(orders: int, levels: int) -> Book:
    """An empty book. Raises UsageError unless 0 < orders < 2^31, and 0 < levels < 2^31 is a multiple of 64."""
    if not 0 < orders < 2**31 or not 0 < levels < 2**31 or levels % _WORD:
        raise UsageError(
            f"book: expected 1 to 2^31 orders and a multiple of {_WORD} levels, was {orders} and {levels}"
        )
    empty = np.zeros((2, levels), _LEVEL)
    empty["first"] = empty["last"] = _NONE
    return Book(
        np.zeros(orders, _ORDER),
        empty,
        np.zeros((2, levels // _WORD), np.uint64),
        np.array([-1, levels], np.int64),
    )


def match(book: Book, commands: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Execute commands [n] in order; returns their RESULT [n], and the TRADE rows in order.

    A wrong command has a code in its result and changes nothing.
    """
    results = np.zeros(len(commands), RESULT)
    made = []
    first = 0
    while True:
        # Each trade but the last of a command ends a resting order: with room for all there is always enough.
        trades = np.empty(len(book.orders) + len(commands), TRADE)
        done, count = execute(book, commands, first, results, trades)
        made.append(trades[:count])
        if done == len(commands):
            return results, np.concatenate(made)
        first = done


@_inlined
def _next_best(book: Book, side: int, price: int) -> int:
    """The best price of a side from `price` on, away from the other side; -1 or L for none."""
    step = -1 if side == BUY else 1
    limit = -1 if side == BUY else book.levels.shape[1]
    while price != limit:
        word = book.used[side, price >> 6]
        if word == 0:
            # To the nearest level of the next word.
            price = (price >> 6 << 6) - 1 if side == BUY else ((price >> 6) + 1) << 6
            continue
        if word >> np.uint64(price & 63) & np.uint64(1):
            return price
        price += step
    return price


@_inlined
def _append(book: Book, id_: int, side: int, price: int, lots: int) -> None:
    """An order rests at the end of its level's queue."""
    order = book.orders[id_]
    level = book.levels[side, price]
    order.price = price
    order.lots = lots
    order.side = side
    order.next = _NONE
    order.previous = level.last
    if level.last == _NONE:
        level.first = id_
        book.used[side, price >> 6] |= np.uint64(1) << np.uint64(price & 63)
        if (side == BUY and price > book.best[BUY]) or (side == SELL and price < book.best[SELL]):
            book.best[side] = price
    else:
        book.orders[level.last].next = id_
    level.last = id_
    level.lots += lots


@_inlined
def _remove(book: Book, id_: int) -> None:
    """An order leaves its queue."""
    order = book.orders[id_]
    side, price = order.side, order.price
    level = book.levels[side, price]
    level.lots -= order.lots
    order.lots = 0
    if order.previous == _NONE:
        level.first = order.next
    else:
        book.orders[order.previous].next = order.next
    if order.next == _NONE:
        level.last = order.previous
    else:
        book.orders[order.next].previous = order.previous
    if level.first == _NONE:
        book.used[side, price >> 6] &= ~(np.uint64(1) << np.uint64(price & 63))
        if price == book.best[side]:
            book.best[side] = _next_best(book, side, price)


@_inlined
def _crosses(side: int, price: int, other: int) -> bool:
    """Whether an order of `side` at `price` takes the best price of the other side; never one that is not there."""
    return price >= other if side == BUY else price <= other


@_inlined
def _offered(book: Book, side: int, price: int, enough: int) -> int:
    """The lots that an order could take, counted until there are enough."""
    against = 1 - side
    at = book.best[against]
    step = 1 if side == BUY else -1
    lots = 0
    while 0 <= at < book.levels.shape[1] and _crosses(side, price, at) and lots < enough:
        lots += book.levels[against, at].lots
        at = _next_best(book, against, at + step) if 0 <= at + step < book.levels.shape[1] else _NONE
    return lots


@_inlined
def _take(book: Book, id_: int, side: int, price: int, lots: int, trades: NDArray[Any], count: int) -> int:
    """Match with the other side, the best price first and the first order in it first; returns the count of trades."""
    against = 1 - side
    while lots > 0:
        at = book.best[against]
        if not 0 <= at < book.levels.shape[1] or not _crosses(side, price, at):
            break
        maker = book.levels[against, at].first
        order = book.orders[maker]
        part = min(order.lots, lots)
        trade = trades[count]
        trade.maker = maker
        trade.taker = id_
        trade.price = at
        trade.lots = part
        count += 1
        lots -= part
        if part == order.lots:
            _remove(book, maker)
        else:
            order.lots -= part
            book.levels[against, at].lots -= part
    return count


@_jit
def _enter(
    book: Book, id_: int, side: int, price: int, lots: int, life: int, trades: NDArray[Any], count: int
) -> tuple[int, int, int]:
    """A new order. Returns its code, the lots it took and the count of trades."""
    if life == POST_ONLY and _crosses(side, price, book.best[1 - side]):
        return WOULD_TAKE, 0, count
    if life == FOK and _offered(book, side, price, lots) < lots:
        return NOT_ALL, 0, count
    first = count
    count = _take(book, id_, side, price, lots, trades, count)
    left = lots
    for trade in range(first, count):
        left -= trades[trade].lots
    if left > 0 and life in (GTC, POST_ONLY):
        _append(book, id_, side, price, left)
    return DONE, lots - left, count


@_inlined
def _is_wrong(book: Book, command: Any) -> bool:
    """Whether a command has a value out of its bounds."""
    if not 0 <= command.id < len(book.orders) or not 0 <= command.kind <= REPLACE:
        return True
    if command.kind == CANCEL:
        return False
    if command.lots <= 0 or not 0 <= command.life <= POST_ONLY:
        return True
    if command.kind != REPLACE and not 0 <= command.side <= 1:
        return True
    return command.kind != MARKET and not 0 <= command.price < book.levels.shape[1]


@_jit
def execute(
    book: Book, commands: NDArray[Any], first: int, results: NDArray[Any], trades: NDArray[Any]
) -> tuple[int, int]:
    """As `match`, from row `first` on, into given memory. Returns the first row not executed, and the trades' count.

    It ends before a command for whose trades there might be no room.
    """
    count = 0
    lowest, highest = 0, book.levels.shape[1] - 1
    for row in range(first, len(commands)):
        command, result = commands[row], results[row]
        if len(trades) - count < len(book.orders):
            return row, count
        result.filled = 0
        if _is_wrong(book, command):
            result.code = OUT_OF_BOUNDS
            continue
        id_, side, price, lots, life = command.id, command.side, command.price, command.lots, command.life
        rests = book.orders[id_].lots > 0
        if command.kind >= CANCEL and not rests:
            result.code = UNKNOWN_ID
            continue
        if command.kind < CANCEL and rests:
            result.code = ID_IN_USE
            continue
        if command.kind == CANCEL:
            _remove(book, id_)
            result.code = DONE
            continue
        if command.kind == MARKET:
            price = highest if side == BUY else lowest
            life = FOK if life == FOK else IOC
        elif command.kind == REPLACE:
            order = book.orders[id_]
            side = order.side
            if price == order.price and lots <= order.lots:
                book.levels[side, price].lots -= order.lots - lots
                order.lots = lots
                result.code = DONE
                continue
            if life == POST_ONLY and _crosses(side, price, book.best[1 - side]):
                result.code = WOULD_TAKE
                continue
            if life == FOK and _offered(book, side, price, lots) < lots:
                result.code = NOT_ALL
                continue
            _remove(book, id_)
        result.code, result.filled, count = _enter(book, id_, side, price, lots, life, trades, count)
    return len(commands), count
