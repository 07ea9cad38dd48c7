"""Reads the bars or candles of an answer: span after span, each merged from the segments of both stores."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gateway import arrow
from gateway.answers.day_bars import CachedSlice, DaySeries
from gateway.answers.execution import Execution, SegmentProgress
from gateway.answers.merge import fill_flat, lengthen_bars, merge_bars
from gateway.answers.plan import first_bar_start, source_span
from gateway.candles import merge_candles, whole_candles
from gateway.query import Query
from tapehouse.clock import DAY, INTERVALS, Interval, now_ns, parse_interval
from tapehouse.model import ACCOUNT_CANDLES, BARS

_FIRST_BARS = 2_000
_MAX_BARS = 200_000
_GROWTH = 8
_CONCURRENT_SEGMENTS = 4
_ASKED_WHOLE = 31 * DAY
"""The longest span whose days are all asked for; of a longer one only those that have rows."""


def read_bars(execution: Execution, start_ns: int) -> Iterator[pa.RecordBatch]:
    """The query's bars or candles that start at or after `start_ns`, in batches sorted by the kind's key."""
    query, interval = execution.query, _interval(execution)
    first, last = source_span(query)
    first = max(first, interval.start_of(start_ns))
    if query.fill == "none":
        if interval.length > DAY or min(last, now_ns()) - first <= _ASKED_WHOLE:
            spans = _split_span(interval, first, last, len(query.symbols))
        else:
            spans = _spans_of_days(interval, execution.rows_by_day(first), first, last, len(query.symbols))
        for begin, end in spans:
            yield _read_span(execution, begin, end)
        return
    # Future intervals are not filled.
    last = min(last, interval.end_of(now_ns()))
    closes = {symbol: _close_before(execution, symbol, first) for symbol in query.symbols}
    for begin, end in _split_span(interval, first, last, len(query.symbols)):
        found = fill_flat(_read_span(execution, begin, end), query.venue, closes, interval, begin, end)
        for row in range(max(found.num_rows - len(closes), 0), found.num_rows):
            closes[found.column("symbol")[row].as_py()] = found.column("close")[row].as_py()
        yield found


def read_last_bars(execution: Execution, count: int) -> Iterator[pa.RecordBatch]:
    """The last `count` bars of the query; daily trade counts say how far back to start reading."""
    query, interval = execution.query, _interval(execution)
    first, last = source_span(query)
    if query.fill != "none":
        last = min(last, interval.end_of(now_ns()))
    # A filled bar repeats a close that may be from before the span.
    days = _trades_per_day(execution, 0 if query.fill != "none" else first, last) if first < last else []
    if not days:
        return
    for start in _candidate_starts(query, interval, days, count, last):
        tried = execution.for_query(
            replace(query, start_ns=max(first, start), end_ns=last, last=False, limit=None)
        )
        found = pa.Table.from_batches(read_bars(tried, tried.query.start_ns)).combine_chunks()
        if found.num_rows >= count or start <= first:
            break
    execution.progress = tried.progress
    yield from found.slice(max(found.num_rows - count, 0)).to_batches()


def _trades_per_day(execution: Execution, first: int, last: int) -> list[tuple[int, int]]:
    """(start of the day in ns, number of trades), one for each day and symbol with bars, in order of time."""
    start = first // DAY * DAY
    daily = replace(
        execution.query, interval="1d", start_ns=start, end_ns=last, fill="none", last=False, limit=None
    )
    found: list[tuple[int, int]] = []
    for batch in read_bars(execution.for_query(daily), start):
        found += zip(
            batch.column("ts").cast(pa.int64()).to_pylist(), batch.column("trades").to_pylist(), strict=True
        )
    return found


def _candidate_starts(
    query: Query, interval: Interval, days: list[tuple[int, int]], count: int, last: int
) -> Iterator[int]:
    """Starts to try for the last `count` bars, ns: ever earlier, up to the start of the first bar."""
    if query.fill != "none":
        back = -(-count // len(query.symbols)) * interval.length
        while last - back > days[0][0]:
            yield interval.start_of(last - back)
            back *= _GROWTH
    else:
        wanted, likely = count, 0
        buckets: set[int] = set()
        for day, trades in reversed(days):
            bucket = interval.start_of(day)
            if likely >= wanted and bucket not in buckets:
                yield min(buckets)
                wanted += count * _GROWTH
            # A bar has at least one trade; all days of one longer bar count as one.
            likely += min(trades, DAY // interval.length) or bucket not in buckets
            buckets.add(bucket)
    yield interval.start_of(days[0][0])


def _split_span(interval: Interval, first: int, last: int, symbols: int) -> Iterator[tuple[int, int]]:
    """Cut [first, last) at the bar starts nearest to midnights into spans of growing size.

    Today and the future are one span, the last.
    """
    now = interval.start_of(now_ns() + DAY)
    part = INTERVALS[interval.part].length
    most = _FIRST_BARS
    while first < last:
        length = most // symbols * part
        end = last
        if interval.length <= DAY and first < now:
            midnight = (first + max(length, DAY)) // DAY * DAY
            end = min(last, max(now, first + interval.length), first_bar_start(interval, midnight))
        yield first, end
        first, most = end, min(most * _GROWTH, _MAX_BARS)


def _spans_of_days(
    interval: Interval, rows_by_day: Mapping[int, int], first: int, last: int, symbols: int
) -> Iterator[tuple[int, int]]:
    """Cut [first, last) at or after midnights into spans of a growing number of bars; days without rows are left out.

    `rows_by_day`: rows of all symbols by start of the day, ns. Today and the future are one span, the last.
    """
    today = now_ns() // DAY * DAY
    most, bars = _FIRST_BARS, 0
    begin = end = first
    for day, rows in sorted(rows_by_day.items()):
        if not rows or day + DAY <= first or day >= min(last, today):
            continue
        in_day = min(rows, DAY // INTERVALS[interval.part].length * symbols)
        if bars and bars + in_day > most:
            yield begin, end
            most, bars = min(most * _GROWTH, _MAX_BARS), 0
        # A bar of a custom interval may be of two days.
        begin = begin if bars else max(interval.start_of(day), end)
        end = min(first_bar_start(interval, day + DAY), last)
        bars += in_day
    if bars:
        yield begin, end
    today = max(interval.start_of(today), end)
    if last > today:
        yield today, last


def _read_span(execution: Execution, start_ns: int, end_ns: int) -> pa.RecordBatch:
    """The bars of a span that starts and ends at bar boundaries; closed days from memory where they are cached."""
    if not _is_cached_by_day(execution, start_ns, end_ns):
        return _read_stores(execution, start_ns, end_ns)
    parts: list[pa.RecordBatch] = []
    missing: list[tuple[int, str | None]] = []
    for day in range(start_ns // DAY * DAY, end_ns, DAY):
        digest = execution.digest(day)
        found = _find_cached(execution, day, digest, max(day, start_ns), min(day + DAY, end_ns))
        if found is None:
            missing.append((day, digest))
            continue
        parts += _read_missing(execution, missing, start_ns, end_ns)
        parts.append(found)
        missing = []
    parts += _read_missing(execution, missing, start_ns, end_ns)
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


def _is_cached_by_day(execution: Execution, start_ns: int, end_ns: int) -> bool:
    """Whether bars of a span are cached at all: those of one symbol whose days are made of whole bars."""
    is_of_days = DAY % _interval(execution).length == 0
    return len(execution.query.symbols) == 1 and is_of_days and end_ns - start_ns <= _ASKED_WHOLE


def _find_cached(
    execution: Execution, day: int, digest: str | None, start_ns: int, end_ns: int
) -> pa.RecordBatch | None:
    """The cached bars of a part of a day. Of a day that is cached in part, the rest is read before."""
    if digest is None:
        return None
    key = _series_of_day(execution, day)
    found = execution.day_bars.find(key, digest, start_ns, end_ns)
    if found is None and execution.day_bars.has_part(key, digest):
        # The second time that bars of the day are asked for: there will be others.
        whole = execution.for_query(
            replace(execution.query, start_ns=day, end_ns=day + DAY, fill="none", last=False, limit=None)
        )
        execution.day_bars.add(key, digest, day, day + DAY, _read_stores(whole, day, day + DAY))
        found = execution.day_bars.find(key, digest, start_ns, end_ns)
    if found is None:
        return None
    execution.count_cached(start_ns, len(found))
    return found.bars


def find_cached_bars(execution: Execution) -> list[CachedSlice] | None:
    """All bars of the query in order of time, where every day of it is cached and closed; nothing is read.

    None where some are not cached, where there are none or more than the query's limit, and for queries of other
    kinds, of several symbols, of the last bars, of filled ones and of what comes after a key.
    """
    query = execution.query
    if query.kind != "bars" or query.last or query.fill != "none" or query.after is not None:
        return None
    first, last = source_span(query)
    if not _is_cached_by_day(execution, first, last):
        return None
    found = []
    for day in range(first // DAY * DAY, last, DAY):
        digest = execution.digest(day)
        if digest is None:
            return None
        start, end = max(day, first), min(day + DAY, last)
        cached = execution.day_bars.find(_series_of_day(execution, day), digest, start, end)
        if cached is None:
            return None
        found.append(cached)
    rows = sum(map(len, found))
    if not rows or (query.limit is not None and rows > query.limit):
        return None
    for cached in found:
        execution.count_cached(max(cached.key[3], first), len(cached))
    return found


def _read_missing(
    execution: Execution, missing: Sequence[tuple[int, str | None]], start_ns: int, end_ns: int
) -> list[pa.RecordBatch]:
    """The bars of adjacent days, cut to [start_ns, end_ns); those of days that have a digest are cached."""
    if not missing:
        return []
    first, last = max(missing[0][0], start_ns), min(missing[-1][0] + DAY, end_ns)
    found = _read_stores(execution, first, last)
    times = arrow.times_ns(found, BARS)
    for day, digest in missing:
        if digest is not None:
            begin, end = max(day, first), min(day + DAY, last)
            low, high = np.searchsorted(times, (begin, end))
            bars = found.slice(int(low), int(high - low))
            execution.day_bars.add(_series_of_day(execution, day), digest, begin, end, bars)
    return [found]


def _series_of_day(execution: Execution, day: int) -> DaySeries:
    query = execution.query
    assert query.interval is not None
    return query.venue, query.symbols[0], query.interval, day


def _read_stores(execution: Execution, start_ns: int, end_ns: int) -> pa.RecordBatch:
    """The bars of a span that starts and ends at bar boundaries, from the stores that own its days."""
    while True:
        indexes = [
            index
            for index, progress in enumerate(execution.progress)
            if progress.start_ns < end_ns and start_ns < progress.end_ns
        ]
        parts = [
            (execution.progress[index], *_overlap(execution.progress[index], start_ns, end_ns))
            for index in indexes
        ]
        execution.next_tier = parts[0][0].segment.tier
        found = _read_parts(execution, parts)
        if any(execution.detect_moved_days(oldest) for _, oldest in found):
            execution.replan_from(indexes[0], start_ns)
            continue
        for (progress, _, _), (part, _) in zip(parts, found, strict=True):
            progress.rows += part.num_rows
        return _merge(execution, [part for part, _ in found])


def _read_parts(
    execution: Execution, parts: list[tuple[SegmentProgress, int, int]]
) -> list[tuple[pa.RecordBatch, int | None]]:
    interval, stored = _interval(execution), execution.query.stored

    def read(part: tuple[SegmentProgress, int, int]) -> tuple[pa.RecordBatch, int | None]:
        progress, start, end = part
        began = time.perf_counter()
        store = execution.store(progress.segment.tier)
        if stored.kind == ACCOUNT_CANDLES.name:
            bars, oldest = store.account_candles(stored, start, end)
            bars = merge_candles([bars], interval) if stored.interval != interval.name else bars
        else:
            bars, oldest = store.bars(stored, start, end, execution.unchanged_since(start, end))
            bars = lengthen_bars(bars, interval)
        progress.seconds += time.perf_counter() - began
        return bars, oldest

    if len(parts) == 1:
        return [read(parts[0])]
    with ThreadPoolExecutor(min(len(parts), _CONCURRENT_SEGMENTS)) as pool:
        return list(pool.map(read, parts))


def _merge(execution: Execution, parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The bars or candles of adjacent spans in order of time, put together."""
    if execution.query.kind != ACCOUNT_CANDLES.name:
        return merge_bars(parts)
    return whole_candles(parts[0] if len(parts) == 1 else merge_candles(parts, _interval(execution)))


def _close_before(execution: Execution, symbol: str, first: int) -> float | None:
    """The close of a symbol's last bar that starts before `first`; None if there is none."""
    interval = _interval(execution)
    at = _last_bar_time(execution, symbol, 0, first)
    if at is None:
        return None
    start = interval.start_of(at)
    last_bar = replace(
        execution.query, symbols=(symbol,), start_ns=start, end_ns=first, fill="none", last=False, limit=None
    )
    closes = [
        batch.column("close")[-1].as_py()
        for batch in read_bars(execution.for_query(last_bar), start)
        if batch.num_rows
    ]
    return float(closes[-1]) if closes else None


def _last_bar_time(execution: Execution, symbol: str, start_ns: int, end_ns: int) -> int | None:
    """A time, ns, within a symbol's last bar in [start_ns, end_ns); None if there is none."""
    if start_ns >= end_ns:
        return None
    while True:
        found = None
        for segment in reversed(execution.plan_span(start_ns, end_ns)):
            store = execution.store(segment.tier)
            found = store.last_bar_time(execution.query.stored, symbol, segment.start_ns, segment.end_ns)
            if found is not None:
                break
        if not execution.replan_if_days_moved(start_ns):
            return found


def _overlap(progress: SegmentProgress, start_ns: int, end_ns: int) -> tuple[int, int]:
    return max(progress.start_ns, start_ns), min(progress.end_ns, end_ns)


def _interval(execution: Execution) -> Interval:
    assert execution.query.interval is not None
    return parse_interval(execution.query.interval)
