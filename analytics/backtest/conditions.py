"""The conditions that fills are simulated under: when, at which price, how much, how fast."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, get_args

from tapehouse.clock import MICROSECOND, MILLISECOND, SECOND
from tapehouse.errors import UsageError

FillRule = Literal["next_open", "latency", "same_close"]
FILL_RULES: tuple[FillRule, ...] = get_args(FillRule)
_LATENCY = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)(?:\.\.(\d+(?:\.\d+)?)(us|ms|s))?")
_UNITS = {"us": MICROSECOND, "ms": MILLISECOND, "s": SECOND}


@dataclass(frozen=True)
class Latency:
    """From the strategy to the venue, ns: constant, drawn uniformly from [least, most], or what the last row took."""

    least: int = 0
    most: int = 0
    recorded: bool = False

    def draw(self, draws: random.Random, last_took: int) -> int:
        """The latency of one order. `last_took`: ns from the venue to this system of the newest row."""
        if self.recorded:
            return max(last_took, 0)
        return self.least if self.least == self.most else draws.randint(self.least, self.most)


def parse_latency(text: str) -> Latency:
    """50ms, 20ms..80ms (drawn), or recorded. Raises UsageError for anything else."""
    if text == "recorded":
        return Latency(recorded=True)
    found = _LATENCY.fullmatch("0s" if text == "0" else text)
    if found is None:
        raise UsageError(
            f"latency: expected such as 50ms, 20ms..80ms (drawn) or recorded, was {text!r}",
            remedy="Units are us, ms and s.",
        )
    least = round(float(found[1]) * _UNITS[found[2]])
    most = least if found[3] is None else round(float(found[3]) * _UNITS[found[4]])
    if most < least:
        raise UsageError(f"latency: expected a range that rises, was {text!r}")
    return Latency(least, most)


@dataclass(frozen=True)
class Conditions:
    """How orders fill. Raises UsageError for values out of their bounds.

    rule: when an order may fill at a bar. "next_open": at the open of the first bar that starts when the order has
        arrived, or later. "same_close": a market order at the close of the bar it was made from, which nobody can;
        the report says so. "latency": by trades and quotes, from the moment the order arrives.
    slippage: what taking costs more than the price of the market, a fraction of it, rounded up to a tick.
    participation: the greatest part of a bar's volume, or of a trade's or quote's size, that fills.
    max_age: a quote, or with "same_close" a close, older than so many ns fills no order that takes: the order is
        refused. None: any age.
    """

    rule: FillRule = "next_open"
    latency: Latency = Latency()
    slippage: Decimal = Decimal(0)
    participation: Decimal = Decimal(1)
    max_age: int | None = 60 * SECOND

    def __post_init__(self) -> None:
        if self.rule not in FILL_RULES:
            raise UsageError(f"fills: expected one of {' '.join(FILL_RULES)}, was {self.rule!r}")
        if self.latency.recorded and self.rule != "latency":
            raise UsageError(
                f"latency: recorded is that of trades and quotes, which {self.rule} does not read",
                remedy='Use fills "latency", or name a latency.',
            )
        if not 0 <= self.slippage < 1:
            raise UsageError(f"slippage: expected a fraction from 0 to below 1, was {self.slippage}")
        if not 0 < self.participation <= 1:
            raise UsageError(f"participation: expected a fraction above 0 up to 1, was {self.participation}")

    def taken_at(self, ticks: int, side: int, limit: int | None) -> int:
        """The price of an order that takes at `ticks`: worse by the slippage, never worse than its limit."""
        worse = ticks + side * math.ceil(abs(ticks) * self.slippage)
        if limit is None:
            return worse
        return min(worse, limit) if side > 0 else max(worse, limit)

    def stale(self, age: int, what: str) -> str:
        """Why a price of this age, ns, fills nothing; empty if it may."""
        if self.max_age is None or age <= self.max_age:
            return ""
        return f"stale price: the {what} is {age / SECOND:g} s old, at most {self.max_age / SECOND:g}"

    def part(self, lots: int) -> int:
        """How many of these lots may fill."""
        return int(lots * self.participation)
