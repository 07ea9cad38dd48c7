"""The order book of a symbol as of a time: the last snapshot before it with the updates behind it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from gateway.answer import Answer
from gateway.owners import Owners
from gateway.query import Query
from tapehouse.book import Book
from tapehouse.clock import DAY, iso
from tapehouse.errors import UsageError
from tapehouse.model import DEPTH

MAX_LEVELS = 5_000
_BACK_NS = (DAY // 144, DAY // 24, DAY)
"""How far back a snapshot is looked for: ten minutes, an hour, a day."""


def book_at(owners: Owners, venue: str, symbol: str, at_ns: int, levels: int) -> dict[str, Any]:
    """The best `levels` of each side as of `at_ns`, inclusive. Ready for JSON.

    {venue, symbol, at, seq, ts_event of the last update taken in, bids and asks as [price, size] from the best,
    snapshot: when the book was begun, broken: whether updates were missing behind it, where the book stops}.
    Raises UsageError where no snapshot is within a day before.
    """
    if not 1 <= levels <= MAX_LEVELS:
        raise UsageError(f"depth: expected 1 to {MAX_LEVELS:,} levels, was {levels}")
    for back in _BACK_NS:
        start = max(at_ns + 1 - back, 0)
        query = Query.asked(DEPTH.name, venue=venue, symbols=symbol, start=start, end=at_ns + 1)
        found = _begun(owners, query)
        if found is not None:
            book, begun, broken = found
            bid_prices, bid_sizes, ask_prices, ask_sizes = book.levels()
            return {
                "venue": venue,
                "symbol": symbol,
                "at": iso(at_ns),
                "seq": book.seq,
                "ts_event": iso(book.ts_event),
                "bids": [list(level) for level in zip(bid_prices, bid_sizes, strict=True)][:levels],
                "asks": [list(level) for level in zip(ask_prices, ask_sizes, strict=True)][:levels],
                "snapshot": iso(begun),
                "broken": broken,
            }
    raise UsageError(
        f"book: expected a snapshot of {symbol!r} of {venue!r} within a day before {iso(at_ns)}, was none",
        remedy="Only venues that send order books have them: ask the catalog for kind depth.",
    )


def _begun(owners: Owners, query: Query) -> tuple[Book, int, bool] | None:
    """The book at the end of a span, when it was begun, and whether it broke off; None without a snapshot."""
    book, begun, broken = None, 0, False
    for batch in Answer(query, owners):
        for row in _plain(batch):
            levels = tuple(row[name] for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"))
            if row["snapshot"]:
                book, begun, broken = Book(row["seq"], row["ts_event"], *levels), row["ts_event"], False
            elif book is not None and not broken:
                before = row["seq_previous"]
                if before is None:
                    before = (row["seq_first"] if row["seq_first"] is not None else row["seq"]) - 1
                broken = not book.apply(before, row["seq"], row["ts_event"], *levels)
    return None if book is None else (book, begun, broken)


def _plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    times = batch.column("ts_event").cast(pa.int64()).to_pylist()
    rows: list[dict[str, Any]] = batch.drop_columns(["ts_event", "ts_recv"]).to_pylist()
    return [{**row, "ts_event": at} for row, at in zip(rows, times, strict=True)]
