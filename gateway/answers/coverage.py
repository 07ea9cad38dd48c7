"""The coverage of each (kind, day): which store owns it, its size, and whether it can still change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.query import Query
from gateway.stores.contract import DaySize, Store
from tapehouse.clock import DAY, now_ns, parse_ns
from tapehouse.model import GAPS, TICKS
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stream.mark import DayMark

MAX_OPEN_GAPS = 10_000
"""Only the newest gaps up to this number are loaded."""


@dataclass(frozen=True)
class ColdDay:
    """A day owned by the cold store: row count, fingerprint, and the damage found (empty if none)."""

    rows: int
    fingerprint: str
    fault: str = ""


@dataclass(frozen=True)
class OpenGap:
    """A gap that is not closed: rows are missing from `start_ns` to `end_ns`, both inclusive."""

    kind: str
    venue: str
    symbol: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Coverage:
    """The coverage at time `read_ns`. Mappings are by kind, then by start of the UTC day in ns."""

    read_ns: int = 0
    hot: Mapping[str, Mapping[int, DaySize]] = field(default_factory=dict)
    """The days stored in the hot store; the cold store may own some of them already."""
    cold: Mapping[str, Mapping[int, ColdDay]] = field(default_factory=dict)
    """The days owned by the cold store."""
    proven: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Days with day marks and proven days: the fingerprint if it is that of the present rows, else empty."""
    oldest_ns: Mapping[str, int] = field(default_factory=dict)
    """By kind the oldest time in the hot store, read before the owners. Days leave the hot store oldest first."""
    gaps: tuple[OpenGap, ...] = ()
    has_marks: bool = False
    """Whether the day marks have been read."""
    unknown_reason: str = "not read yet"
    """Why the owners are unknown; empty if they are known."""
    marks: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Days with day marks: the marks as text while all of them are closed, else empty."""

    def cold_spans(self, kind: str, end_ns: int) -> list[tuple[int, int]]:
        """The spans before `end_ns` that the cold store answers, in order of time.

        These are its own days, and earlier days without rows in the hot store: all of them are sealed, so that late
        rows for them go to the cold store.
        """
        cold = self.cold.get(kind, {})
        spans: list[tuple[int, int]] = []
        at, end = 0, min(max(cold, default=-DAY) + DAY, end_ns)
        for day in sorted(day for day in self.hot.get(kind, {}) if day < end and day not in cold):
            if day > at:
                spans.append((at, day))
            at = day + DAY
        if at < end:
            spans.append((at, end))
        return spans

    def day_states(self) -> list[tuple[str, int, str, int]]:
        """(kind, start of the day in ns, state, rows) of each stored day, in order of kind and day.

        The state is open, stale, proven, cold or damaged: see `/v1/days`.
        """
        found = []
        for kind in sorted({*self.hot, *self.cold}):
            hot, cold = self.hot.get(kind, {}), self.cold.get(kind, {})
            for day in sorted({*hot, *cold}):
                known = cold.get(day)
                rows = hot[day].rows if known is None else known.rows
                found.append((kind, day, self._state(kind, day), rows))
        return found

    def _state(self, kind: str, day_ns: int) -> str:
        known = self.cold.get(kind, {}).get(day_ns)
        if known is not None:
            return "damaged" if known.fault else "cold"
        if self.proven.get(kind, {}).get(day_ns):
            return "proven"
        # A day without any mark is older than the marks.
        is_open = self.marks.get(kind, {}).get(day_ns) == ""
        return "open" if is_open else "stale"

    def version(self, kind: str, start_ns: int, end_ns: int) -> str | None:
        """A digest that changes whenever rows of the span do; None if changes cannot be detected."""
        if self.unknown_reason or not self.has_marks or end_ns > self.read_ns // DAY * DAY:
            return None
        cold, hot, proven = self.cold.get(kind, {}), self.hot.get(kind, {}), self.proven.get(kind, {})
        digest = hashlib.sha256()
        for day in sorted(day for day in {*cold, *hot, *proven} if start_ns < day + DAY and day < end_ns):
            known = cold.get(day)
            fingerprint = proven.get(day, "") if known is None else "" if known.fault else known.fingerprint
            if not fingerprint:
                return None
            digest.update(f"{day}:{fingerprint};".encode())
        return digest.hexdigest()[:32]

    def digest(self, kind: str, day_ns: int) -> str | None:
        """A text that changes whenever rows of a closed day do; None if changes cannot be detected.

        `day_ns`: the start of the UTC day. Other than `version`, it needs no proof of the mirror.
        """
        if self.unknown_reason or not self.has_marks or day_ns + DAY > self.read_ns:
            return None
        known = self.cold.get(kind, {}).get(day_ns)
        if known is not None:
            return None if known.fault else f"{known.rows}:{known.fingerprint}"
        marks = self.marks.get(kind, {}).get(day_ns)
        if marks is None:
            # Nobody has ever written a row of it.
            return None if day_ns in self.hot.get(kind, {}) else ""
        return marks or None

    def quality(self, query: Query, start_ns: int, end_ns: int, *, cold: bool) -> list[str]:
        """Warnings about the rows of a span: open gaps and, for the cold store, damaged days."""
        kind = query.source_kind.name
        found = []
        missing = sum(
            gap.kind == kind
            and gap.venue == query.venue
            and (gap.symbol in query.symbols)
            and gap.start_ns < end_ns
            and start_ns <= gap.end_ns
            for gap in self.gaps
        )
        if missing:
            found.append(f"{missing} open gaps")
        if cold:
            damaged = [
                day
                for day, known in self.cold.get(kind, {}).items()
                if known.fault and start_ns < day + DAY and day < end_ns
            ]
            if damaged:
                found.append(f"{len(damaged)} days damaged")
        return found


class CoverageReader:
    """Reads the coverage from both stores. Not thread-safe."""

    def __init__(self, hot: Store, ledger: ClickHouseClient) -> None:
        self._hot = hot
        self._ledger = ledger

    def read(self, marks: Mapping[str, Any] | None, oldest_ns: Mapping[str, int]) -> Coverage:
        """The current coverage. `marks` are the day marks by KV key; `oldest_ns` was read just before."""
        began = now_ns()
        hot = {kind.name: self._hot.day_sizes(kind) for kind in TICKS}
        entries = self._ledger.fetch(
            "SELECT kind, toUnixTimestamp(day), owner, rows, fingerprint, marks, fault, "
            "toUnixTimestamp64Nano(proven) > 0 FROM ledger FINAL"
        )
        day_marks = _marks_by_day(marks or {})
        cold: dict[str, dict[int, ColdDay]] = {}
        proven: dict[str, dict[int, str]] = {}
        closed: dict[str, dict[int, str]] = {}
        for (kind, day), by_shard in day_marks.items():
            proven.setdefault(kind, {})[day] = ""
            is_closed = None not in by_shard.values()
            closed.setdefault(kind, {})[day] = json.dumps(by_shard, sort_keys=True) if is_closed else ""
        for kind, day_s, owner, rows, fingerprint, copied, fault, is_proven in entries:
            day = day_s * 1_000_000_000
            if owner == "cold":
                cold.setdefault(kind, {})[day] = ColdDay(rows, fingerprint, fault)
            elif is_proven and not fault and day_marks.get((kind, day), {}) == json.loads(copied):
                proven.setdefault(kind, {})[day] = f"{fingerprint}{copied}"
        gaps = self._gaps(began)
        return Coverage(began, hot, cold, proven, oldest_ns, gaps, marks is not None, "", closed)

    def _gaps(self, now: int) -> tuple[OpenGap, ...]:
        query = Query.from_user(GAPS.name, start=0, last=MAX_OPEN_GAPS)
        found, oldest = self._hot.count_newest(query, 0, query.end_ns, MAX_OPEN_GAPS)
        if not found:
            return ()
        rows = self._hot.read(query, oldest, query.end_ns, None, 2 * MAX_OPEN_GAPS).batch.to_pylist()
        return tuple(
            OpenGap(row["kind"], row["venue"], row["symbol"], row["ts_event"].value, row["ts_end"].value)
            for row in rows
            if not row["closed"]
        )


def _marks_by_day(marks: Mapping[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The marks by (kind, day), then shard. An open mark becomes None, which no recorded mark equals."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for key, value in marks.items():
        _, kind, day, shard = key.split(".")
        mark = DayMark.of(value)
        found.setdefault((kind, parse_ns(day)), {})[shard] = None if mark.is_open else mark.value()
    return found
