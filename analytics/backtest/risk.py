"""Limits that every order is checked against before it is sent; each refusal has its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from analytics.backtest.account import Account
from analytics.backtest.instrument import MONEY, Grid
from analytics.backtest.orders import Order
from tapehouse.clock import SECOND

PASSED, SIZE, POSITION, NOTIONAL, LOSS, RATE = range(6)
"""What `check` returns: PASSED, or the limit that refuses."""
MAX_LOTS: Final = 2**60
"""The greatest size and position, lots: sums of some of them fit in 64 bits."""


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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def check(
    most: NDArray[np.int64],
    money: NDArray[np.float64],
    sent: NDArray[np.int64],
    side: int,
    lots: int,
    position: int,
    resting: int,
    value: float,
    others: float,
    lost: float,
    now: int,
) -> int:
    """Whether an order passes: PASSED, or the first limit in the order of their codes that refuses it.

    most: [2] the greatest size and position, lots. money: [2] the greatest notional and loss, currency.
    sent: [rate + 1] the times of the newest orders that passed as a ring, ns, after its next place; [1] no limit.
    resting: lots of open orders of the side. value: of one lot, others: of the other positions, lost: so far; currency.
    """
    if lots > most[0]:
        return SIZE
    after = abs(position + side * (lots + resting))
    if after > most[1]:
        return POSITION
    if others + after * value > money[0]:
        return NOTIONAL
    reduces = position * side < 0 and lots + resting <= abs(position)
    if lost > money[1] and not reduces:
        return LOSS
    rate = len(sent) - 1
    if rate > 0:
        at = sent[0]
        if sent[1 + at] > now - SECOND:
            return RATE
        sent[1 + at] = now
        sent[0] = at + 1 if at + 1 < rate else 0
    return PASSED


class RiskCheck:
    """Checks orders against limits; `capital` is the equity at the start, money's units."""

    def __init__(self, limits: Limits, account: Account, capital: int, grid: Grid) -> None:
        self._limits = limits
        self._account = account
        self._capital = capital
        self._has_none = limits == Limits()
        self._most = np.array([_lots(limits.size, grid), _lots(limits.position, grid)], np.int64)
        self._money = np.array([_money(limits.notional), _money(limits.loss)])
        # No order is so old that its place in the ring could refuse the first ones.
        self._sent = np.full(1 + int(limits.rate or 0), -(2**62), np.int64)
        self._sent[0] = 0

    def refusal(self, order: Order, resting: int) -> str:
        """Why the order is refused; empty if it passes. `resting`: lots of open orders of its side and series."""
        if self._has_none:
            return ""
        position, account = self._account.positions[order.series], self._account
        ticks = next((one for one in (order.limit, order.stop, position.ticks) if one is not None), 0)
        value = abs(ticks) * position.grid.unit / MONEY
        others = (account.gross - abs(position.value)) / MONEY
        lost = (self._capital - account.equity) / MONEY
        if self._limits.rate == 0:
            return "rate: no orders may be sent"
        code = check(
            self._most, self._money, self._sent, order.side, order.lots, position.lots, resting, value, others,
            lost, order.made,
        )  # fmt: skip
        if code == PASSED:
            return ""
        after = abs(position.lots + order.side * (order.lots + resting))
        size, reached = position.grid.size(order.lots), position.grid.size(after)
        return {
            SIZE: f"size: at most {self._limits.size} an order, was {size:g}",
            POSITION: f"position: at most {self._limits.position}, would be {reached:g}",
            NOTIONAL: f"notional: at most {self._limits.notional}, would be {others + after * value:g}",
            LOSS: f"loss: at most {self._limits.loss}, is {lost:g}",
            RATE: f"rate: at most {self._limits.rate} orders a second",
        }[code]


def _lots(size: float | None, grid: Grid) -> int:
    return MAX_LOTS if size is None else min(grid.lots(size), MAX_LOTS)


def _money(limit: float | None) -> float:
    return math.inf if limit is None else limit
