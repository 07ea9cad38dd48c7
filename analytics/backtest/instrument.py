"""Instruments: prices as whole ticks, sizes as whole lots, money as whole units of 1e-18."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import NamedTuple

from tapehouse.errors import UsageError

MONEY_DIGITS = 18
MONEY = 10**MONEY_DIGITS
"""Units of one of the currency: amounts of money are whole numbers of them, of any size."""
_TOLERANCE = 1e-4
"""How far from a whole number of lots a size may be, in lots: what floats lose."""


class Series(NamedTuple):
    """What is traded: a symbol of a venue."""

    venue: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.symbol} of {self.venue}"


@dataclass(frozen=True)
class Grid:
    """The least steps of price (tick) and size (lot) of a venue. By default finer than what any venue has.

    Raises UsageError unless both are above 0 and one tick of one lot is a whole number of money's units.
    """

    tick: Decimal = Decimal("1e-8")
    lot: Decimal = Decimal("1e-8")

    def __post_init__(self) -> None:
        for name, step in (("tick", self.tick), ("lot", self.lot)):
            if not (step.is_finite() and step > 0):
                raise UsageError(f"{name}: expected a number above 0, was {step}")
        if self.tick * self.lot * MONEY % 1:
            raise UsageError(
                f"tick and lot: expected a product of whole units of 1e-{MONEY_DIGITS}, "
                f"was {self.tick * self.lot}"
            )

    @cached_property
    def unit(self) -> int:
        """Money's units of one tick of one lot."""
        return int(self.tick * self.lot * MONEY)

    def ticks(self, price: float) -> int:
        """The nearest price in ticks."""
        return round(price * self._a_unit) if self._a_unit else round(price / float(self.tick))

    @cached_property
    def _lot(self) -> float:
        return float(self.lot)

    @cached_property
    def _a_unit(self) -> int:
        """Ticks of a price of 1; 0 where they are no whole number."""
        return 0 if 1 / self.tick % 1 else int(1 / self.tick)

    def price(self, ticks: int) -> float:
        """A price in ticks as a number, the nearest float."""
        return float(ticks * self.tick)

    def lots(self, size: float) -> int:
        """A size in lots, towards zero, but for what floats lose."""
        lots = float(size) / self._lot
        nearest = round(lots)
        return nearest if abs(lots - nearest) <= _TOLERANCE else math.trunc(lots)

    def is_whole(self, size: float) -> bool:
        """Whether a size is a whole number of lots."""
        lots = float(size) / self._lot
        return abs(lots - round(lots)) <= max(_TOLERANCE, abs(lots) * 1e-12)

    def size(self, lots: int) -> float:
        """A size in lots as a number, the nearest float."""
        return float(lots * self.lot)


def decimal(text: str | float, name: str) -> Decimal:
    """A number as the Decimal that is written. Raises UsageError, which begins with `name`, for anything else."""
    try:
        found = Decimal(str(text))
    except InvalidOperation:
        raise UsageError(f"{name}: expected a number, was {text!r}") from None
    if not found.is_finite():
        raise UsageError(f"{name}: expected a finite number, was {text!r}")
    return found


def money(amount: Decimal) -> int:
    """An amount of the currency in money's units, rounded to the nearest."""
    return int((amount * MONEY).to_integral_value())
