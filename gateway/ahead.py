"""The pages of spans in order, read ahead: while one is passed on, threads read the next ones side by side."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from gateway import arrow
from gateway.query import Key, Query
from gateway.stores.contract import Page, Store
from tapehouse.clock import SECOND

_FIRST_ROWS = 4_096
_WHOLE_ROWS = 16_384
_MOST_ROWS = 98_304
_PAGE_BYTES = 10 * 2**20
_GROWTH = 16
_ROOM = 2
"""A window may hold as many times the rows that it is meant to, and is still read at once."""
_WIDENING = 16
"""A window is as many times wider than the rows before it took, at most."""
_FIRST_WINDOWS = 4
"""And at first no more than such a part of what is left, for a few rows say little of the rest."""
_SLOW_S = 0.5
"""Who takes longer than this for a page is given smaller ones: many such readers must not fill the memory."""
_SIDE_BY_SIDE = 2
_PLACES = 6


class Ahead:
    """Threads for all answers of one store; `_PLACES` pages are under way or wait to be taken at most."""

    def __init__(self, name: str) -> None:
        self._threads = ThreadPoolExecutor(_PLACES, thread_name_prefix=f"ahead-{name}")
        self._places = threading.Semaphore(_PLACES)

    def begun(self, read: Callable[[], Page]) -> Future[Page] | None:
        """Have a thread read a page; None where no place is left."""
        return self._threads.submit(read) if self._places.acquire(blocking=False) else None

    def taken(self, page: Future[Page]) -> Page:
        """The page, once it is read; raises what its reading raised."""
        try:
            return page.result()
        finally:
            self._places.release()

    def dropped(self, page: Future[Page]) -> None:
        """Give up a page that is not wanted any more."""
        page.cancel()
        page.add_done_callback(lambda _: self._places.release())

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


_Coming = tuple[int, int, Future[Page] | None]
"""The begin and the end of a window, ns, and its first page; without one it is read when its turn comes."""


class _Windows:
    """What is left of spans, handed out in windows of `width` ns; a span at a time while it is None."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        self._spans = iter(spans)
        self._begin = self._end = 0
        self.width: int | None = None

    def next(self) -> tuple[int, int] | None:
        """The next one; None where nothing is left."""
        if self._begin >= self._end:
            span = next(self._spans, None)
            if span is None:
                return None
            self._begin, self._end = span
        begin = self._begin
        self._begin = self._end if self.width is None else min(begin + self.width, self._end)
        return begin, self._begin

    def back(self, begin: int) -> None:
        """Take back what the one handed out last has from `begin` on."""
        self._begin = begin

    def fit(self, rows: int, found: int, span_ns: int) -> None:
        """Have the next ones hold about `rows`, where `found` were in a span."""
        widest = _WIDENING * span_ns
        if self.width is None:
            widest = min(widest, (self._end - self._begin) // _FIRST_WINDOWS)
        self.width = max(min(span_ns * rows // found, widest) if found else widest, SECOND)


def pages(
    store: Store,
    ahead: Ahead,
    query: Query,
    spans: Iterable[tuple[int, int]],
    after: Key | None,
    left: int | None,
) -> Generator[Page]:
    """The rows of spans (half-open, ns, in order) behind `after`: all, or the first `left` and maybe some more.

    The first page is small. Where all are wanted the spans are then cut into windows of time, each to hold a page by
    how dense the rows before it are; a window that holds more is read on behind its last row.
    """
    windows = _Windows(spans)
    # A page that is wanted whole is not cut.
    rows = _FIRST_ROWS if left is None or left > _WHOLE_ROWS else left
    side_by_side = 1
    coming: deque[_Coming] = deque()
    try:
        while left is None or left > 0:
            while _is_room(coming, side_by_side) and (window := windows.next()):
                read = partial(_page, store, query, *window, after, _ROOM * rows)
                coming.append((*window, ahead.begun(read) if side_by_side > 1 else None))
            if not coming:
                return
            begin, end, begun = coming.popleft()
            most = rows if left is None else min(rows, left)
            page = ahead.taken(begun) if begun else _page(store, query, begin, end, after, most)
            found = page.batch.num_rows
            after = arrow.key_of(page.batch, query.rows_kind, found - 1) if found else after
            began = time.perf_counter()
            yield page
            is_slow = time.perf_counter() - began > _SLOW_S
            rows = _next_rows(rows, page.batch, is_slow)
            if left is None:
                side_by_side = 1 if is_slow else _SIDE_BY_SIDE
            else:
                left -= found
            if not page.ended:
                times = arrow.times_of(page.batch, query.rows_kind)
                begin, last = int(times[0]), int(times[-1])
                if coming:
                    coming.appendleft((last, end, None))
                else:
                    windows.back(last)
                end = last
            if left is None and (windows.width or not page.ended):
                windows.fit(rows, found, end - begin)
    finally:
        for _, _, begun in coming:
            if begun:
                ahead.dropped(begun)


def _is_room(coming: deque[_Coming], side_by_side: int) -> bool:
    under_way = sum(begun is None or not begun.done() for _, _, begun in coming)
    return under_way < side_by_side and len(coming) <= side_by_side


def _page(store: Store, query: Query, begin: int, end: int, after: Key | None, most: int) -> Page:
    is_behind = after is not None and begin <= int(after[0])
    return store.read(query, begin, end, after if is_behind else None, most)


def _next_rows(rows: int, batch: pa.RecordBatch, is_slow: bool) -> int:
    """Larger pages for those who go on reading, as far as the rows are small."""
    if is_slow:
        return max(_FIRST_ROWS, rows // _GROWTH)
    fitting = _PAGE_BYTES * batch.num_rows // max(batch.nbytes, 1) or _MOST_ROWS
    return max(1, min(rows * _GROWTH, _MOST_ROWS, fitting))
