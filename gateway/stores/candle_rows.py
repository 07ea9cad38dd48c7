"""Account candles aggregated in the gateway from a store's rows, where the database's own aggregates are not exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from gateway import arrow
from gateway.candles import PARTS, candles_of_trades, merge_candles
from gateway.query import Query, RowKey
from gateway.stores.contract import Page
from tapehouse.clock import parse_interval
from tapehouse.model import ACCOUNT_TRADES

COLUMNS = ("ts_event", "account_id", "id", "trx_amount", "amount")
"""The columns of account trades that candles are made of."""
_PAGE_ROWS = 250_000

Read = Callable[[Query, int, int, RowKey | None, int], Page]
"""`Store.read`."""


def trades_query(query: Query) -> Query:
    """The query for the trades that the candles of a query are made of."""
    return replace(query, kind=ACCOUNT_TRADES.name, interval=None, columns=COLUMNS, after=None)


def read_candles(read: Read, query: Query, start_ns: int, end_ns: int) -> tuple[pa.RecordBatch, int | None]:
    """As `Store.account_candles`, of pages of rows: one page and the candles of those before are in memory."""
    assert query.interval is not None
    interval, rows_query = parse_interval(query.interval), trades_query(query)
    found, after = arrow.empty_batch(PARTS), None
    while True:
        page = read(rows_query, start_ns, end_ns, after, _PAGE_ROWS)
        # Pages are in order of time: a candle that is in two of them is merged from both.
        found = merge_candles([found, candles_of_trades(page.batch, interval)], interval)
        if page.is_last:
            return found, page.oldest_ns
        after = arrow.row_key(page.batch, ACCOUNT_TRADES, page.batch.num_rows - 1)
