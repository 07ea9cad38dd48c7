"""What is known of every day: which store owns it, what is held of it, and whether it can still change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.query import Query
from gateway.stores.contract import Held, Store
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.clock import DAY, now_ns, parse_ns
from tapehouse.mark import Mark
from tapehouse.model import GAPS, TICKS

OPEN_GAPS = 10_000
"""As many are known at most, the newest."""


@dataclass(frozen=True)
class ColdDay:
    """A day of the cold store's: its rows, the digest of them, and why they must not be trusted, if so."""

    rows: int
    fingerprint: str
    fault: str = ""


@dataclass(frozen=True)
class Gap:
    """Rows of a kind, venue and symbol are missing from start_ns to end_ns."""

    kind: str
    venue: str
    symbol: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Coverage:
    """As of `read_ns`. Days are by kind, then by their start in ns."""

    read_ns: int = 0
    hot: Mapping[str, Mapping[int, Held]] = field(default_factory=dict)
    """What the hot store holds; some of it may be the cold store's already."""
    cold: Mapping[str, Mapping[int, ColdDay]] = field(default_factory=dict)
    """The days that the cold store owns."""
    proven: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Days of the hot store that were touched, with the digest of their rows where that is what they hold now."""
    oldest_ns: Mapping[str, int] = field(default_factory=dict)
    """The oldest time in the hot store, as it was before the owners were read. Days leave it from there on."""
    gaps: tuple[Gap, ...] = ()
    marked: bool = False
    """Whether the days that were touched are known."""
    unread: str = "not read yet"
    """Why the owners are not known; empty where they are."""

    def cold_spans(self, kind: str, end_ns: int) -> list[tuple[int, int]]:
        """The spans before `end_ns` that the cold store answers for, in order.

        These are the days that it owns, and those before its last one that the hot store has nothing of: all of
        them are sealed, and what comes for them late goes to the cold store.
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

    def version(self, kind: str, start_ns: int, end_ns: int) -> str | None:
        """What changes whenever rows of a span do; None where they may change without being noticed."""
        if self.unread or not self.marked or end_ns > self.read_ns // DAY * DAY:
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

    def quality(self, query: Query, start_ns: int, end_ns: int, *, cold: bool) -> list[str]:
        """What is to be known of the rows of a span: gaps that are open, and days whose copy is damaged."""
        kind = query.rows_kind.name
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
    """Reads the coverage from both stores. For one thread at a time."""

    def __init__(self, hot: Store, ledger: ClickHouseClient) -> None:
        self._hot = hot
        self._ledger = ledger

    def read(self, marks: Mapping[str, Any] | None, oldest_ns: Mapping[str, int]) -> Coverage:
        """What is known now. `marks` are the shared state's, by key; `oldest_ns` was read just before."""
        began = now_ns()
        hot = {kind.name: self._hot.coverage(kind) for kind in TICKS}
        entries = self._ledger.fetch(
            "SELECT kind, toUnixTimestamp(day), owner, rows, fingerprint, marks, fault, "
            "toUnixTimestamp64Nano(proven) > 0 FROM ledger FINAL"
        )
        touched = _touched(marks or {})
        cold: dict[str, dict[int, ColdDay]] = {}
        proven: dict[str, dict[int, str]] = {}
        for kind, day in touched:
            proven.setdefault(kind, {})[day] = ""
        for kind, day_s, owner, rows, fingerprint, copied, fault, is_proven in entries:
            day = day_s * 1_000_000_000
            if owner == "cold":
                cold.setdefault(kind, {})[day] = ColdDay(rows, fingerprint, fault)
            elif is_proven and not fault and touched.get((kind, day), {}) == json.loads(copied):
                proven.setdefault(kind, {})[day] = f"{fingerprint}{copied}"
        return Coverage(began, hot, cold, proven, oldest_ns, self._gaps(began), marks is not None, "")

    def _gaps(self, now: int) -> tuple[Gap, ...]:
        query = Query.asked(GAPS.name, start=0, last=OPEN_GAPS)
        found, oldest = self._hot.newest(query, 0, query.end_ns, OPEN_GAPS)
        if not found:
            return ()
        rows = self._hot.read(query, oldest, query.end_ns, None, 2 * OPEN_GAPS).batch.to_pylist()
        return tuple(
            Gap(row["kind"], row["venue"], row["symbol"], row["ts_event"].value, row["ts_end"].value)
            for row in rows
            if not row["closed"]
        )


def _touched(marks: Mapping[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """By (kind, day) the marks by shard; an open one is like none that is recorded."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for key, value in marks.items():
        _, kind, day, shard = key.split(".")
        mark = Mark.of(value)
        found.setdefault((kind, parse_ns(day)), {})[shard] = None if mark.is_open else mark.value()
    return found
