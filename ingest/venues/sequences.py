"""The id sequence of one symbol: lets each row through once and records which ids are missing.

`LinkedSequence` is for rows that name the id before them: trades whose ids rise by one, updates of a book.
`IncreasingSequence` is for rows whose ids only rise, such as best quotes: how many rows a disconnection cost is
unknown. Both take rows in the order of receipt, from one connection or from two that overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import MINUTE, Nanos

RECENT_IDS = 4_096
"""Ids of an IncreasingSequence kept to tell a late row of one connection from a repeat by another."""
Mask = NDArray[np.bool_]
_REGRESSED_NS = MINUTE
"""A known id this much later than the newest row is a sequence that went back, not a repeat."""


@dataclass
class Gap:
    """Ids `first` to `last` (inclusive) skipped between rows of ts_event `ts` and `ts_end`."""

    first: int
    last: int
    ts: int
    ts_end: int
    countable: bool
    """The ids rise by one, so that the number of ids is the number of rows."""
    reason: str
    found_ns: int
    """By this machine's clock, ns UTC."""
    missing_ranges: list[tuple[int, int]] = field(default_factory=list)
    """(first, last) of the ids that are still missing, inclusive."""
    recorded: bool = False
    """Written to `gaps`."""
    attempts: int = 0
    """Requests that did not fill it."""
    retry_at_ns: int = 0

    @property
    def missing(self) -> int | None:
        """How many ids are still missing; None where unknown."""
        if not (self.countable or not self.missing_ranges):
            return None
        return sum(last - first + 1 for first, last in self.missing_ranges)

    def fill(self, before: int, seq: int) -> bool:
        """Mark the ids after `before` up to `seq` as received; whether some of them were missing."""
        rest = []
        for first, last in self.missing_ranges:
            if seq < first or before >= last:
                rest.append((first, last))
                continue
            if before >= first:
                rest.append((first, before))
            if seq < last:
                rest.append((seq + 1, last))
        filled = rest != self.missing_ranges
        self.missing_ranges = rest
        return filled

    def state(self) -> dict[str, Any]:
        """What `from_state` needs, of JSON's types."""
        return {
            "first": self.first,
            "last": self.last,
            "ts": self.ts,
            "ts_end": self.ts_end,
            "counted": self.countable,
            "reason": self.reason,
            "found_ns": self.found_ns,
            "left": self.missing_ranges,
            "declared": self.recorded,
            "tries": self.attempts,
            "again_ns": self.retry_at_ns,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Gap:
        """The gap that `state` was taken of."""
        return cls(
            state["first"],
            state["last"],
            state["ts"],
            state["ts_end"],
            state["counted"],
            state["reason"],
            state["found_ns"],
            [(first, last) for first, last in state["left"]],
            state["declared"],
            state["tries"],
            state["again_ns"],
        )


class LinkedSequence:
    """Rows that name the id before them."""

    def __init__(self, countable: bool) -> None:
        """`countable`: ids rise by one."""
        self.countable = countable
        self.last: int | None = None
        """The highest id let through; None before the first row."""
        self.ts = 0
        """ts_event of that row."""
        self.gaps: list[Gap] = []
        self._next_reason = "skipped"

    def filter_new(self, before: Nanos, seq: Nanos, ts: Nanos, now_ns: int) -> tuple[Mask, Mask]:
        """(rows not seen before, rows whose ids went back although their time did not).

        Row i covers the ids after `before[i]` up to `seq[i]`.
        """
        regressed = np.zeros(len(seq), np.bool_)
        if self.last is None and len(seq):
            self.last = int(before[0])
        if len(seq) and self._all_follow(before, seq):
            self.last, self.ts, self._next_reason = int(seq[-1]), int(ts[-1]), "skipped"
            return ~regressed, regressed
        new = np.zeros(len(seq), np.bool_)
        for row, item in enumerate(zip(before.tolist(), seq.tolist(), ts.tolist(), strict=True)):
            new[row], regressed[row] = self._add(*item, now_ns)
        return new, regressed

    def _all_follow(self, before: Nanos, seq: Nanos) -> bool:
        """Each row follows the one before it, as nearly always."""
        assert self.last is not None
        return bool(
            before[0] <= self.last < seq[0] and (before[1:] <= seq[:-1]).all() and (seq[1:] > seq[:-1]).all()
        )

    def _add(self, before: int, seq: int, ts: int, now_ns: int) -> tuple[bool, bool]:
        assert self.last is not None
        if seq > self.last:
            if before > self.last:
                gap = Gap(self.last + 1, before, self.ts, ts, self.countable, self._next_reason, now_ns)
                gap.missing_ranges = [(gap.first, gap.last)]
                self.gaps.append(gap)
            self.last, self.ts, self._next_reason = seq, ts, "skipped"
            return True, False
        filled = [gap.fill(before, seq) for gap in self.gaps]
        return any(filled), not any(filled) and ts > self.ts + _REGRESSED_NS

    def mark_disconnected(self, reason: str) -> None:
        """The connection was lost: gives ids that are missing next this reason."""
        self._next_reason = reason

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types."""
        return {
            "last": self.last,
            "ts": self.ts,
            "holes": [gap.state() for gap in self.gaps],
            "next_reason": self._next_reason,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.last, self.ts = state["last"], state["ts"]
        self._next_reason = state.get("next_reason", "skipped")
        self.gaps = [Gap.from_state(gap) for gap in state["holes"]]


class IncreasingSequence:
    """Rows whose ids only rise. A disconnection is a gap up to the first row after it."""

    def __init__(self) -> None:
        self.last: int | None = None
        """The highest id let through; None before the first row."""
        self.ts = 0
        """ts_event of that row."""
        self.gaps: list[Gap] = []
        self._disconnected: str | None = None
        """Why the connection was lost, until the next row."""
        self._recent: Nanos = np.empty(0, np.int64)
        """The last ids let through, in the order in which they were."""
        self._recent_from = 0
        """An id below it is a repeat unless it is among the recent ones."""

    def filter_new(self, seq: Nanos, ts: Nanos, now_ns: int) -> tuple[Mask, Mask]:
        """(rows not seen before, rows whose ids went back although their time did not)."""
        regressed = np.zeros(len(seq), np.bool_)
        if not len(seq):
            return regressed, regressed
        if self.last is None:
            self.last, self.ts, self._recent_from = int(seq[0]) - 1, int(ts[0]), int(seq[0])
        if self._disconnected is None and seq[0] > self.last and (seq[1:] > seq[:-1]).all():
            self.last, self.ts = int(seq[-1]), int(ts[-1])
            self._remember(seq)
            return ~regressed, regressed
        new = np.zeros(len(seq), np.bool_)
        seen = set(self._recent.tolist())
        for row, (item, at) in enumerate(zip(seq.tolist(), ts.tolist(), strict=True)):
            new[row], regressed[row] = self._add(item, at, seen, now_ns)
            seen.add(item)
        self._remember(seq[new])
        return new, regressed

    def _add(self, seq: int, ts: int, seen: set[int], now_ns: int) -> tuple[bool, bool]:
        assert self.last is not None
        if seq <= self.last:
            known = seq in seen or seq < self._recent_from
            return not known, known and ts > self.ts + _REGRESSED_NS
        if self._disconnected is not None:
            gap = Gap(self.last + 1, seq - 1, self.ts, ts, False, self._disconnected, now_ns)
            gap.missing_ranges = [(gap.first, gap.last)]
            self.gaps.append(gap)
            self._disconnected = None
        self.last, self.ts = seq, ts
        return True, False

    def _remember(self, seq: Nanos) -> None:
        recent = np.concatenate((self._recent, seq))
        if len(recent) > RECENT_IDS:
            self._recent_from = max(self._recent_from, int(recent[-RECENT_IDS - 1]) + 1)
            recent = recent[-RECENT_IDS:]
        self._recent = recent

    def mark_disconnected(self, reason: str) -> None:
        """The connection was lost: rows up to the next one may be missing."""
        if self.last is not None:
            self._disconnected = reason

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types."""
        return {
            "last": self.last,
            "ts": self.ts,
            "holes": [gap.state() for gap in self.gaps],
            "disconnected": self._disconnected,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken; what came before is a repeat."""
        self.last, self.ts = state["last"], state["ts"]
        self._recent_from = (self.last or 0) + 1
        self._disconnected = state.get("disconnected")
        self.gaps = [Gap.from_state(gap) for gap in state["holes"]]


SequenceState = LinkedSequence | IncreasingSequence
