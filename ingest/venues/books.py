"""Order books of a live venue: built of snapshots and updates, and written as snapshot rows at fixed times.

A book begins with a snapshot of the venue's; the updates that follow it are applied, those received before it
wait. Snapshot rows every few minutes, at times that do not depend on when the process began, make the book as of
any time a short read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.book import Book
from tapehouse.clock import DAY
from tapehouse.model import DEPTH, NULL_LONG

MAX_WAITING = 50_000
"""Most updates of a symbol that wait for a snapshot; the oldest are dropped."""


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
    """A book to be written as a snapshot row."""

    symbol: str
    ts_event: int
    ts_recv: int
    seq: int
    levels: _Levels


@dataclass
class _SymbolBook:
    """One symbol's book, and the updates that do not follow it yet."""

    book: Book | None = None
    waiting: dict[int, _Update] = field(default_factory=dict)
    """By the id before them."""
    waits_since: float | None = None

    def reset(self, book: Book) -> None:
        """Replace the book by a snapshot, whose id may lie within an update."""
        self.book = book
        later = [update for update in self.waiting.values() if update.seq > book.seq]
        self.waiting = {max(update.before, book.seq): update for update in later}

    def wait(self, update: _Update) -> None:
        """Keep an update until the book reaches it."""
        known = -1 if self.book is None else self.book.seq
        if update.seq > known:
            self.waiting[max(update.before, known)] = update
            if len(self.waiting) > MAX_WAITING:
                del self.waiting[next(iter(self.waiting))]


class Books:
    """Books by symbol, written every `every_ns`, which must divide the day, so that midnight is one of the times."""

    def __init__(self, every_ns: int) -> None:
        assert DAY % every_ns == 0, every_ns
        self._every_ns = every_ns
        self._books: dict[str, _SymbolBook] = {}

    def apply(self, batch: Batch, now: float) -> Batch | None:
        """Apply rows of depth not seen before; the snapshot rows that became due, None for none.

        A snapshot row's ts_event is the time it was due at; it is the book after the last update before that time.
        `now` is in s, of the same clock as that of `stale`.
        """
        due: list[_Due] = []
        for symbol, snapshot, update in _rows(batch):
            state = self._books.setdefault(symbol, _SymbolBook())
            if snapshot:
                if state.book is None or update.seq > state.book.seq:
                    state.reset(Book(update.seq, update.ts_event, *update.levels))
            else:
                state.wait(update)
            due += self._catch_up(symbol, state)
            if not state.waiting:
                state.waits_since = None
            elif state.waits_since is None:
                state.waits_since = now
        return _snapshots(batch.venue, due) if due else None

    def stale(self, now: float, grace_s: float) -> list[str]:
        """Symbols that need a snapshot: without any, or whose updates have waited longer than `grace_s`."""
        return [
            symbol
            for symbol, state in self._books.items()
            if state.waits_since is not None and (state.book is None or now - state.waits_since > grace_s)
        ]

    def book(self, symbol: str) -> Book | None:
        """The current book of a symbol; None where unknown."""
        state = self._books.get(symbol)
        return None if state is None or state.waiting else state.book

    def _catch_up(self, symbol: str, state: _SymbolBook) -> Iterator[_Due]:
        """Apply the updates that follow the book; yields the book each time a snapshot row is due."""
        book = state.book
        while book is not None and (update := state.waiting.pop(book.seq, None)):
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
