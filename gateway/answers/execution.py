"""The execution of one query: its plan, renewed if a day moves between stores, and the progress of each segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.answers.day_bars import DayBars
from gateway.answers.plan import STORE_NAMES, Segment, StoreTier, format_end, plan, plan_span
from gateway.answers.read_ahead import ReadAheadPool
from gateway.answers.registry import StoreRegistry
from gateway.query import Query
from gateway.stores.contract import Store, always_hot_from
from tapehouse.clock import DAY, iso, now_ns
from tapehouse.errors import ConnectError

_MAX_REPLANS = 100
_MAX_DAYS = 31
"""Days whose digests are looked at for one read."""


class SegmentProgress:
    """A segment with the rows and seconds read so far. `end_ns` moves back when the rest is planned again."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.start_ns, self.end_ns = segment.start_ns, segment.end_ns
        self.rows = 0
        self.cached = 0
        """Of the rows, those that were in the gateway's memory."""
        self.seconds = 0.0

    def describe(self) -> dict[str, Any]:
        """The segment as the JSON of an answer's `segments`."""
        return {
            "store": STORE_NAMES[self.segment.tier],
            "start": iso(self.start_ns),
            "end": format_end(self.end_ns),
            "why": self.segment.why,
            "rows": self.rows,
            "cached": self.cached,
            "ms": round(self.seconds * 1e3, 3),
            "quality": list(self.segment.quality),
        }


class Execution:
    """For one thread at a time. Raises ConnectError if the owners of the query's days are unknown."""

    def __init__(self, query: Query, registry: StoreRegistry) -> None:
        self.query = query
        self.coverage = registry.coverage
        self.progress = [SegmentProgress(segment) for segment in plan(query, self.coverage, now_ns())]
        self.next_tier: StoreTier = self.progress[0].segment.tier if self.progress else "hot"
        """The store that the next rows come from."""
        self._registry = registry
        self._replans = 0

    def store(self, tier: StoreTier) -> Store:
        """The store of a tier."""
        return self._registry.stores[tier]

    def read_ahead(self, tier: StoreTier) -> ReadAheadPool:
        """The threads that read pages of a tier ahead."""
        return self._registry.read_ahead[tier]

    @property
    def day_bars(self) -> DayBars:
        """The bars of closed days in memory."""
        return self._registry.day_bars

    def digest(self, day_ns: int) -> str | None:
        """The digest of a day of the query's source kind; None if it may change."""
        if self.query.store:
            return None
        return self._registry.digest(self.coverage, self.query.source_kind.name, day_ns)

    def unchanged_since(self, start_ns: int, end_ns: int) -> int | None:
        """A time, ns, since which no row of the query's source kind was written in a span; None if unknown."""
        days = range(start_ns // DAY * DAY, end_ns, DAY)
        if len(days) > _MAX_DAYS or any(self.digest(day) is None for day in days):
            return None
        return self.coverage.read_ns

    def for_query(self, query: Query) -> Execution:
        """A new execution of another query over the same stores."""
        return Execution(query, self._registry)

    def plan_span(self, start_ns: int, end_ns: int) -> list[Segment]:
        """The segments of [start_ns, end_ns) of the query's source rows, by the current coverage."""
        return plan_span(self.query, self.coverage, now_ns(), start_ns, end_ns)

    def rows_by_day(self, start_ns: int) -> dict[int, int]:
        """The rows of the query's source kind, of all its series, by start of the day in ns, from `start_ns` on.

        The hot store's are read anew: a day that was stored a moment ago is among them. Only for use before the first
        rows are returned.
        """
        kind = self.query.source_kind
        hot = self.store("hot").day_sizes(kind)
        while self.replan_if_days_moved(start_ns):
            hot = self.store("hot").day_sizes(kind)
        found = {day: known.rows for day, known in self.coverage.cold.get(kind.name, {}).items()}
        for day, size in hot.items():
            found[day] = max(found.get(day, 0), size.rows)
        return found

    def count_cached(self, start_ns: int, rows: int) -> None:
        """Count rows from memory in the segment that has `start_ns`."""
        for progress in self.progress:
            if progress.start_ns <= start_ns < progress.end_ns:
                progress.rows += rows
                progress.cached += rows

    def restrict_to(self, start_ns: int, end_ns: int) -> None:
        """Replace the plan by that of [start_ns, end_ns)."""
        self.progress = [SegmentProgress(segment) for segment in self.plan_span(start_ns, end_ns)]

    def adopt(self, parts: Sequence[Execution]) -> None:
        """Replace the plan by that of what several executions have read, with their rows and seconds."""
        if not parts:
            return
        self.coverage = self._registry.coverage
        self.restrict_to(
            min(part.progress[0].start_ns for part in parts), max(part.progress[-1].end_ns for part in parts)
        )
        for done in (progress for part in parts for progress in part.progress):
            owns = [one for one in self.progress if one.start_ns <= done.start_ns < one.end_ns]
            own = owns[0] if owns else self.progress[-1]
            own.rows += done.rows
            own.cached += done.cached
            own.seconds += done.seconds

    def detect_moved_days(self, oldest_ns: int | None) -> bool:
        """Whether days may have left the hot store since the coverage was read; if so, the coverage is read again.

        `oldest_ns` is the oldest time in the hot store after rows were read; None if it cannot matter. Raises
        ConnectError after 100 times.
        """
        known = self.coverage.oldest_ns.get(self.query.source_kind.name)
        if oldest_ns is None or known is None or oldest_ns <= known:
            return False
        self._replans += 1
        if self._replans > _MAX_REPLANS:
            raise ConnectError("coverage: days leave the hot store faster than they can be read")
        self._registry.refresh()
        self.coverage = self._registry.coverage
        return True

    def replan_if_days_moved(self, start_ns: int) -> bool:
        """Read the oldest time in the hot store, and plan everything again if days from `start_ns` on have left it.

        Only for use before the first rows are returned. Returns whether the plan has changed.
        """
        if start_ns >= always_hot_from(now_ns()):
            return False
        if not self.detect_moved_days(self.store("hot").oldest_time(self.query.source_kind)):
            return False
        if self.progress:
            self.restrict_to(self.progress[0].start_ns, self.progress[-1].end_ns)
        return True

    def replan_from(self, index: int, at_ns: int) -> None:
        """End the segment at `index` at `at_ns`, and plan what comes after by the current coverage."""
        end = self.progress[-1].end_ns
        kept = self.progress[: index + 1]
        kept[-1].end_ns = at_ns
        self.progress = kept + [SegmentProgress(segment) for segment in self.plan_span(at_ns, end)]

    def describe(self) -> list[dict[str, Any]]:
        """The JSON of an answer's `segments`, without those that are empty."""
        return [
            progress.describe()
            for progress in self.progress
            if progress.end_ns > progress.start_ns or progress.rows
        ]
