"""Pages of rows in order, read ahead: while the consumer handles one page, threads read the next ones concurrently."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from gateway import arrow
from gateway.query import Query, RowKey
from gateway.stores.contract import Page, Store
from tapehouse.clock import SECOND
from tapehouse.model import Kind

_FIRST_ROWS = 4_096
_SINGLE_PAGE_ROWS = 16_384
"""Up to this limit the rows are read as one page."""
_MAX_PAGE_ROWS = 98_304
_MAX_PAGE_BYTES = 10 * 2**20
_GROWTH = 16
_OVERFLOW_FACTOR = 2
"""A window is read in one page if it has at most this many times the expected rows."""
_MAX_WIDENING = 16
"""A window is at most this many times wider than the span of the rows before it."""
_MIN_WINDOWS_LEFT = 4
"""The first window takes at most this part of what is left: few rows say little about the density of the rest."""
_SLOW_CONSUMER_S = 0.5
"""A consumer that takes longer than this for a page gets smaller pages: many of them must not fill the memory."""
_CONCURRENT_READS = 2
_MAX_PENDING_PAGES = 6


class ReadAheadPool:
    """The read-ahead threads of one store, shared by all answers; at most `_MAX_PENDING_PAGES` pages are pending."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(_MAX_PENDING_PAGES, thread_name_prefix=f"ahead-{name}")
        self._slots = threading.Semaphore(_MAX_PENDING_PAGES)

    def try_submit(self, read: Callable[[], Page]) -> Future[Page] | None:
        """Run `read` in a thread; None if no slot is free. The slot is taken until `wait_for` or `discard`."""
        return self._threads.submit(read) if self._slots.acquire(blocking=False) else None

    def wait_for(self, page: Future[Page]) -> Page:
        """The page, once it is read; raises what the read raised."""
        try:
            return page.result()
        finally:
            self._slots.release()

    def discard(self, page: Future[Page]) -> None:
        """Cancel a page; its slot is free once the read has ended."""
        page.cancel()
        page.add_done_callback(lambda _: self._slots.release())

    def close(self) -> None:
        """Cancel all pages and let the threads end, without waiting."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class ReadPosition:
    """How far an answer has been read: the key of its last row, and how many rows are left to read."""

    def __init__(self, after: RowKey | None, left: int | None) -> None:
        self.after = after
        """The next row has a greater key; None at the beginning."""
        self.left = left
        """None without a limit; negative if more rows were read than needed."""

    @property
    def is_complete(self) -> bool:
        """Whether all rows up to the limit have been read."""
        return self.left is not None and self.left <= 0

    def advance(self, batch: pa.RecordBatch, kind: Kind) -> None:
        """Move past the rows of a batch."""
        if batch.num_rows:
            self.after = arrow.row_key(batch, kind, batch.num_rows - 1)
            if self.left is not None:
                self.left -= batch.num_rows

    def start_after(self, start_ns: int) -> int:
        """Where reading goes on in a span that starts at `start_ns`, ns."""
        return start_ns if self.after is None else max(start_ns, int(self.after[0]))


_PendingWindow = tuple[int, int, Future[Page] | None]
"""The start and end of a window, ns, and its page; None if it is read only when its turn comes."""


class _TimeWindows:
    """Cuts spans, in order, into windows of `width` ns; one window a span while `width` is None."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans = iter(spans)
        self._begin = self._end = 0
        self.width: int | None = None

    def next(self) -> tuple[int, int] | None:
        """The next window, [start, end) in ns; None at the end."""
        if self._begin >= self._end:
            span = next(self._spans, None)
            if span is None:
                return None
            self._begin, self._end = span
        begin = self._begin
        self._begin = self._end if self.width is None else min(begin + self.width, self._end)
        return begin, self._begin

    def put_back(self, begin: int) -> None:
        """Give back the last window from `begin` on: the next window starts there."""
        self._begin = begin

    def resize(self, rows: int, found: int, span_ns: int) -> None:
        """Set `width` so that a window has about `rows` rows, given that `found` rows took `span_ns`."""
        widest = _MAX_WIDENING * span_ns
        if self.width is None:
            widest = min(widest, (self._end - self._begin) // _MIN_WINDOWS_LEFT)
        self.width = max(min(span_ns * rows // found, widest) if found else widest, SECOND)


def read_pages(
    store: Store, pool: ReadAheadPool, query: Query, spans: Iterable[tuple[int, int]], position: ReadPosition
) -> Generator[Page]:
    """The rows of `spans` (half-open, ns, in order) after `position`, until it is complete; maybe some more rows.

    `position` moves past a page when the next page is requested: a consumer that rejects a page closes the generator.

    The first page is small. Without a limit, the rest is then cut into windows of time, each sized to one page by the
    density of the rows before it; a window that has more rows is continued after its last row.
    """
    windows = _TimeWindows(spans)
    kind, left = query.source_kind, position.left
    # A small limit is read as one page.
    rows = _FIRST_ROWS if left is None or left > _SINGLE_PAGE_ROWS else left
    concurrency = 1
    pending: deque[_PendingWindow] = deque()
    try:
        while not position.is_complete:
            while _has_capacity(pending, concurrency) and (window := windows.next()):
                read = partial(_read_page, store, query, *window, position.after, _OVERFLOW_FACTOR * rows)
                pending.append((*window, pool.try_submit(read) if concurrency > 1 else None))
            if not pending:
                return
            begin, end, submitted = pending.popleft()
            if submitted:
                page = pool.wait_for(submitted)
            else:
                most = rows if position.left is None else min(rows, position.left)
                page = _read_page(store, query, begin, end, position.after, most)
            began = time.perf_counter()
            yield page
            is_slow = time.perf_counter() - began > _SLOW_CONSUMER_S
            position.advance(page.batch, kind)
            rows = _next_page_rows(rows, page.batch, is_slow)
            if position.left is None:
                concurrency = 1 if is_slow else _CONCURRENT_READS
            if not page.is_last:
                times = arrow.times_ns(page.batch, kind)
                begin, last = int(times[0]), int(times[-1])
                if pending:
                    pending.appendleft((last, end, None))
                else:
                    windows.put_back(last)
                end = last
            if position.left is None and (windows.width or not page.is_last):
                windows.resize(rows, page.batch.num_rows, end - begin)
    finally:
        for _, _, submitted in pending:
            if submitted:
                pool.discard(submitted)


def _has_capacity(pending: deque[_PendingWindow], concurrency: int) -> bool:
    unread = sum(submitted is None or not submitted.done() for _, _, submitted in pending)
    return unread < concurrency and len(pending) <= concurrency


def _read_page(store: Store, query: Query, begin: int, end: int, after: RowKey | None, most: int) -> Page:
    reaches_window = after is not None and begin <= int(after[0])
    return store.read(query, begin, end, after if reaches_window else None, most)


def _next_page_rows(rows: int, batch: pa.RecordBatch, is_slow: bool) -> int:
    """Larger pages for a consumer that goes on reading, bounded in bytes; smaller ones for a slow consumer."""
    if is_slow:
        return max(_FIRST_ROWS, rows // _GROWTH)
    fitting = _MAX_PAGE_BYTES * batch.num_rows // max(batch.nbytes, 1) or _MAX_PAGE_ROWS
    return max(1, min(rows * _GROWTH, _MAX_PAGE_ROWS, fitting))
