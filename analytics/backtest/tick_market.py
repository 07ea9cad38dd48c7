"""Fills of one series at recorded quotes and trades."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from analytics.backtest.bar_market import Executions
from analytics.backtest.conditions import Conditions
from analytics.backtest.orders import Execution, Order


@dataclass
class _Side:
    """One side of the quote in force; `lots` are those that this run has not taken."""

    ticks: int | None = None
    lots: int = 0


class TickMarket:
    """Orders of one series against its quotes and trades, each when its time comes.

    An order that takes fills at the quote in force when it arrives, as far as its size goes, and what is left at the
    next quotes; without quotes at the next trades. A limit that rests joins the end of the queue at its price, whose
    length is the quote's size there when the order is first at the best price; trades at the price and a quote
    that shrinks move it on. A trade through its price, or a quote across it, fills it.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        self._waiting: list[tuple[int, int, int, Order]] = []
        self._taking: list[Order] = []
        self._resting: list[Order] = []
        self._stops: list[Order] = []
        self._sides = {1: _Side(), -1: _Side()}  # what a buyer takes, what a seller takes
        self._quoted: int | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it has no orders, so that trades change nothing."""
        return not (self._waiting or self._taking or self._resting or self._stops)

    def send(self, order: Order) -> None:
        """An order is on its way."""
        heapq.heappush(self._waiting, (order.arrives, order.id, 0, order))

    def cancel(self, order: Order) -> None:
        """The cancellation of an order, at its `cancel_arrives`, is on its way."""
        heapq.heappush(self._waiting, (order.cancel_arrives or 0, order.id, 1, order))

    def until(self, now: int) -> Executions:
        """What arrives before `now`, at the quote in force."""
        done: Executions = []
        while self._waiting and self._waiting[0][0] < now:
            at, _, is_cancel, order = heapq.heappop(self._waiting)
            if not order.is_open:
                continue
            if is_cancel:
                order.end("cancelled", "by the strategy")
            else:
                done += self._arrive(order, at)
            self._forget()
        return done

    def at_quote(
        self, now: int, bid: int | None, bid_lots: int, ask: int | None, ask_lots: int
    ) -> Executions:
        """A quote is in force from `now` on; None is an empty side."""
        self._sides[1], self._sides[-1] = _Side(ask, ask_lots), _Side(bid, bid_lots)
        self._quoted = now
        done: Executions = []
        if self.is_idle:
            return done
        for order in self._taking:
            done += self._take(order, now)
        for order in self._resting:
            other = self._sides[order.side].ticks
            if other is not None and (order.limit or 0) * order.side >= other * order.side:
                done.append((order, Execution(now, order.limit or 0, order.left, True)))
                order.status = "filled"
            else:
                self._queue(order)
        self._forget()
        return done

    def at_trade(self, now: int, ticks: int, lots: int, side: int) -> Executions:
        """A trade; `side` is 1 where the buyer took, -1 where the seller took, 0 unknown."""
        done: Executions = []
        if self._quoted is None:
            done += self._take_trade(now, ticks, self._conditions.part(lots))
        room = lots
        for order in self._resting:
            through = ((order.limit or 0) - ticks) * order.side
            if through < 0 or (through == 0 and (side == order.side or order.ahead is None)):
                continue
            if through > 0:
                filled = order.left
            else:
                passed, order.ahead = max(room - (order.ahead or 0), 0), max((order.ahead or 0) - lots, 0)
                filled = min(passed, order.left)
                room -= filled
            if filled:
                done.append((order, Execution(now, order.limit or 0, filled, True)))
                order.status = "filled" if filled == order.left else "open"
        self._trigger(now, ticks, done)
        self._forget()
        return done

    def _trigger(self, now: int, ticks: int, done: Executions) -> None:
        for order in self._stops:
            if (ticks - (order.stop or 0)) * order.side >= 0:
                order.stop = None
                done += self._arrive(order, now)
        self._stops = [order for order in self._stops if order.stop is not None]

    def _arrive(self, order: Order, at: int) -> Executions:
        order.status = "open"
        if order.stop is not None:
            self._stops.append(order)
            return []
        if order.limit is None or self._crosses(order):
            if order.post_only:
                order.end("refused", "post-only: it would take liquidity")
                return []
            return self._take(order, at)
        self._rest(order)
        return []

    def _crosses(self, order: Order) -> bool:
        other = self._sides[order.side].ticks
        return other is not None and ((order.limit or 0) - other) * order.side >= 0

    def _take(self, order: Order, at: int) -> Executions:
        """Take what the quote in force has; the rest waits, rests or ends as the order says."""
        done: Executions = []
        if self._quoted is not None and not self._is_stale(order, at):
            offered = self._sides[order.side]
            lots = min(order.left, self._conditions.part(offered.lots)) if offered.ticks is not None else 0
            if order.lifetime == "fok" and lots < order.left:
                lots = 0
            if lots and offered.ticks is not None:
                offered.lots -= lots
                price = self._conditions.taken_at(offered.ticks, order.side, order.limit)
                done.append((order, Execution(at, price, lots, False, abs(price - offered.ticks))))
            if lots == order.left:
                order.status = "filled"
        if order.is_open:
            self._after_taking(order)
        return done

    def _after_taking(self, order: Order) -> None:
        if order.lifetime != "gtc" and self._quoted is not None:
            order.end("cancelled", f"{order.lifetime}: it could not fill at once")
        elif order.limit is not None:
            self._rest(order)
        elif order not in self._taking:
            self._taking.append(order)

    def _is_stale(self, order: Order, at: int) -> bool:
        stale = self._conditions.stale(at - (self._quoted or 0), "quote")
        if stale:
            order.end("refused", stale)
        return bool(stale)

    def _take_trade(self, now: int, ticks: int, room: int) -> Executions:
        """Without quotes, an order that takes has the next trades."""
        done: Executions = []
        for order in self._taking:
            lots = min(order.left, room)
            if order.lifetime == "fok" and lots < order.left:
                lots = 0
            if lots:
                room -= lots
                price = self._conditions.taken_at(ticks, order.side, order.limit)
                done.append((order, Execution(now, price, lots, False, abs(price - ticks))))
            if lots == order.left:
                order.status = "filled"
            elif order.lifetime != "gtc":
                order.end("cancelled", f"{order.lifetime}: it could not fill at once")
        return done

    def _rest(self, order: Order) -> None:
        if order.lifetime != "gtc":
            order.end("cancelled", f"{order.lifetime}: it could not fill at once")
            return
        self._resting.append(order)
        self._queue(order)

    def _queue(self, order: Order) -> None:
        """What the quote in force says of the lots before an order."""
        best = self._sides[-order.side]
        if best.ticks is None or (order.limit or 0) * order.side > best.ticks * order.side:
            order.ahead = None if self._quoted is None else 0
        elif order.limit == best.ticks:
            order.ahead = best.lots if order.ahead is None else min(order.ahead, best.lots)

    def _forget(self) -> None:
        self._taking = [order for order in self._taking if order.is_open]
        self._resting = [order for order in self._resting if order.is_open]
        self._stops = [order for order in self._stops if order.is_open and order.stop is not None]
