"""A query cut into segments, each for the store that owns its days. Pure: query and coverage in, segments out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from gateway.coverage import Coverage
from gateway.query import Query
from gateway.stores.contract import Held, stays_from
from tapehouse.clock import DAY, INTERVALS, MAX_TS, Interval, day_of, iso
from tapehouse.errors import ConnectError

Side = Literal["hot", "cold"]
STORES: dict[Side, str] = {"hot": "questdb", "cold": "clickhouse"}
_PIECE_ROWS = 300_000
_PIECE_DAYS = 31
_SORTED_ROWS = 250_000


@dataclass(frozen=True)
class Segment:
    """Rows with start_ns <= time < end_ns, from one store. Inner bounds are UTC midnights."""

    store: Side
    start_ns: int
    end_ns: int
    why: str
    quality: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{STORES[self.store]}: {iso(self.start_ns)} to {until(self.end_ns)}, {self.why}"


def until(end_ns: int) -> str:
    """The end of a span for people."""
    return "open end" if end_ns >= MAX_TS else iso(end_ns)


def plan(query: Query, coverage: Coverage, now: int) -> list[Segment]:
    """The segments of a query in order of time, without a hole: a store's days in a row are one.

    Raises ConnectError where it is not known who owns the days that the query reaches into.
    """
    start, end = rows_span(query)
    return cut(query, coverage, now, start, end)


def cut(query: Query, coverage: Coverage, now: int, start_ns: int, end_ns: int) -> list[Segment]:
    """The segments of a span of a query's rows."""
    safe = stays_from(now)
    if coverage.unread and start_ns < safe:
        raise ConnectError(
            f"coverage: who owns the days before {day_of(safe)} is not known: {coverage.unread}",
            remedy="Look at `tapehouse status`: ClickHouse and QuestDB must answer.",
        )
    bounds: list[tuple[Side, int, int]] = []
    at = start_ns
    for begin, till in coverage.cold_spans(query.rows_kind.name, end_ns):
        if till > at:
            if begin > at:
                bounds.append(("hot", at, begin))
            bounds.append(("cold", max(begin, at), till))
            at = till
    if at < end_ns:
        bounds.append(("hot", at, end_ns))
    return [
        Segment(
            side,
            begin,
            till,
            "handed over" if side == "cold" else "not handed over",
            tuple(coverage.quality(query, begin, till, cold=side == "cold")),
        )
        for side, begin, till in bounds
    ]


def pieces(segment: Segment, query: Query, coverage: Coverage) -> Iterator[tuple[int, int]]:
    """The spans in which the rows of a segment are read: of the cold store some days at a time, or a part of one.

    It reads all days of a statement at once, each with memory of its own; and rows of several symbols it must sort,
    all of a span for each page. Days without rows are left out.
    """
    if segment.store == "hot":
        yield segment.start_ns, segment.end_ns
        return
    most = _PIECE_ROWS if len(query.symbols) == 1 else _SORTED_ROWS
    begin = till = rows = 0
    for day, held in sorted(coverage.cold.get(query.rows_kind.name, {}).items()):
        if not held.rows or day + DAY <= segment.start_ns or day >= segment.end_ns:
            continue
        if rows and (rows + held.rows > most or day - begin >= _PIECE_DAYS * DAY):
            yield begin, till
            rows = 0
        begin, till = begin if rows else max(day, segment.start_ns), min(day + DAY, segment.end_ns)
        rows += held.rows
        if rows > most and len(query.symbols) != 1:
            yield from _cut(begin, till, -(-rows // most))
            rows = 0
    if rows:
        yield begin, till


def _cut(start_ns: int, end_ns: int, parts: int) -> Iterator[tuple[int, int]]:
    bounds = [start_ns + (end_ns - start_ns) * part // parts for part in range(parts + 1)]
    yield from ((begin, end) for begin, end in pairwise(bounds) if begin < end)


def expected(segment: Segment, held: Mapping[int, Held]) -> tuple[int, int]:
    """(rows, bytes on the disk) that a store which holds these days reads for a segment at most.

    Those of all venues and symbols; a day that the segment cuts counts in proportion.
    """
    rows = size = 0.0
    for day, found in held.items():
        share = (min(day + DAY, segment.end_ns) - max(day, segment.start_ns)) / DAY
        if share > 0:
            rows += share * found.rows
            size += share * found.bytes
    return round(rows), round(size)


def rows_span(query: Query) -> tuple[int, int]:
    """The span of the rows that a query's answer is made of: of bars all that begin in its own."""
    if query.kind != "bars":
        return query.start_ns, query.end_ns
    assert query.interval is not None
    return whole(INTERVALS[query.interval], query.start_ns, query.end_ns)


def whole(interval: Interval, start_ns: int, end_ns: int) -> tuple[int, int]:
    """The span of the bars that start in [start_ns, end_ns)."""
    return aligned(interval, start_ns), aligned(interval, end_ns)


def aligned(interval: Interval, ts: int) -> int:
    """The first start of a bar at or after `ts`; MAX_TS at the latest."""
    return min(ts if interval.start_of(ts) == ts else interval.end_of(ts), MAX_TS)
