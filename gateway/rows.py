"""The rows of an answer: page after page of each segment, in order, no row twice or missing where a day moves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from gateway import arrow
from gateway.ahead import pages
from gateway.plan import pieces
from gateway.query import Key
from gateway.reading import Reading


def rows(reading: Reading, after: Key | None, limit: int | None) -> Iterator[pa.RecordBatch]:
    """The rows behind `after` with the columns of the query and of the key: one more than `limit` where there is."""
    kind = reading.query.rows_kind
    left = None if limit is None else limit + 1
    place = 0
    while place < len(reading.served) and (left is None or left > 0):
        served = reading.served[place]
        segment = served.segment
        reading.next_store = segment.store
        spans = pieces(segment, reading.query, reading.coverage)
        store, ahead = reading.store(segment.store), reading.ahead(segment.store)
        place += 1
        with closing(pages(store, ahead, reading.query, spans, after, left)) as coming:
            began = time.perf_counter()
            for page in coming:
                served.seconds += time.perf_counter() - began
                if reading.has_moved(page.oldest_ns):
                    # What is here may be short: none of it is used.
                    start = served.start_ns
                    reading.plan_anew(place - 1, start if after is None else max(start, int(after[0])))
                    break
                found = page.batch.num_rows
                if found:
                    after = arrow.key_of(page.batch, kind, found - 1)
                    served.rows += found
                    left = None if left is None else left - found
                    yield page.batch
                began = time.perf_counter()


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
