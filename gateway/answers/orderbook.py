"""The order book of a symbol as of a time: the last snapshot, with the updates after it applied."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from gateway.answers.answer import QueryAnswer
from gateway.answers.registry import StoreRegistry
from gateway.query import Query
from tapehouse.book import Book
from tapehouse.clock import DAY, iso
from tapehouse.errors import UsageError
from tapehouse.model import DEPTH

MAX_LEVELS = 5_000
_LOOKBACKS_NS = (DAY // 144, DAY // 24, DAY)
"""How far back to search for a snapshot, in turn: ten minutes, an hour, a day."""


def read_book(
    registry: StoreRegistry, venue: str, symbol: str, at_ns: int, levels: int
) -> dict[str, Any] | None:
    """The best `levels` (1 to 5,000) of each side as of `at_ns`, inclusive, as JSON.

    Keys: venue, symbol, at; seq and ts_event of the last applied update; bids and asks as [price, size], best first;
    snapshot, the time of the snapshot; broken, whether an update is missing after it: then the book ends before it.
    None if there is no snapshot within the day before `at_ns`.
    """
    if not 1 <= levels <= MAX_LEVELS:
        raise UsageError(f"depth: expected 1 to {MAX_LEVELS:,} levels, was {levels}")
    for back in _LOOKBACKS_NS:
        start = max(at_ns + 1 - back, 0)
        query = Query.from_user(DEPTH.name, venue=venue, symbols=symbol, start=start, end=at_ns + 1)
        found = _replay_depth(registry, query)
        if found is not None:
            book, snapshot_ns, broken = found
            bid_prices, bid_sizes, ask_prices, ask_sizes = book.levels()
            return {
                "venue": venue,
                "symbol": symbol,
                "at": iso(at_ns),
                "seq": book.seq,
                "ts_event": iso(book.ts_event),
                "bids": [list(level) for level in zip(bid_prices, bid_sizes, strict=True)][:levels],
                "asks": [list(level) for level in zip(ask_prices, ask_sizes, strict=True)][:levels],
                "snapshot": iso(snapshot_ns),
                "broken": broken,
            }
    return None


def _replay_depth(registry: StoreRegistry, query: Query) -> tuple[Book, int, bool] | None:
    """The book at the end of the span, its snapshot's time in ns, and whether it is broken; None without a snapshot."""
    book, snapshot_ns, broken = None, 0, False
    for batch in QueryAnswer(query, registry):
        for row in _row_dicts(batch):
            levels = tuple(row[name] for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"))
            if row["snapshot"]:
                book, snapshot_ns, broken = Book(row["seq"], row["ts_event"], *levels), row["ts_event"], False
            elif book is not None and not broken:
                before = row["seq_previous"]
                if before is None:
                    before = (row["seq_first"] if row["seq_first"] is not None else row["seq"]) - 1
                broken = not book.apply(before, row["seq"], row["ts_event"], *levels)
    return None if book is None else (book, snapshot_ns, broken)


def _row_dicts(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    times = batch.column("ts_event").cast(pa.int64()).to_pylist()
    rows: list[dict[str, Any]] = batch.drop_columns(["ts_event", "ts_recv"]).to_pylist()
    return [{**row, "ts_event": at} for row, at in zip(rows, times, strict=True)]
