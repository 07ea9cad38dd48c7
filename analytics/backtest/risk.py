"""Limits that every order is checked against before it is sent; each refusal has its reason."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from analytics.backtest.account import Account
from analytics.backtest.instrument import MONEY
from analytics.backtest.orders import Order
from tapehouse.clock import SECOND


@dataclass(frozen=True)
class Limits:
    """None: no limit. Sizes are in units of the symbol, money in the currency."""

    size: float | None = None
    """Of one order."""
    position: float | None = None
    """Of one symbol, long or short, counting its open orders."""
    notional: float | None = None
    """Of all positions, the order and the open ones of its symbol together, at the last prices or the order's own."""
    loss: float | None = None
    """From the capital: once the equity is lower by more, only orders that reduce a position pass."""
    rate: int | None = None
    """Orders a second."""


class RiskCheck:
    """Checks orders against limits; `capital` is the equity at the start, money's units."""

    def __init__(self, limits: Limits, account: Account, capital: int) -> None:
        self._limits = limits
        self._account = account
        self._capital = capital
        self._sent: deque[int] = deque()

    def refusal(self, order: Order, resting: int) -> str:
        """Why the order is refused; empty if it passes. `resting`: lots of open orders of its side and series."""
        limits, position = self._limits, self._account.positions[order.series]
        size = position.grid.size(order.lots)
        if limits.size is not None and size > limits.size:
            return f"size: at most {limits.size:g} an order, was {size:g}"
        reached = abs(position.lots + order.side * (order.lots + resting))
        if limits.position is not None and position.grid.size(reached) > limits.position:
            return f"position: at most {limits.position:g}, would be {position.grid.size(reached):g}"
        reduces = position.lots * order.side < 0 and order.lots + resting <= abs(position.lots)
        return self._notional(order, resting) or self._loss(reduces) or self._rate(order.made)

    def _notional(self, order: Order, resting: int) -> str:
        if self._limits.notional is None:
            return ""
        position = self._account.positions[order.series]
        ticks = order.limit or order.stop or position.ticks or 0
        after = abs(position.lots + order.side * (order.lots + resting)) * abs(ticks) * position.grid.unit
        total = (self._account.gross - abs(position.value) + after) / MONEY
        if total <= self._limits.notional:
            return ""
        return f"notional: at most {self._limits.notional:g}, would be {total:g}"

    def _loss(self, reduces: bool) -> str:
        if self._limits.loss is None or reduces:
            return ""
        lost = (self._capital - self._account.equity) / MONEY
        return f"loss: at most {self._limits.loss:g}, is {lost:g}" if lost > self._limits.loss else ""

    def _rate(self, now: int) -> str:
        if self._limits.rate is None:
            return ""
        while self._sent and self._sent[0] <= now - SECOND:
            self._sent.popleft()
        if len(self._sent) >= self._limits.rate:
            return f"rate: at most {self._limits.rate} orders a second"
        self._sent.append(now)
        return ""
