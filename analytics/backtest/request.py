"""`Request`: everything that a run is asked for, as plain values that a JSON file keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from analytics.backtest.account import Fees
from analytics.backtest.conditions import Conditions, FillRule, parse_latency
from analytics.backtest.engine import Setup
from analytics.backtest.instrument import Grid, Series, decimal
from analytics.backtest.risk import Limits
from analytics.backtest.tape import Clock
from tapehouse.clock import SECOND, Interval, parse_interval
from tapehouse.errors import UsageError

_LIMITS = ("size", "position", "notional", "loss", "rate")


@dataclass(frozen=True)
class Request:
    """A run. Times are ns UTC, half-open; numbers that must be exact are texts.

    symbols, venues: each symbol of each venue. limits: by name, those of `risk.Limits`. parameters: those of the
    strategy that are set, by name.
    """

    symbols: tuple[str, ...]
    venues: tuple[str, ...]
    start: int
    end: int
    interval: str = "1m"
    capital: str = "100000"
    fills: FillRule = "next_open"
    latency: str = "0s"
    slippage: str = "0"
    participation: str = "1"
    max_age_s: float = 60
    maker: str = "0"
    taker: str = "0"
    tick: str = "0.00000001"
    lot: str = "0.00000001"
    clock: Clock = "event"
    grace_s: float = 0
    limits: dict[str, float] = field(default_factory=dict)
    seed: int = 0
    call_s: float = 10
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def series(self) -> tuple[Series, ...]:
        """What is traded."""
        return tuple(Series(venue, symbol) for venue in self.venues for symbol in self.symbols)

    def interval_of_bars(self) -> Interval:
        """The interval. Raises UsageError for an unknown one."""
        return parse_interval(self.interval)

    @property
    def grace(self) -> int:
        """ns after its end until a bar is known."""
        return round(self.grace_s * SECOND)

    def setup(self) -> Setup:
        """What the engine is set up with. Raises UsageError, which names the value, for one that is out of bounds."""
        capital = decimal(self.capital, "capital")
        if capital <= 0:
            raise UsageError(f"capital: expected more than 0, was {self.capital}")
        if not self.call_s > 0:
            raise UsageError(f"call_s: expected more than 0 s, was {self.call_s}")
        if not self.max_age_s >= 0:
            raise UsageError(f"max_age_s: expected 0 s or more, was {self.max_age_s}")
        for name, value in self.limits.items():
            if name not in _LIMITS:
                raise UsageError(f"limits: expected {' '.join(_LIMITS)}, was {name!r}")
            if not value >= 0 or (name == "rate" and value % 1):
                kind = "a whole number, " if name == "rate" else ""
                raise UsageError(f"limits: {name}: expected {kind}0 or more, was {value}")
        return Setup(
            capital,
            Fees(decimal(self.maker, "maker"), decimal(self.taker, "taker")),
            Grid(decimal(self.tick, "tick"), decimal(self.lot, "lot")),
            Conditions(
                self.fills,
                parse_latency(self.latency),
                decimal(self.slippage, "slippage"),
                decimal(self.participation, "participation"),
                round(self.max_age_s * SECOND),
            ),
            Limits(**self.limits),  # type: ignore[arg-type]
            self.seed,
            self.call_s,
        )

    def document(self) -> dict[str, Any]:
        """For JSON; `from_document` makes the same request of it."""
        return asdict(self)

    @staticmethod
    def from_document(document: dict[str, Any]) -> Request:
        """As `document` made it. Raises UsageError where something is missing or unknown."""
        known = {one.name for one in fields(Request)}
        if not {"symbols", "venues", "start", "end"} <= set(document) <= known:
            raise UsageError(f"request: expected some of {' '.join(sorted(known))}, was {' '.join(document)}")
        lists = {name: tuple(document[name]) for name in ("symbols", "venues")}
        return Request(**{**document, **lists})
