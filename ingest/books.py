"""The books of a live venue: kept true by its updates, told to need a snapshot, written out now and then.

A book begins with a snapshot of the venue's and takes the updates that chain behind it. What came before the
snapshot waits for it. Written out every few minutes, at times that do not depend on when this process began, the
book as of any moment is a short read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.book import Book
from tapehouse.clock import DAY
from tapehouse.model import DEPTH, NULL_LONG

WAITING = 50_000
"""Updates of a symbol that wait for a snapshot, at most; the oldest are let go."""


_Levels = tuple[list[float], list[float], list[float], list[float]]


@dataclass(frozen=True)
class _Update:
    """One row of depth."""

    before: int
    seq: int
    ts_event: int
    ts_recv: int
    levels: _Levels


@dataclass(frozen=True)
class _Due:
    """A book to be written out."""

    symbol: str
    ts_event: int
    ts_recv: int
    seq: int
    levels: _Levels


@dataclass
class _Kept:
    """One symbol's book, and the updates that do not chain behind it yet."""

    book: Book | None = None
    waiting: dict[int, _Update] = field(default_factory=dict)
    """By the id they come behind."""
    waits_since: float | None = None

    def begin(self, book: Book) -> None:
        """Go on from a snapshot, which may fall into the middle of an update."""
        self.book = book
        later = [update for update in self.waiting.values() if update.seq > book.seq]
        self.waiting = {max(update.before, book.seq): update for update in later}

    def wait(self, update: _Update) -> None:
        """Keep an update for its turn."""
        known = -1 if self.book is None else self.book.seq
        if update.seq > known:
            self.waiting[max(update.before, known)] = update
            if len(self.waiting) > WAITING:
                del self.waiting[next(iter(self.waiting))]


class Books:
    """The books by symbol. `every_ns` divides the day, so that midnight is one of the times."""

    def __init__(self, every_ns: int) -> None:
        assert DAY % every_ns == 0, every_ns
        self._every_ns = every_ns
        self._kept: dict[str, _Kept] = {}

    def take(self, batch: Batch, now: float) -> Batch | None:
        """Take in rows of depth, none of them seen before; the snapshots that fell due, None when none did.

        A snapshot written is dated by the full minutes it is due at, and is the book after the last update
        before that time. `now` is of the clock that `stale` is asked with, s.
        """
        due: list[_Due] = []
        for symbol, snapshot, update in _rows(batch):
            kept = self._kept.setdefault(symbol, _Kept())
            if snapshot:
                if kept.book is None or update.seq > kept.book.seq:
                    kept.begin(Book(update.seq, update.ts_event, *update.levels))
            else:
                kept.wait(update)
            due += self._catch_up(symbol, kept)
            if not kept.waiting:
                kept.waits_since = None
            elif kept.waits_since is None:
                kept.waits_since = now
        return _snapshots(batch.venue, due) if due else None

    def stale(self, now: float, grace_s: float) -> list[str]:
        """Symbols whose updates have waited for a snapshot longer than `grace_s`, or were never given one."""
        return [
            symbol
            for symbol, kept in self._kept.items()
            if kept.waits_since is not None and (kept.book is None or now - kept.waits_since > grace_s)
        ]

    def book(self, symbol: str) -> Book | None:
        """The book of a symbol as it is now; None where it is not known."""
        kept = self._kept.get(symbol)
        return None if kept is None or kept.waiting else kept.book

    def _catch_up(self, symbol: str, kept: _Kept) -> Iterator[_Due]:
        """Apply what chains behind the book; the book as it is each time a snapshot of it falls due."""
        book = kept.book
        while book is not None and (update := kept.waiting.pop(book.seq, None)):
            boundary = update.ts_event // self._every_ns * self._every_ns
            if book.ts_event < boundary:
                yield _Due(symbol, boundary, update.ts_recv, book.seq, book.levels())
            book.apply(update.before, update.seq, update.ts_event, *update.levels)


def _rows(batch: Batch) -> Iterator[tuple[str, bool, _Update]]:
    symbols = batch.strings("symbol")
    sides = [batch.lists(name) for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")]
    columns = [batch.array(name).tolist() for name in ("seq", "seq_first", "seq_previous")]
    times = [batch.array(name).tolist() for name in ("ts_event", "ts_recv")]
    snapshots, codes = batch.array("snapshot").tolist(), symbols.codes.tolist()
    for row, (seq, first, previous) in enumerate(zip(*columns, strict=True)):
        before = first - 1 if previous == NULL_LONG else previous
        bids, bid_sizes, asks, ask_sizes = (side.row(row).tolist() for side in sides)
        levels = (bids, bid_sizes, asks, ask_sizes)
        update = _Update(before, seq, times[0][row], times[1][row], levels)
        yield symbols.values[codes[row]], snapshots[row], update


def _snapshots(venue: str, due: list[_Due]) -> Batch:
    """Books as rows of depth."""
    rows = len(due)
    bid_prices, bid_sizes, ask_prices, ask_sizes = (
        Lists.of([item.levels[side] for item in due]) for side in range(4)
    )
    return Batch(
        DEPTH,
        venue,
        rows,
        {
            "ts_event": np.array([item.ts_event for item in due], np.int64),
            "ts_recv": np.array([item.ts_recv for item in due], np.int64),
            "symbol": Strings.of(item.symbol for item in due),
            "seq": np.array([item.seq for item in due], np.int64),
            "snapshot": np.ones(rows, np.bool_),
            "seq_first": np.full(rows, NULL_LONG, np.int64),
            "seq_previous": np.full(rows, NULL_LONG, np.int64),
            "bid_prices": bid_prices,
            "bid_sizes": bid_sizes,
            "ask_prices": ask_prices,
            "ask_sizes": ask_sizes,
            "flags": np.zeros(rows, np.int16),
        },
    )
