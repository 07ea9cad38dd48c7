"""Faults that a replay injects on request, at places chosen by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ingest.replay.emulator import RecordedMessage
from tapehouse.errors import UsageError

KINDS = ("cut", "skip", "double", "damage", "stall")
_CUT_MESSAGES = (1, 200)
_STALL_S = 2.0


@dataclass(frozen=True)
class Fault:
    """One fault, at message `number` of the recording."""

    kind: str
    number: int
    count: int = 0
    """Messages that a cut loses."""
    seconds: float = 0
    """Length of a stall."""
    messages: tuple[bytes, ...] = field(default=(), repr=False)
    """Sent in place of the message."""


class FaultPlan:
    """Where faults occur: `counts` of each kind among the recording's `total` messages, placed by `seed`."""

    def __init__(self, counts: dict[str, int], total: int, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not a secret
        kinds = [kind for kind, count in counts.items() for _ in range(count)]
        places = self._random.sample(range(total), min(len(kinds), total))
        self._planned = dict(zip(places, kinds, strict=False))
        self.injected: list[Fault] = []

    def fault_at(self, number: int, item: RecordedMessage) -> Fault | None:
        """The fault at message `number`; None for most, and for snapshots, which are not sent on the socket."""
        kind = self._planned.get(number)
        if kind is None or item.snapshot:
            return None
        fault = self._make(kind, number, item.message)
        self.injected.append(fault)
        return fault

    def _make(self, kind: str, number: int, message: bytes) -> Fault:
        if kind == "cut":
            return Fault(kind, number, count=self._random.randint(*_CUT_MESSAGES))
        if kind == "stall":
            return Fault(kind, number, seconds=_STALL_S)
        if kind == "double":
            return Fault(kind, number, messages=(message, message))
        if kind == "damage":
            return Fault(kind, number, messages=(message[: self._random.randrange(1, len(message) - 1)],))
        return Fault(kind, number)


def parse_faults(text: str) -> dict[str, int]:
    """Counts by kind from text such as `cut=10,skip=3`; UsageError lists the kinds."""
    found: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        kind, _, count = part.partition("=")
        if kind not in KINDS or not count.isdigit():
            raise UsageError(f"faults: expected {'=N,'.join(KINDS)}=N, was {part!r}")
        found[kind] = int(count)
    return found
