"""The last rows of a query: so many of each symbol or account that is named."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from gateway import arrow
from gateway.answers.bars import read_bars, read_last_bars
from gateway.answers.execution import Execution
from gateway.answers.plan import source_span
from gateway.answers.rows import find_start_of_last, read_last_rows
from tapehouse.clock import parse_interval
from tapehouse.model import ACCOUNT_CANDLES, BARS, KINDS

_CONCURRENT_SYMBOLS = 4
_GROWTH = 8


def read_last(execution: Execution, count: int) -> Iterator[pa.RecordBatch]:
    """The last `count` rows or bars of each symbol, with the columns of the key, in its order.

    Each symbol is read by itself, so that one that trades rarely does not make the others be read from long ago.
    """
    query = execution.query
    if len(query.symbols) < 2:
        yield from _read_one(execution, count)
        return
    parts = [execution.for_query(replace(query, symbols=(symbol,))) for symbol in query.symbols]
    with ThreadPoolExecutor(_CONCURRENT_SYMBOLS) as pool:
        read = list(pool.map(lambda part: list(_read_one(part, count)), parts))
    execution.adopt([part for part, batches in zip(parts, read, strict=True) if batches])
    found = [batch for batches in read for batch in batches]
    if found:
        yield arrow.merge_by_key(found, KINDS[query.kind])


def _read_one(execution: Execution, count: int) -> Iterator[pa.RecordBatch]:
    readers = {BARS.name: read_last_bars, ACCOUNT_CANDLES.name: _read_last_candles}
    read = readers.get(execution.query.kind, read_last_rows)
    return (batch for batch in read(execution, count) if batch.num_rows)


def _read_last_candles(execution: Execution, count: int) -> Iterator[pa.RecordBatch]:
    """The last `count` candles of one account: of ever more of its last trades, until they are enough."""
    query, first, last = execution.query, *source_span(execution.query)
    if first >= last:
        return
    assert query.interval is not None
    interval, trades = parse_interval(query.interval), count
    while True:
        start = find_start_of_last(execution, trades)
        # Candles are whole.
        start = max(first, interval.start_of(start)) if start < last else last
        if start >= last:
            return
        tried = execution.for_query(replace(query, start_ns=start, end_ns=last, last=False, limit=None))
        found = pa.Table.from_batches(read_bars(tried, start)).combine_chunks()
        # Fewer trades than asked for are all that there are.
        if found.num_rows >= count or sum(found["trades"].to_pylist()) < trades or start <= first:
            break
        trades *= _GROWTH
    execution.progress = tried.progress
    yield from found.slice(max(found.num_rows - count, 0)).to_batches()
