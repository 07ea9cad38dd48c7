"""Plans a query: cuts it into segments, each for the store that owns its days. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from gateway.answers.coverage import Coverage
from gateway.query import TIMESCALE, Query
from gateway.stores.contract import DaySize, always_hot_from
from tapehouse.clock import DAY, MAX_TS, Interval, day_of, iso, parse_interval
from tapehouse.errors import ConnectError

StoreTier = Literal["hot", "cold", "timescale"]
STORE_NAMES: dict[StoreTier, str] = {"hot": "questdb", "cold": "clickhouse", "timescale": TIMESCALE}
_MAX_SPAN_ROWS = 300_000
_MAX_SPAN_DAYS = 31
_MAX_SORTED_ROWS = 250_000


@dataclass(frozen=True)
class Segment:
    """Rows with start_ns <= time < end_ns, from one store. Inner bounds are UTC midnights."""

    tier: StoreTier
    start_ns: int
    end_ns: int
    why: str
    quality: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{STORE_NAMES[self.tier]}: {iso(self.start_ns)} to {format_end(self.end_ns)}, {self.why}"


def format_end(end_ns: int) -> str:
    """The end of a span as ISO 8601, or `open end`."""
    return "open end" if end_ns >= MAX_TS else iso(end_ns)


def plan(query: Query, coverage: Coverage, now: int) -> list[Segment]:
    """The segments of a query, contiguous and in order of time; adjacent days of one store are one segment.

    Raises ConnectError if the owners of the query's days are unknown.
    """
    start, end = source_span(query)
    return plan_span(query, coverage, now, start, end)


def plan_span(query: Query, coverage: Coverage, now: int, start_ns: int, end_ns: int) -> list[Segment]:
    """The segments of [start_ns, end_ns) of a query's source rows. Raises ConnectError as `plan` does."""
    if query.store:
        return [Segment("timescale", start_ns, end_ns, "named by the query")]
    safe = always_hot_from(now)
    if coverage.unknown_reason and start_ns < safe:
        raise ConnectError(
            f"coverage: the owners of the days before {day_of(safe)} are unknown: {coverage.unknown_reason}",
            remedy="Look at `tapehouse status`: ClickHouse and QuestDB must answer.",
        )
    bounds: list[tuple[StoreTier, int, int]] = []
    at = start_ns
    for begin, till in coverage.cold_spans(query.source_kind.name, end_ns):
        if till > at:
            if begin > at:
                bounds.append(("hot", at, begin))
            bounds.append(("cold", max(begin, at), till))
            at = till
    if at < end_ns:
        bounds.append(("hot", at, end_ns))
    return [
        Segment(
            tier,
            begin,
            till,
            "handed over" if tier == "cold" else "not handed over",
            tuple(coverage.quality(query, begin, till, cold=tier == "cold")),
        )
        for tier, begin, till in bounds
    ]


def read_spans(segment: Segment, query: Query, coverage: Coverage) -> Iterator[tuple[int, int]]:
    """The spans to read a segment in: for the cold store some days at a time, or part of a day; for the hot one all.

    A ClickHouse statement reads all of its days at once, each with its own buffers, and with several symbols sorts
    all rows of the span for each page. Days without rows are skipped.
    """
    if segment.tier != "cold":
        yield segment.start_ns, segment.end_ns
        return
    most = _MAX_SPAN_ROWS if len(query.symbols) == 1 else _MAX_SORTED_ROWS
    begin = till = rows = 0
    for day, known in sorted(coverage.cold.get(query.source_kind.name, {}).items()):
        if not known.rows or day + DAY <= segment.start_ns or day >= segment.end_ns:
            continue
        if rows and (rows + known.rows > most or day - begin >= _MAX_SPAN_DAYS * DAY):
            yield begin, till
            rows = 0
        begin, till = begin if rows else max(day, segment.start_ns), min(day + DAY, segment.end_ns)
        rows += known.rows
        if rows > most and len(query.symbols) != 1:
            yield from _split_evenly(begin, till, -(-rows // most))
            rows = 0
    if rows:
        yield begin, till


def _split_evenly(start_ns: int, end_ns: int, parts: int) -> Iterator[tuple[int, int]]:
    bounds = [start_ns + (end_ns - start_ns) * part // parts for part in range(parts + 1)]
    yield from ((begin, end) for begin, end in pairwise(bounds) if begin < end)


def estimate_read(segment: Segment, sizes: Mapping[int, DaySize]) -> tuple[int, int]:
    """(rows, bytes on disk) that a store reads for a segment at most, given the sizes of its days by start in ns.

    All venues and symbols count; a day partly in the segment counts in proportion.
    """
    rows = size = 0.0
    for day, found in sizes.items():
        share = (min(day + DAY, segment.end_ns) - max(day, segment.start_ns)) / DAY
        if share > 0:
            rows += share * found.rows
            size += share * found.bytes
    return round(rows), round(size)


def source_span(query: Query) -> tuple[int, int]:
    """The span of the source rows, ns: for bars and candles from the start of the first to the end of the last."""
    if query.interval is None:
        return query.start_ns, query.end_ns
    return align_span(parse_interval(query.interval), query.start_ns, query.end_ns)


def align_span(interval: Interval, start_ns: int, end_ns: int) -> tuple[int, int]:
    """From the start of the first to the end of the last bar that starts in [start_ns, end_ns)."""
    return first_bar_start(interval, start_ns), first_bar_start(interval, end_ns)


def first_bar_start(interval: Interval, ts: int) -> int:
    """The first bar start at or after `ts`, at most MAX_TS."""
    return min(ts if interval.start_of(ts) == ts else interval.end_of(ts), MAX_TS)
