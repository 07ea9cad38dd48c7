"""The books of a live venue: begun by a snapshot, kept by updates, written out at times of the clock."""

from __future__ import annotations

import numpy as np

from ingest.venues.books import Books
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MINUTE, parse_ns
from tapehouse.model import DEPTH, NULL_LONG

MIDNIGHT = parse_ns("2024-08-09")
Row = tuple[bool, int, int, int, list[float], list[float]]
"""snapshot, id before, seq, ts_event, bid prices, bid sizes."""


def depth(*rows: Row) -> Batch:
    count = len(rows)
    snapshot, before, seq, ts, prices, sizes = zip(*rows, strict=True)
    return Batch(
        DEPTH,
        "venue",
        count,
        {
            "ts_event": np.array(ts, np.int64),
            "ts_recv": np.array(ts, np.int64) + 5,
            "symbol": Strings.constant("BTC", count),
            "seq": np.array(seq, np.int64),
            "snapshot": np.array(snapshot),
            "seq_first": np.array(before, np.int64) + 1,
            "seq_previous": np.full(count, NULL_LONG, np.int64),
            "bid_prices": Lists.of(prices),
            "bid_sizes": Lists.of(sizes),
            "ask_prices": Lists.of([[] for _ in rows]),
            "ask_sizes": Lists.of([[] for _ in rows]),
            "flags": np.zeros(count, np.int16),
        },
    )


def update(before: int, seq: int, price: float, size: float = 1.0, ts: int = MIDNIGHT - 1) -> Row:
    return False, before, seq, ts, [price], [size]


def begun(seq: int, *prices: float, ts: int = MIDNIGHT - 10) -> Row:
    return True, 0, seq, ts, list(prices), [1.0] * len(prices)


def test_updates_wait_for_the_snapshot_and_those_it_holds_are_dropped() -> None:
    books = Books(5 * MINUTE)
    books.apply(depth(update(1, 3, 90.0), update(3, 6, 91.0), update(6, 9, 92.0)), now=0)
    assert books.stale(0, grace_s=2) == ["BTC"]
    assert books.book("BTC") is None
    books.apply(depth(begun(4, 80.0)), now=1)
    book = books.book("BTC")
    assert book is not None
    # The snapshot fell into the middle of the second update; the first is in it.
    assert (book.seq, sorted(book.bids)) == (9, [80.0, 91.0, 92.0])
    assert books.stale(100, grace_s=2) == []


def test_a_break_makes_the_book_unknown_until_the_next_snapshot() -> None:
    books = Books(5 * MINUTE)
    books.apply(depth(begun(4, 80.0), update(4, 5, 81.0)), now=0)
    books.apply(depth(update(7, 8, 82.0)), now=1)
    assert books.book("BTC") is None
    assert books.stale(1.5, grace_s=2) == []
    assert books.stale(4, grace_s=2) == ["BTC"]
    books.apply(depth(begun(7, 70.0)), now=5)
    book = books.book("BTC")
    assert book is not None
    assert sorted(book.bids) == [70.0, 82.0]


def test_updates_out_of_order_are_put_in_order() -> None:
    books = Books(5 * MINUTE)
    books.apply(depth(begun(4, 80.0), update(5, 6, 82.0, 0.0), update(4, 5, 82.0)), now=0)
    book = books.book("BTC")
    assert book is not None
    assert sorted(book.bids) == [80.0]


def test_the_book_is_written_out_at_midnight_as_it_was_before() -> None:
    books = Books(5 * MINUTE)
    assert books.apply(depth(begun(4, 80.0), update(4, 5, 81.0)), now=0) is None
    snapshots = books.apply(
        depth(update(5, 6, 82.0, ts=MIDNIGHT), update(6, 7, 83.0, ts=MIDNIGHT + 1)), now=1
    )
    assert snapshots is not None
    assert snapshots.rows == 1
    assert snapshots.array("ts_event").tolist() == [MIDNIGHT]
    assert snapshots.array("seq").tolist() == [5]
    assert snapshots.array("snapshot").all()
    assert snapshots.lists("bid_prices").row(0).tolist() == [81.0, 80.0]


def test_a_snapshot_is_the_same_whenever_the_process_began() -> None:
    rows = [update(seq, seq + 1, 80.0 + seq, ts=MIDNIGHT + seq * MINUTE) for seq in range(4, 12)]
    whole, late = Books(5 * MINUTE), Books(5 * MINUTE)
    first = whole.apply(depth(begun(4, 80.0), *rows), now=0)
    late.apply(depth(begun(4, 80.0), *rows[:3]), now=0)
    second = late.apply(depth(*rows[3:]), now=0)
    assert first is not None
    assert second is not None
    assert first.array("ts_event").tolist()[-second.rows :] == second.array("ts_event").tolist()
    assert first.array("seq").tolist()[-second.rows :] == second.array("seq").tolist()
