"""Whether a strategy looks ahead: it is run again on rows that end at random moments, and must decide the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from analytics.backtest.engine import Engine, Outcome, Setup
from analytics.backtest.strategy import Strategy
from analytics.backtest.tape import Tape
from tapehouse.clock import iso

MOMENTS = 10
"""How many moments are tried."""


@dataclass(frozen=True)
class Causality:
    """The result: `moved` says what differed, empty if nothing did at any of `moments`, ns UTC."""

    moments: tuple[int, ...]
    moved: str


def check(
    outcome: Outcome, tape: Tape, fresh: Callable[[], Strategy], setup: Setup, files: set[str]
) -> Causality:
    """Run on the rows known by each of some moments, drawn from the times of the bars by the seed of the setup.

    `outcome` is that of the whole run, `fresh` gives a strategy that has seen nothing.
    """
    times = [point.ts for point in outcome.curve]
    if len(times) < 2:
        return Causality((), "")
    draws = random.Random(setup.seed)  # noqa: S311 - draws of a simulation
    moments = tuple(sorted(draws.sample(times[:-1], min(MOMENTS, len(times) - 1))))
    for moment in moments:
        again = Engine(replace(tape, until=moment), fresh(), setup, files).run()
        expected = [decision for decision in outcome.decisions if decision[0] <= moment]
        if again.decisions != expected:
            return Causality(moments, _difference(expected, again.decisions, moment))
    return Causality(moments, "")


def _difference(whole: list[Any], cut: list[Any], moment: int) -> str:
    at = next(
        (place for place, (one, other) in enumerate(zip(whole, cut, strict=False)) if one != other),
        min(len(whole), len(cut)),
    )
    sides = [f"{_told(rows[at])}" if at < len(rows) else "nothing" for rows in (whole, cut)]
    return f"with all rows: {sides[0]}; with those known by {iso(moment)}: {sides[1]}"


def _told(decision: tuple[Any, ...]) -> str:
    ts, what, *rest = decision
    if what == "cancel":
        return f"order {rest[0]} cancelled at {iso(ts)}"
    series, side, lots, *_ = rest
    return f"{'buy' if side > 0 else 'sell'} {lots} lots of {series} at {iso(ts)}"
