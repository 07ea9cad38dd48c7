"""Orders and fills. Prices are ticks, sizes are lots, times are ns UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from analytics.backtest.instrument import Series

Lifetime = Literal["gtc", "ioc", "fok"]
"""gtc: until it is filled or cancelled. ioc: what cannot fill at once is cancelled. fok: all at once, or nothing."""
Status = Literal["sent", "open", "filled", "cancelled", "refused"]
LIFETIMES: tuple[Lifetime, ...] = ("gtc", "ioc", "fok")
OPEN = ("sent", "open")


@dataclass(eq=False)
class Order:
    """An order of the run. `side` is 1 to buy and -1 to sell."""

    id: int
    series: Series
    side: Literal[1, -1]
    lots: int
    made: int
    """When the strategy made it."""
    arrives: int
    """When it reaches the venue."""
    limit: int | None = None
    """The worst price at which it may fill."""
    stop: int | None = None
    """The price at which it becomes active: at or above it of a buy, at or below it of a sell."""
    lifetime: Lifetime = "gtc"
    post_only: bool = False
    """Refused where it would take liquidity."""
    status: Status = "sent"
    reason: str = ""
    """Why it was refused or cancelled."""
    filled: int = 0
    ahead: int | None = field(default=None, repr=False)
    """Lots that are before it in the queue at its price; None while that is unknown."""
    cancel_arrives: int | None = field(default=None, repr=False)

    @property
    def left(self) -> int:
        """Lots that are not filled yet."""
        return self.lots - self.filled

    @property
    def is_open(self) -> bool:
        """Whether it may still fill."""
        return self.status in OPEN

    def end(self, status: Status, reason: str) -> None:
        """The order ends without (more) fills."""
        self.status = status
        self.reason = reason


class Fill(NamedTuple):
    """A fill of an order, or of a part of it."""

    ts: int
    """When it happened at the venue."""
    order: int
    series: Series
    side: Literal[1, -1]
    ticks: int
    lots: int
    maker: bool
    fee: int
    """Money's units; below 0 where the venue pays."""
    slipped: int
    """Money's units that slippage cost."""
    realised: int
    """Money's units of profit, before fees, of the part that reduces a position; by average cost."""
    reduces: bool
    """Whether it reduces or ends a position."""


class Execution(NamedTuple):
    """What the market does to an order: a price and a size, before fees."""

    ts: int
    ticks: int
    lots: int
    maker: bool
    slipped_ticks: int = 0
