"""`Desk`: what a strategy sees, and how it makes orders."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.backtest.account import Account
from analytics.backtest.instrument import MONEY, Series
from analytics.backtest.orders import LIFETIMES, Lifetime, Order
from analytics.backtest.risk import MAX_LOTS
from tapehouse.clock import iso
from tapehouse.errors import UsageError

if TYPE_CHECKING:
    from analytics.backtest.strategy import Bar

KEPT_BARS = 10_000
"""Bars of each symbol that a strategy can look back at."""


class FillNotice(NamedTuple):
    """A fill as a strategy is told of it."""

    ts: int
    order: int
    venue: str
    symbol: str
    side: int
    price: float
    size: float
    maker: bool
    fee: float


class Desk:
    """Takes orders, and answers with what is known at `now`, ns UTC.

    Sizes are units of the symbol, rounded to no other: one that is no whole number of lots is an error, as are NaN,
    infinite and negative ones. `venue` may be left out where one venue has the symbol. Prices are rounded to the
    nearest tick.
    """

    def __init__(
        self,
        account: Account,
        send: Callable[[Order], None],
        cancel: Callable[[Order], None],
        timer: Callable[[int], None],
    ) -> None:
        self.now = 0
        self.orders: dict[int, Order] = {}
        """All orders of the run by id; `reason` says why one was refused or cancelled."""
        self._alive: dict[Series, list[Order]] = {series: [] for series in account.positions}
        self._account = account
        self._send, self._cancel, self._timer = send, cancel, timer
        self._bars: dict[Series, deque[Bar]] = {
            series: deque(maxlen=KEPT_BARS) for series in account.positions
        }
        self._by_symbol: dict[str, list[Series]] = {}
        for series in account.positions:
            self._by_symbol.setdefault(series.symbol, []).append(series)

    def buy(self, symbol: str, size: float, **more: Any) -> Order:
        """Buy; as `order`."""
        return self.order(symbol, size, **more)

    def sell(self, symbol: str, size: float, **more: Any) -> Order:
        """Sell; as `order`."""
        return self.order(symbol, -_checked(size, "size"), **more)

    def order(
        self,
        symbol: str,
        size: float,
        *,
        limit: float | None = None,
        stop: float | None = None,
        lifetime: Lifetime = "gtc",
        post_only: bool = False,
        venue: str | None = None,
    ) -> Order:
        """Make an order: market, with `limit` a limit, with `stop` a stop, with both a stop-limit.

        size: to buy, below 0 to sell. lifetime: "gtc", "ioc" or "fok". Raises UsageError for values out of bounds;
        an order that the limits of risk refuse has the status "refused" and a reason.
        """
        series = self.series(symbol, venue)
        grid = self._account.positions[series].grid
        if not grid.is_whole(_checked(size, "size")) or not grid.lots(size):
            raise UsageError(f"size: expected a multiple of the lot {grid.lot}, not 0, was {size!r}")
        if abs(grid.lots(size)) > MAX_LOTS:
            raise UsageError(f"size: expected at most {grid.size(MAX_LOTS):g}, was {size!r}")
        if lifetime not in LIFETIMES:
            raise UsageError(f"lifetime: expected one of {' '.join(LIFETIMES)}, was {lifetime!r}")
        if post_only and limit is None:
            raise UsageError("post_only: expected a limit with it")
        made = Order(
            len(self.orders) + 1,
            series,
            1 if size > 0 else -1,
            abs(grid.lots(size)),
            self.now,
            self.now,
            None if limit is None else grid.ticks(_checked(limit, "limit")),
            None if stop is None else grid.ticks(_checked(stop, "stop")),
            lifetime,
            post_only,
        )
        self.orders[made.id] = made
        self._alive[series].append(made)
        self._send(made)
        return made

    def cancel(self, order: Order) -> None:
        """Cancel an order; nothing where it has ended."""
        if order.is_open and order.cancel_arrives is None:
            self._cancel(order)

    def replace(self, order: Order, *, size: float | None = None, limit: float | None = None) -> Order | None:
        """Cancel an order and make another of what is left, or of `size`; it joins the end of the queue.

        Returns None where the order has ended.
        """
        if not order.is_open:
            return None
        grid = self._account.positions[order.series].grid
        self.cancel(order)
        return self.order(
            order.series.symbol,
            order.side * (grid.size(order.left) if size is None else abs(size)),
            limit=limit if limit is not None else None if order.limit is None else grid.price(order.limit),
            stop=None if order.stop is None else grid.price(order.stop),
            lifetime=order.lifetime,
            post_only=order.post_only,
            venue=order.series.venue,
        )

    def target(self, symbol: str, size: float, *, venue: str | None = None) -> Order | None:
        """Cancel what is open and bring the position to `size`, rounded towards zero to a lot; None if it is there."""
        series = self.series(symbol, venue)
        grid = self._account.positions[series].grid
        for order in self.open_orders(symbol, venue=venue):
            self.cancel(order)
        lots = grid.lots(_checked(size, "target")) - self._account.positions[series].lots
        return self.order(symbol, grid.size(lots), venue=series.venue) if lots else None

    def open_orders(self, symbol: str, *, venue: str | None = None) -> list[Order]:
        """Orders of a symbol that may still fill, without those that are being cancelled."""
        alive = self.may_fill(self.series(symbol, venue))
        return [order for order in alive if order.cancel_arrives is None]

    def may_fill(self, series: Series) -> list[Order]:
        """Orders that may still fill, with those whose cancellation is on its way."""
        alive = self._alive[series] = [order for order in self._alive[series] if order.is_open]
        return [order for order in alive if order.cancel_arrives is None or order.cancel_arrives > self.now]

    def position(self, symbol: str, *, venue: str | None = None) -> float:
        """The position in a symbol, in units of it; below 0 short."""
        position = self._account.positions[self.series(symbol, venue)]
        return position.grid.size(position.lots)

    @property
    def cash(self) -> float:
        """Cash in the currency."""
        return float(self._account.cash / MONEY)

    @property
    def equity(self) -> float:
        """Cash and positions at the last prices."""
        return float(self._account.equity / MONEY)

    def bars(self, symbol: str, last: int, *, venue: str | None = None) -> list[Bar]:
        """The last bars that are known, oldest first: `last` of them or fewer; at most 10,000."""
        kept = self._bars[self.series(symbol, venue)]
        if not 0 < last <= KEPT_BARS:
            raise UsageError(f"last: expected 1 to {KEPT_BARS:,}, was {last}")
        return [kept[at] for at in range(max(len(kept) - last, 0), len(kept))]

    def closes(self, symbol: str, last: int, *, venue: str | None = None) -> NDArray[np.float64]:
        """The closes of `bars`."""
        return np.array([bar.close for bar in self.bars(symbol, last, venue=venue)])

    def bar(self, symbol: str, ts: int, *, venue: str | None = None) -> Bar | None:
        """The bar that starts at `ts`, ns UTC; None if there is none. Raises UsageError for one not known yet."""
        kept = self._bars[self.series(symbol, venue)]
        newest = kept[-1].ts if kept else 0
        if ts > newest:
            raise UsageError(
                f"bar: the one of {iso(ts)} is not known at {iso(self.now)}",
                remedy="A bar is known once it has ended and its grace is over.",
            )
        return next((bar for bar in reversed(kept) if bar.ts == ts), None)

    def timer(self, ts: int) -> None:
        """Ask for `on_timer` at a time, ns UTC, that is to come."""
        if ts <= self.now:
            raise UsageError(f"timer: expected a time after {iso(self.now)}, was {iso(ts)}")
        self._timer(ts)

    def series(self, symbol: str, venue: str | None = None) -> Series:
        """The series of a symbol. Raises UsageError for one that is not in the run, or is of several venues."""
        found = [one for one in self._by_symbol.get(symbol, ()) if venue is None or one.venue == venue]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{symbol}: name one of the venues {' '.join(one.venue for one in found)}")
        raise UsageError(
            f"{symbol}: is not in this run", remedy=f"It has {', '.join(map(str, self._account.positions))}."
        )

    def know(self, series: Series, bar: Bar) -> None:
        """A bar is known from now on."""
        self._bars[series].append(bar)


def _checked(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise UsageError(f"{name}: expected a finite number, was {value!r}")
    return value
