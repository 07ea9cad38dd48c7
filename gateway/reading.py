"""The state of an answer that is being read: its plan, made anew when a day moves, and what each segment gave."""

from __future__ import annotations

from typing import Any

from gateway.ahead import Ahead
from gateway.owners import Owners
from gateway.plan import STORES, Segment, Side, cut, plan, until
from gateway.query import Query
from gateway.stores.contract import Store, stays_from
from tapehouse.clock import iso, now_ns
from tapehouse.errors import ConnectError

_MOVES = 100
"""As often the plan may be made anew for one answer."""


class Served:
    """A segment, and what came of it so far."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.start_ns, self.end_ns = segment.start_ns, segment.end_ns
        self.rows = 0
        self.seconds = 0.0

    def told(self) -> dict[str, Any]:
        """For people and programs, ready for JSON."""
        return {
            "store": STORES[self.segment.store],
            "start": iso(self.start_ns),
            "end": until(self.end_ns),
            "why": self.segment.why,
            "rows": self.rows,
            "ms": round(self.seconds * 1e3, 3),
            "quality": list(self.segment.quality),
        }


class Reading:
    """For one thread at a time. Raises ConnectError where the owners of the query's days are not known."""

    def __init__(self, query: Query, owners: Owners) -> None:
        self.query = query
        self.coverage = owners.coverage
        self.served = [Served(segment) for segment in plan(query, self.coverage, now_ns())]
        self.next_store: Side = self.served[0].segment.store if self.served else "hot"
        """Which store is waited for next."""
        self._owners = owners
        self._moves = 0

    def store(self, side: Side) -> Store:
        """The store of a segment."""
        return self._owners.stores[side]

    def ahead(self, side: Side) -> Ahead:
        """The threads that read ahead from it."""
        return self._owners.ahead[side]

    def of(self, query: Query) -> Reading:
        """Of another query."""
        return Reading(query, self._owners)

    def segments(self, start_ns: int, end_ns: int) -> list[Segment]:
        """The plan of another span of the same rows, by what is known now."""
        return cut(self.query, self.coverage, now_ns(), start_ns, end_ns)

    def narrow(self, start_ns: int, end_ns: int) -> None:
        """Only this span is read."""
        self.served = [Served(segment) for segment in self.segments(start_ns, end_ns)]

    def has_moved(self, oldest_ns: int | None) -> bool:
        """Whether rows may have left the hot store since the plan was made, which is known anew then.

        `oldest_ns` is what the hot store held from on after rows were read; None where that cannot matter.
        """
        known = self.coverage.oldest_ns.get(self.query.rows_kind.name)
        if oldest_ns is None or known is None or oldest_ns <= known:
            return False
        self._moves += 1
        if self._moves > _MOVES:
            raise ConnectError("coverage: days leave the hot store faster than they can be read")
        self._owners.refresh()
        self.coverage = self._owners.coverage
        return True

    def hot_moved(self, start_ns: int) -> bool:
        """`has_moved`, asking the hot store where the span from `start_ns` on can be concerned.

        All is planned anew then: for before anything of the answer is read.
        """
        if start_ns >= stays_from(now_ns()):
            return False
        if not self.has_moved(self.store("hot").oldest(self.query.rows_kind)):
            return False
        if self.served:
            self.narrow(self.served[0].start_ns, self.served[-1].end_ns)
        return True

    def plan_anew(self, place: int, at_ns: int) -> None:
        """Of the segment at `place` only what is before `at_ns` stays; the rest is planned by what is known now."""
        end = self.served[-1].end_ns
        kept = self.served[: place + 1]
        kept[-1].end_ns = at_ns
        self.served = kept + [Served(segment) for segment in self.segments(at_ns, end)]

    def told(self) -> list[dict[str, Any]]:
        """The segments for people and programs."""
        return [served.told() for served in self.served if served.end_ns > served.start_ns or served.rows]
