"""Cash and positions in exact integers. `Account.book` is the one place where they change."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from analytics.backtest.instrument import Grid, Series
from analytics.backtest.orders import Execution, Fill, Order


@dataclass
class Position:
    """A position in one series."""

    grid: Grid
    lots: int = 0
    """Above 0 long, below 0 short."""
    cost: int = 0
    """What the position cost, money's units: its sign is that of `lots` at positive prices."""
    ticks: int | None = None
    """The last price known; None before the first."""

    @property
    def value(self) -> int:
        """Money's units at the last price."""
        return self.lots * (self.ticks or 0) * self.grid.unit

    def add(self, signed: int, ticks: int) -> int:
        """Add lots (below 0: sell) at a price; returns the realised profit, by average cost."""
        realised = 0
        if self.lots * signed < 0:
            closing = max(-abs(self.lots), min(abs(self.lots), signed))
            # The part of the cost that goes; the rest stays, so that nothing is lost by rounding.
            share = self.cost * abs(closing) // abs(self.lots)
            realised = -closing * ticks * self.grid.unit - share
            self.lots += closing
            self.cost -= share
            signed -= closing
        self.lots += signed
        self.cost += signed * ticks * self.grid.unit
        return realised


@dataclass(frozen=True)
class Fees:
    """Fractions of a fill's value; below 0 where the venue pays."""

    maker: Decimal = Decimal(0)
    taker: Decimal = Decimal(0)

    def of(self, notional: int, maker: bool) -> int:
        """The fee of a fill, money's units, rounded to the nearest."""
        return round(notional * Fraction(self.maker if maker else self.taker))


class Account:
    """One currency for all venues of a run; `cash` is money's units."""

    def __init__(self, capital: int, fees: Fees, grids: dict[Series, Grid]) -> None:
        self.cash = capital
        self.positions = {series: Position(grid) for series, grid in grids.items()}
        self._fees = fees
        self._value = 0

    @property
    def equity(self) -> int:
        """Cash and the value of all positions at their last prices, money's units."""
        return self.cash + self._value

    @property
    def gross(self) -> int:
        """The absolute value of all positions, money's units."""
        return sum(abs(position.value) for position in self.positions.values())

    def mark(self, series: Series, ticks: int) -> None:
        """A price is the last one known of a series."""
        position = self.positions[series]
        if position.lots:
            self._value += position.lots * (ticks - (position.ticks or 0)) * position.grid.unit
        position.ticks = ticks

    def book(self, order: Order, execution: Execution) -> Fill:
        """Book what the market did to an order, with its fee."""
        series, side = order.series, order.side
        position = self.positions[series]
        before = position.value
        notional = execution.ticks * execution.lots * position.grid.unit
        fee = self._fees.of(abs(notional), execution.maker)
        reduces = position.lots * side < 0
        realised = position.add(side * execution.lots, execution.ticks)
        if position.ticks is None:
            position.ticks = execution.ticks
        self._value += position.value - before
        self.cash -= side * notional + fee
        order.filled += execution.lots
        if not order.left:
            order.status = "filled"
        slipped = execution.slipped_ticks * execution.lots * position.grid.unit
        return Fill(
            execution.ts, order.id, series, _side(side), execution.ticks, execution.lots, execution.maker,
            fee, slipped, realised, reduces,
        )  # fmt: skip


def _side(side: int) -> Literal[1, -1]:
    return 1 if side > 0 else -1
