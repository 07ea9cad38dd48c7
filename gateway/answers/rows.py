"""The rows of an answer, page by page over its segments: in order, each once, also while a day moves between stores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from gateway.answers.execution import Execution
from gateway.answers.plan import read_spans
from gateway.answers.read_ahead import ReadPosition, read_pages
from gateway.query import RowKey


def read_rows(execution: Execution, after: RowKey | None, limit: int | None) -> Iterator[pa.RecordBatch]:
    """The rows after the key `after`, with the columns of the query and of the key.

    With a limit, one row more than `limit` if there is one, and possibly some more.
    """
    position = ReadPosition(after, None if limit is None else limit + 1)
    index = 0
    while index < len(execution.progress) and not position.is_complete:
        progress = execution.progress[index]
        tier = progress.segment.tier
        execution.next_tier = tier
        spans = read_spans(progress.segment, execution.query, execution.coverage)
        index += 1
        pages = read_pages(
            execution.store(tier), execution.read_ahead(tier), execution.query, spans, position
        )
        with closing(pages):
            began = time.perf_counter()
            for page in pages:
                progress.seconds += time.perf_counter() - began
                if execution.detect_moved_days(page.oldest_ns):
                    # Rows may be missing from this page: none of it is used.
                    execution.replan_from(index - 1, position.start_after(progress.start_ns))
                    break
                if page.batch.num_rows:
                    progress.rows += page.batch.num_rows
                    yield page.batch
                began = time.perf_counter()


def read_last_rows(execution: Execution, count: int) -> Iterator[pa.RecordBatch]:
    """The last `count` rows of the query's span, in ascending order, with the columns of the key."""
    if not execution.progress:
        return
    end = execution.progress[-1].end_ns
    start = find_start_of_last(execution, count)
    if start >= end:
        return
    execution.restrict_to(start, end)
    batches = list(read_rows(execution, None, None))
    surplus = sum(batch.num_rows for batch in batches) - count
    for batch in batches:
        if surplus < batch.num_rows:
            yield batch.slice(max(surplus, 0))
        surplus -= batch.num_rows


def find_start_of_last(execution: Execution, count: int) -> int:
    """The time of the first of the last `count` source rows, ns; the end of the span if it has no rows.

    The execution must have segments. Only for use before the first rows are returned.
    """
    first = execution.progress[0].start_ns
    start = _count_back(execution, count)
    while execution.replan_if_days_moved(first):
        # Rows of a day that left the hot store meanwhile may not have been counted.
        start = _count_back(execution, count)
    return start


def _count_back(execution: Execution, count: int) -> int:
    left, start = count, execution.progress[-1].end_ns
    for progress in reversed(execution.progress):
        spans = list(read_spans(progress.segment, execution.query, execution.coverage))
        for begin, end in reversed(spans):
            if left > 0:
                store = execution.store(progress.segment.tier)
                found, oldest = store.count_newest(execution.query, begin, end, left)
                left, start = left - found, oldest if found else start
    return start
