"""The last rows of a query: so many of each symbol or account that is named."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from gateway import arrow
from gateway.answers.bars import read_last_bars
from gateway.answers.execution import Execution
from gateway.answers.rows import read_last_rows
from tapehouse.model import KINDS

_CONCURRENT_SYMBOLS = 4


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
    read = read_last_bars if execution.query.kind == "bars" else read_last_rows
    return (batch for batch in read(execution, count) if batch.num_rows)
