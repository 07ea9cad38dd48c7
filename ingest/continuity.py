"""What of a venue's numbered rows was seen: each is let through once, and what is missing is known by its id.

`Chain` is for rows that name what comes directly before them: trades whose ids rise by one, updates of a book.
`Rising` is for rows whose ids only rise, such as best quotes: what a disconnection cost cannot be counted.
Both take rows of one symbol in the order in which they came, from one connection or from two that overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import MINUTE, Nanos

REMEMBERED = 4_096
"""Ids of rows that only rise, kept to tell a late row of one connection from a repeat by another."""
Mask = NDArray[np.bool_]


@dataclass
class Hole:
    """Ids `first` to `last` (inclusive) that were passed over between rows of ts_event `ts` and `ts_end`."""

    first: int
    last: int
    ts: int
    ts_end: int
    counted: bool
    """The ids rise by one, so that there are as many as the numbers say."""
    reason: str
    found_ns: int
    """On the clock of this machine."""
    left: list[tuple[int, int]] = field(default_factory=list)
    """What of it is still missing, inclusive."""
    declared: bool = False
    """A row of `gaps` says so."""
    tries: int = 0
    """How often it could not be filled."""
    again_ns: int = 0
    """When to try again."""

    @property
    def missing(self) -> int | None:
        """How many ids are still missing; None where that cannot be said."""
        return sum(last - first + 1 for first, last in self.left) if self.counted or not self.left else None

    def fill(self, before: int, seq: int) -> bool:
        """A row covers the ids behind `before` up to `seq`; whether some of them were missing."""
        rest = []
        for first, last in self.left:
            if seq < first or before >= last:
                rest.append((first, last))
                continue
            if before >= first:
                rest.append((first, before))
            if seq < last:
                rest.append((seq + 1, last))
        found = rest != self.left
        self.left = rest
        return found


class Chain:
    """Rows that name what comes directly before them."""

    def __init__(self, counted: bool) -> None:
        self.counted = counted
        self.last: int | None = None
        """The highest id let through; None before the first row."""
        self.ts = 0
        """ts_event of that row."""
        self.holes: list[Hole] = []
        self.reason = "skipped"
        """Why the next hole is there, unless it is known otherwise."""

    def sift(self, before: Nanos, seq: Nanos, ts: Nanos, now_ns: int) -> tuple[Mask, Mask]:
        """(rows not seen before, rows whose ids went back although their time did not).

        Row i covers the ids behind `before[i]` up to `seq[i]`.
        """
        back = np.zeros(len(seq), np.bool_)
        if self.last is None and len(seq):
            self.last = int(before[0])
        if len(seq) and self._follows(before, seq):
            self.last, self.ts = int(seq[-1]), int(ts[-1])
            return ~back, back
        fresh = np.zeros(len(seq), np.bool_)
        for row, item in enumerate(zip(before.tolist(), seq.tolist(), ts.tolist(), strict=True)):
            fresh[row], back[row] = self._take(*item, now_ns)
        return fresh, back

    def _follows(self, before: Nanos, seq: Nanos) -> bool:
        """All rows continue the one before, as nearly always."""
        assert self.last is not None
        return bool(
            before[0] <= self.last < seq[0] and (before[1:] <= seq[:-1]).all() and (seq[1:] > seq[:-1]).all()
        )

    def _take(self, before: int, seq: int, ts: int, now_ns: int) -> tuple[bool, bool]:
        assert self.last is not None
        if seq > self.last:
            if before > self.last:
                hole = Hole(self.last + 1, before, self.ts, ts, self.counted, self.reason, now_ns)
                hole.left = [(hole.first, hole.last)]
                self.holes.append(hole)
            self.last, self.ts, self.reason = seq, ts, "skipped"
            return True, False
        filled = [hole.fill(before, seq) for hole in self.holes]
        return any(filled), not any(filled) and ts > self.ts + MINUTE

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types."""
        return {"last": self.last, "ts": self.ts, "holes": [dict(vars(hole)) for hole in self.holes]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.last, self.ts = state["last"], state["ts"]
        self.holes = [
            Hole(**{**hole, "left": [(first, last) for first, last in hole["left"]]})
            for hole in state["holes"]
        ]

    def broken(self, reason: str) -> None:
        """The connection was lost: if ids are missing next, that is why."""
        self.reason = reason


class Rising:
    """Rows whose ids only rise. A disconnection is a hole up to the first row behind it."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.ts = 0
        self.holes: list[Hole] = []
        self._reason: str | None = None
        self._recent: Nanos = np.empty(0, np.int64)
        """The last ids let through, in the order in which they were."""
        self._from = 0
        """What comes before it and is not among the recent ones is a repeat."""

    def sift(self, seq: Nanos, ts: Nanos, now_ns: int) -> tuple[Mask, Mask]:
        """(rows not seen before, rows whose ids went back although their time did not)."""
        back = np.zeros(len(seq), np.bool_)
        if not len(seq):
            return back, back
        if self.last is None:
            self.last, self.ts, self._from = int(seq[0]) - 1, int(ts[0]), int(seq[0])
        if self._reason is None and seq[0] > self.last and (seq[1:] > seq[:-1]).all():
            self.last, self.ts = int(seq[-1]), int(ts[-1])
            self._remember(seq)
            return ~back, back
        fresh = np.zeros(len(seq), np.bool_)
        seen = set(self._recent.tolist())
        for row, (item, at) in enumerate(zip(seq.tolist(), ts.tolist(), strict=True)):
            fresh[row], back[row] = self._take(item, at, seen, now_ns)
            seen.add(item)
        self._remember(seq[fresh])
        return fresh, back

    def _take(self, seq: int, ts: int, seen: set[int], now_ns: int) -> tuple[bool, bool]:
        assert self.last is not None
        if seq <= self.last:
            known = seq in seen or seq < self._from
            return not known, known and ts > self.ts + MINUTE
        if self._reason is not None:
            hole = Hole(self.last + 1, seq - 1, self.ts, ts, False, self._reason, now_ns)
            hole.left = [(hole.first, hole.last)]
            self.holes.append(hole)
            self._reason = None
        self.last, self.ts = seq, ts
        return True, False

    def _remember(self, seq: Nanos) -> None:
        recent = np.concatenate((self._recent, seq))
        if len(recent) > REMEMBERED:
            self._from = max(self._from, int(recent[-REMEMBERED - 1]) + 1)
            recent = recent[-REMEMBERED:]
        self._recent = recent

    def broken(self, reason: str) -> None:
        """The connection was lost: what came until the next row is not known."""
        if self.last is not None:
            self._reason = reason

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types."""
        return {"last": self.last, "ts": self.ts, "holes": [dict(vars(hole)) for hole in self.holes]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken; what came before is a repeat."""
        self.last, self.ts = state["last"], state["ts"]
        self._from = (self.last or 0) + 1
        self.holes = [
            Hole(**{**hole, "left": [(first, last) for first, last in hole["left"]]})
            for hole in state["holes"]
        ]


Track = Chain | Rising
