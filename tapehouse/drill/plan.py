"""Which fault strikes which part when: a function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

LOADS = ("feed", "sim", "live")
"""The parts that bring rows in: a file's ingest, the simulated venue, and the feed of a replayed one."""
_LONG_EVERY = 4


@dataclass(frozen=True)
class Moment:
    """One fault to come."""

    fault: str
    """kill (SIGKILL), pause (SIGSTOP, later SIGCONT) or cut (of the part's connections)."""
    part: str
    load: str
    """Which of LOADS brings rows meanwhile."""
    at: float
    """It strikes when this share of the load's rows is published."""
    seconds: float
    """How long it lasts; 0 for a kill."""
    silent: bool
    """A cut that swallows what is sent, where others refuse and reset."""
    seed: int
    """For what the load makes up."""


def series(seed: int, fault: str, part: str, count: int) -> list[Moment]:
    """The first `count` moments of a fault and a part. The same, whatever else is in a run."""
    return [_moment(_chance(seed, fault, part, number), fault, part, number) for number in range(count)]


def mixed(seed: int, faults: Sequence[str], parts: Sequence[str], count: int) -> list[Moment]:
    """Moments of these faults and parts for one run, rising by `at`."""
    chance = _chance(seed, "together")
    found = [_moment(chance, chance.choice(faults), chance.choice(parts), number) for number in range(count)]
    return sorted(found, key=lambda moment: moment.at)


def _chance(*words: object) -> random.Random:
    return random.Random(" ".join(map(str, words)))  # noqa: S311


def _moment(chance: random.Random, fault: str, part: str, number: int) -> Moment:
    # Every fourth lasts longer than the clients' pings and the writers' lease wait for an answer.
    lasts = chance.uniform(11, 16) if number % _LONG_EVERY == _LONG_EVERY - 1 else chance.uniform(0.3, 3)
    return Moment(
        fault,
        part,
        part if part in LOADS else LOADS[number % len(LOADS)],
        at=chance.uniform(0.02, 0.8),
        seconds=0.0 if fault == "kill" else lasts,
        silent=bool(fault == "cut" and number // 2 % 2),
        seed=chance.getrandbits(32),
    )
