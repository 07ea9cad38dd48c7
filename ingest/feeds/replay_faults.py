"""Faults that a replay makes on request, at moments that a seed decides."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ingest.feeds.dialect import Recorded
from tapehouse.errors import UsageError

KINDS = ("cut", "skip", "double", "damage", "stall")
_LOST = (1, 200)
_STALL_S = 2.0


@dataclass(frozen=True)
class Fault:
    """One fault: what became of message `number` of the recording."""

    kind: str
    number: int
    count: int = 0
    """Messages lost by a cut."""
    seconds: float = 0
    """That a stall lasts."""
    messages: tuple[bytes, ...] = field(default=(), repr=False)
    """What is sent in place of the message."""


class Faults:
    """When which fault comes: `wanted` of each kind among the recording's `total` messages."""

    def __init__(self, wanted: dict[str, int], total: int, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - a rehearsal, not a secret
        kinds = [kind for kind, count in wanted.items() for _ in range(count)]
        places = self._chance.sample(range(total), min(len(kinds), total))
        self._planned = dict(zip(places, kinds, strict=False))
        self.done: list[Fault] = []

    def at(self, number: int, item: Recorded) -> Fault | None:
        """The fault for message `number`, None for nearly all. A snapshot is answered, not sent: none there."""
        kind = self._planned.get(number)
        if kind is None or item.snapshot:
            return None
        fault = self._made(kind, number, item.message)
        self.done.append(fault)
        return fault

    def _made(self, kind: str, number: int, message: bytes) -> Fault:
        if kind == "cut":
            return Fault(kind, number, count=self._chance.randint(*_LOST))
        if kind == "stall":
            return Fault(kind, number, seconds=_STALL_S)
        if kind == "double":
            return Fault(kind, number, messages=(message, message))
        if kind == "damage":
            return Fault(kind, number, messages=(message[: self._chance.randrange(1, len(message) - 1)],))
        return Fault(kind, number)


def wanted(text: str) -> dict[str, int]:
    """Faults asked for as `cut=10,skip=3`; UsageError names the kinds there are."""
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        kind, _, count = part.partition("=")
        if kind not in KINDS or not count.isdigit():
            raise UsageError(f"faults: expected {'=N,'.join(KINDS)}=N, was {part!r}")
        found[kind] = int(count)
    return found
