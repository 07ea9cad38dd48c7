"""The quotes and depth that are emitted with the positions of a timeline.

They go with the first trade at or after their time. What positions that may have been published emit does therefore
not change when a restart gives later positions other times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from ingest.simulator.books import Books
from ingest.simulator.cache import cached
from ingest.simulator.timeline import Segment
from ingest.simulator.trades import Simulator
from tapehouse.batch import Batch

_OPENED_TOGETHER = 2_048


class BookRows:
    """The quotes and depth of the timeline of `trades`, in batches of bounded size."""

    def __init__(self, trades: Simulator) -> None:
        self._trades = trades
        self._segments = trades.timeline.segments
        self._books: dict[int, Books] = {}
        self._windows: OrderedDict[tuple[int, int], list[Batch]] = OrderedDict()

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The rows emitted with positions start (inclusive) to stop (exclusive); none is empty."""
        ends = [*(segment.first for segment in self._segments[1:]), stop]
        for segment, end in zip(self._segments, ends, strict=True):
            first, last = max(start, segment.first), min(stop, end)
            if first < last and (segment.quotes or segment.depth):
                yield from self._segment_batches(segment, first, last)

    def _segment_batches(self, segment: Segment, start: int, stop: int) -> Iterator[Batch]:
        books = self._books.get(segment.first)
        if books is None:
            books = self._books[segment.first] = Books(
                self._trades.timeline, segment, self._trades.instruments
            )
        if start == segment.first:
            count = self._trades.instruments.count
            for first in range(0, count, _OPENED_TOGETHER):
                yield from books.opening(first, min(first + _OPENED_TOGETHER, count))
        after = segment.epoch_ns if start == segment.first else self._trades.time(start - 1)
        until = self._trades.time(stop - 1)
        for window in books.windows(after, until):
            for batch in self._window(books, segment, window):
                times = batch.array("ts_event")
                first, last = np.searchsorted(times, (after, until), side="right").tolist()
                if first < last:
                    yield batch.slice(first, last)

    def _window(self, books: Books, segment: Segment, number: int) -> list[Batch]:
        return cached(self._windows, (segment.first, number), lambda _: books.window(number), 2)
