"""Which fault is injected into which part and when: a function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

LOADS = ("feed", "sim", "live")
"""The parts that publish rows: `ingest` of a file, the simulated venue, the feed of a replayed venue."""
_LONG_EVERY = 4


@dataclass(frozen=True)
class PlannedFault:
    """A fault, its target and its time."""

    fault: str
    """kill (SIGKILL), pause (SIGSTOP, then SIGCONT) or cut (the connections of the part)."""
    part: str
    load: str
    """Which of LOADS publishes rows during the fault."""
    at: float
    """Share of the load's rows (0 to 1) that are published before the fault is injected."""
    seconds: float
    """How long it lasts; 0 for a kill."""
    silent: bool
    """Of a cut: whether connections stay open and drop all bytes. Other cuts reset and refuse connections."""
    seed: int
    """Random seed of the rows of the load."""


def plan_faults(seed: int, fault: str, part: str, count: int) -> list[PlannedFault]:
    """`count` faults of one sort and part, independent of what else the run has."""
    return [_planned(_random(seed, fault, part, number), fault, part, number) for number in range(count)]


def plan_mixed_faults(
    seed: int, faults: Sequence[str], parts: Sequence[str], count: int
) -> list[PlannedFault]:
    """`count` random choices of these faults and parts for one run, sorted by `at`."""
    rng = _random(seed, "together")
    found = [_planned(rng, rng.choice(faults), rng.choice(parts), number) for number in range(count)]
    return sorted(found, key=lambda moment: moment.at)


def _random(*words: object) -> random.Random:
    return random.Random(" ".join(map(str, words)))  # noqa: S311


def _planned(rng: random.Random, fault: str, part: str, number: int) -> PlannedFault:
    # Every fourth lasts longer than the ping timeout of the clients and the lease of the writers.
    duration = rng.uniform(11, 16) if number % _LONG_EVERY == _LONG_EVERY - 1 else rng.uniform(0.3, 3)
    return PlannedFault(
        fault,
        part,
        part if part in LOADS else LOADS[number % len(LOADS)],
        at=rng.uniform(0.02, 0.8),
        seconds=0.0 if fault == "kill" else duration,
        silent=bool(fault == "cut" and number // 2 % 2),
        seed=rng.getrandbits(32),
    )
