"""The bars of an answer: piece after piece in time, each made of the parts that the stores have of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from gateway.merge import flat, merged
from gateway.plan import rows_span
from gateway.query import Query
from gateway.reading import Reading, Served
from tapehouse.clock import DAY, INTERVALS, Interval, now_ns

_FIRST_BARS = 2_000
_MOST_BARS = 200_000
_GROWTH = 8
_SIDE_BY_SIDE = 4


def bars(reading: Reading, start_ns: int) -> Iterator[pa.RecordBatch]:
    """All bars of the query from `start_ns` on, in batches in order of time, then symbol."""
    query, interval = reading.query, _interval(reading)
    first, last = rows_span(query)
    first = max(first, interval.start_of(start_ns))
    if query.fill == "none":
        for begin, end in _spans(interval, first, last, len(query.symbols)):
            yield _piece(reading, begin, end)
        return
    # Intervals that have not begun are not filled.
    last = min(last, interval.start_of(now_ns()) + interval.length)
    closes = {symbol: _close_before(reading, symbol, first) for symbol in query.symbols}
    for begin, end in _spans(interval, first, last, len(query.symbols)):
        found = flat(_piece(reading, begin, end), query.venue, closes, interval, begin, end)
        for row in range(max(found.num_rows - len(closes), 0), found.num_rows):
            closes[found.column("symbol")[row].as_py()] = found.column("close")[row].as_py()
        yield found


def last_bars(reading: Reading, count: int) -> Iterator[pa.RecordBatch]:
    """The last `count` bars of the query: read from so far back as the days that have any say."""
    query, interval = reading.query, _interval(reading)
    first, last = rows_span(query)
    if query.fill != "none":
        last = min(last, interval.start_of(now_ns()) + interval.length)
    # What is filled goes on from a bar that may be before the span.
    days = _days(reading, 0 if query.fill != "none" else first, last) if first < last else []
    if not days:
        return
    for start in _starts(query, interval, days, count, last):
        tried = reading.of(replace(query, start_ns=max(first, start), end_ns=last, last=False, limit=None))
        found = pa.Table.from_batches(bars(tried, tried.query.start_ns)).combine_chunks()
        if found.num_rows >= count or start <= first:
            break
    reading.served = tried.served
    yield from found.slice(max(found.num_rows - count, 0)).to_batches()


def _days(reading: Reading, first: int, last: int) -> list[tuple[int, int]]:
    """(the day's start, trades) of each symbol's days with bars, in order of time."""
    start = first // DAY * DAY
    asked = replace(
        reading.query, interval="1d", start_ns=start, end_ns=last, fill="none", last=False, limit=None
    )
    found: list[tuple[int, int]] = []
    for batch in bars(reading.of(asked), start):
        found += zip(
            batch.column("ts").cast(pa.int64()).to_pylist(), batch.column("trades").to_pylist(), strict=True
        )
    return found


def _starts(
    query: Query, interval: Interval, days: list[tuple[int, int]], count: int, last: int
) -> Iterator[int]:
    """Where the last `count` bars may begin: further and further back, at last where the first bar begins."""
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
            # A bar has at least one trade, and all of a longer one's days are one.
            likely += min(trades, DAY // interval.length) or bucket not in buckets
            buckets.add(bucket)
    yield interval.start_of(days[0][0])


def _spans(interval: Interval, first: int, last: int, symbols: int) -> Iterator[tuple[int, int]]:
    """Spans of at most some bars each, cut at midnights; what is not long ago or to come is one at the end."""
    now = interval.start_of(now_ns() + DAY)
    most = _FIRST_BARS
    while first < last:
        length = most // symbols * interval.length
        end = last
        if interval.length <= DAY and first < now:
            end = min(last, max(now, first + interval.length), (first + max(length, DAY)) // DAY * DAY)
        yield first, end
        first, most = end, min(most * _GROWTH, _MOST_BARS)


def _piece(reading: Reading, start_ns: int, end_ns: int) -> pa.RecordBatch:
    """The bars of a span whose bounds are those of bars."""
    while True:
        places = [
            place
            for place, served in enumerate(reading.served)
            if served.start_ns < end_ns and start_ns < served.end_ns
        ]
        parts = [
            (reading.served[place], *_common(reading.served[place], start_ns, end_ns)) for place in places
        ]
        reading.next_store = parts[0][0].segment.store
        found = _side_by_side(reading, parts)
        if any(reading.has_moved(oldest) for _, oldest in found):
            reading.plan_anew(places[0], start_ns)
            continue
        for (served, _, _), (part, _) in zip(parts, found, strict=True):
            served.rows += part.num_rows
        return merged([part for part, _ in found])


def _side_by_side(
    reading: Reading, parts: list[tuple[Served, int, int]]
) -> list[tuple[pa.RecordBatch, int | None]]:
    def read(part: tuple[Served, int, int]) -> tuple[pa.RecordBatch, int | None]:
        served, start, end = part
        began = time.perf_counter()
        found = reading.store(served.segment.store).bars(reading.query, start, end)
        served.seconds += time.perf_counter() - began
        return found

    if len(parts) == 1:
        return [read(parts[0])]
    with ThreadPoolExecutor(min(len(parts), _SIDE_BY_SIDE)) as pool:
        return list(pool.map(read, parts))


def _close_before(reading: Reading, symbol: str, first: int) -> float | None:
    """The close of a symbol's last bar that begins before `first`."""
    interval = _interval(reading)
    at = _last_time(reading, symbol, 0, first)
    if at is None:
        return None
    start = interval.start_of(at)
    asked = replace(
        reading.query, symbols=(symbol,), start_ns=start, end_ns=first, fill="none", last=False, limit=None
    )
    closes = [batch.column("close")[-1].as_py() for batch in bars(reading.of(asked), start) if batch.num_rows]
    return float(closes[-1]) if closes else None


def _last_time(reading: Reading, symbol: str, start_ns: int, end_ns: int) -> int | None:
    """A time in a symbol's last bar in a span."""
    if start_ns >= end_ns:
        return None
    while True:
        found = None
        for segment in reversed(reading.segments(start_ns, end_ns)):
            store = reading.store(segment.store)
            found = store.last_bar(reading.query, symbol, segment.start_ns, segment.end_ns)
            if found is not None:
                break
        if not reading.hot_moved(start_ns):
            return found


def _common(served: Served, start_ns: int, end_ns: int) -> tuple[int, int]:
    return max(served.start_ns, start_ns), min(served.end_ns, end_ns)


def _interval(reading: Reading) -> Interval:
    assert reading.query.interval is not None
    return INTERVALS[reading.query.interval]
