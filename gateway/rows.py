"""The rows of an answer: page after page of each segment, in order, no row twice or missing where a day moves."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa

from gateway import arrow
from gateway.plan import pieces
from gateway.query import Key
from gateway.reading import Reading
from gateway.stores.contract import Page

_FIRST_ROWS = 4_096
_WHOLE_ROWS = 16_384
_MOST_ROWS = 393_216
_PAGE_BYTES = 24 * 2**20
_GROWTH = 16
_SLOW_S = 0.5
"""Who takes longer than this for a page is given smaller ones: many such readers must not fill the memory."""


def rows(reading: Reading, after: Key | None, limit: int | None) -> Iterator[pa.RecordBatch]:
    """The rows behind `after` with the columns of the query and of the key: one more than `limit` where there is."""
    kind = reading.query.rows_kind
    left = None if limit is None else limit + 1
    # A page that is wanted whole is not cut.
    size = _FIRST_ROWS if left is None or left > _WHOLE_ROWS else left
    place = 0
    while place < len(reading.served):
        served = reading.served[place]
        segment = served.segment
        reading.next_store = segment.store
        for start, end in pieces(segment, reading.query, reading.coverage):
            page: Page | None = None
            while page is None or not page.ended:
                began = time.perf_counter()
                most = size if left is None else min(size, left)
                page = reading.store(segment.store).read(reading.query, start, end, after, most)
                served.seconds += time.perf_counter() - began
                if reading.has_moved(page.oldest_ns):
                    # What is here may be short: none of it is used.
                    reading.plan_anew(place, start if after is None else max(start, int(after[0])))
                    break
                found = page.batch.num_rows
                if not found:
                    continue
                after = arrow.key_of(page.batch, kind, found - 1)
                served.rows += found
                began = time.perf_counter()
                yield page.batch
                size = _next_size(size, page.batch, time.perf_counter() - began)
                if left is not None:
                    left -= found
                    if left <= 0:
                        return
            else:
                continue
            break
        place += 1


def last_rows(reading: Reading, count: int) -> Iterator[pa.RecordBatch]:
    """The last `count` rows, with the columns of the key."""
    if not reading.served:
        return
    first, end = reading.served[0].start_ns, reading.served[-1].end_ns
    start = _start_of_last(reading, count)
    while reading.hot_moved(first):
        # Of a day that left meanwhile too few may have been found.
        start = _start_of_last(reading, count)
    if start >= end:
        return
    reading.narrow(start, end)
    batches = list(rows(reading, None, None))
    surplus = sum(batch.num_rows for batch in batches) - count
    for batch in batches:
        if surplus < batch.num_rows:
            yield batch.slice(max(surplus, 0))
        surplus -= batch.num_rows


def _start_of_last(reading: Reading, count: int) -> int:
    """Where the last `count` rows begin; the end of the span where there are none."""
    left, start = count, reading.served[-1].end_ns
    for served in reversed(reading.served):
        spans = list(pieces(served.segment, reading.query, reading.coverage))
        for begin, end in reversed(spans):
            if left > 0:
                found, oldest = reading.store(served.segment.store).newest(reading.query, begin, end, left)
                left, start = left - found, oldest if found else start
    return start


def _next_size(size: int, batch: pa.RecordBatch, taken_s: float) -> int:
    """Larger pages for those who go on reading, as far as the rows are small."""
    if taken_s > _SLOW_S:
        return max(_FIRST_ROWS, size // _GROWTH)
    fitting = int(_PAGE_BYTES * batch.num_rows / max(batch.nbytes, 1))
    return max(1, min(size * _GROWTH, _MOST_ROWS, fitting))
