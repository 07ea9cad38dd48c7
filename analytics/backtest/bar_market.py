"""Fills of one series at recorded bars. What a bar did is told when it is known: at its end."""

from __future__ import annotations

from typing import NamedTuple

from analytics.backtest.conditions import Conditions
from analytics.backtest.orders import Execution, Order

Executions = list[tuple[Order, Execution]]


class TickBar(NamedTuple):
    """A bar on the grid: times in ns, prices in ticks, volume in lots."""

    start: int
    end: int
    open: int
    high: int
    low: int
    close: int
    volume: int


class _Chance(NamedTuple):
    """How an order may fill in a bar; in a bar stops come before limits, which is the worse for a strategy."""

    phase: int
    order: Order
    execution: Execution


_OPEN, _STOP, _LIMIT = range(3)


class BarMarket:
    """Orders of one series against its bars.

    Only a bar that starts when the order has arrived, or later, can fill it: of an earlier bar it is not known what
    came after the order. A limit is filled when the price goes through it; touching it is not enough.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._orders: list[Order] = []
        self._last: TickBar | None = None

    def send(self, order: Order) -> Executions:
        """Take an order; one that fills at the close of the bar it was made from fills at once."""
        last = self._last
        if self._conditions.rule == "same_close" and last and order.limit is None and order.stop is None:
            stale = self._conditions.stale(order.made - last.end, "close")
            if stale:
                order.end("refused", stale)
                return []
            done = self._fill(
                [_Chance(_OPEN, order, self._taken(order, order.made, last.close))], last.volume
            )
            self._orders.append(order)
            return done
        self._orders.append(order)
        return []

    def at_bar(self, bar: TickBar) -> Executions:
        """What the bar fills, at most the part of its volume that may fill."""
        self._last = bar
        self._cancel(bar.start)
        chances = []
        for order in self._orders:
            if order.arrives <= bar.start and order.is_open:
                chance = self._chance(order, bar)
                if chance is not None:
                    chances.append(chance)
                elif order.is_open and order.lifetime != "gtc" and order.stop is None:
                    order.end("cancelled", f"{order.lifetime}: could not fill at once")
        done = self._fill(sorted(chances, key=lambda chance: (chance.phase, chance.order.id)), bar.volume)
        self._cancel(bar.end)
        self._orders = [order for order in self._orders if order.is_open]
        return done

    def _chance(self, order: Order, bar: TickBar) -> _Chance | None:
        is_new, order.status = order.status == "sent", "open"
        if order.stop is not None:
            return self._stop_chance(order, bar)
        if order.limit is None:
            return self._open_chance(order, bar)
        limit, side = order.limit, order.side
        if is_new and (limit - bar.open) * side >= 0:
            return self._open_chance(order, bar)
        if order.lifetime != "gtc":
            return None
        if (limit - (bar.low if side > 0 else bar.high)) * side > 0:
            # It was in the book before the price came: a gap through it gives no better price.
            return _Chance(_LIMIT, order, Execution(bar.end - 1, limit, order.left, True))
        return None

    def _stop_chance(self, order: Order, bar: TickBar) -> _Chance | None:
        stop, side = order.stop or 0, order.side
        if (bar.open - stop) * side >= 0:
            order.stop = None
            if order.limit is None or (order.limit - bar.open) * side >= 0:
                return self._open_chance(order, bar)
        elif ((bar.high if side > 0 else bar.low) - stop) * side >= 0:
            order.stop = None
            # Where the price went after the stop is not known: a limit waits for the next bar.
            if order.limit is None:
                return _Chance(_STOP, order, self._taken(order, bar.end - 1, stop))
            order.status = "sent"
        return None

    def _open_chance(self, order: Order, bar: TickBar) -> _Chance | None:
        if order.post_only:
            order.end("refused", "post-only: it would take liquidity")
            return None
        return _Chance(_OPEN, order, self._taken(order, bar.start, bar.open))

    def _taken(self, order: Order, ts: int, ticks: int) -> Execution:
        at = self._conditions.taken_at(ticks, order.side, order.limit)
        return Execution(ts, at, order.left, False, abs(at - ticks))

    def _fill(self, chances: list[_Chance], volume: int) -> Executions:
        room = self._conditions.part(volume)
        done: Executions = []
        for chance in chances:
            order, lots = chance.order, min(chance.order.left, room)
            if order.lifetime == "fok" and lots < order.left:
                lots = 0
            if lots > 0:
                room -= lots
                done.append((order, chance.execution._replace(lots=lots)))
                if lots == order.left:
                    order.status = "filled"
            if order.is_open and order.lifetime != "gtc":
                order.end("cancelled", f"{order.lifetime}: {lots} of {order.left} lots could fill")
        return done

    def _cancel(self, now: int) -> None:
        for order in self._orders:
            if order.is_open and order.cancel_arrives is not None and order.cancel_arrives <= now:
                order.end("cancelled", "by the strategy")
