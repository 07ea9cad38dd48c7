"""What a live feed does about what it missed: says so in `gaps`, and asks the venue's REST interface for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np
import structlog

from ingest.books import Books
from ingest.continuity import Hole
from ingest.feeds.parsed import Parsed
from ingest.feeds.rest import Rest
from ingest.feeds.venue import Stream, Venue, Wanted
from ingest.tracks import Tracks
from tapehouse.batch import Batch, Strings
from tapehouse.clock import SECOND, now_ns
from tapehouse.errors import ConnectError
from tapehouse.model import GAPS, NULL_LONG
from tapehouse.settings import Feed

_LOOK_S = 0.2
_AGAIN_S = (5, 30, 120, 600)
"""After an answer that did not heal, the venue is asked again so much later; then no more."""
_log = structlog.get_logger()

Take = Callable[[Parsed], Awaitable[None]]
"""Takes rows as those of a socket."""
TakeMessage = Callable[[bytes], Awaitable[None]]
"""The same for a message."""
Publish = Callable[[Batch], Awaitable[None]]


class Healing:
    """Looks after the holes in the tracks and the books without a beginning, for as long as `run` runs."""

    def __init__(
        self,
        venue: Venue,
        name: str,
        rest: Rest,
        settings: Feed,
        tracks: Tracks,
        books: Books,
        take: Take,
        take_message: TakeMessage,
        publish: Publish,
        told: Mapping[str, int],
        key: str = "",
    ) -> None:
        """`name` is the rows' venue, `told` the parser's, `key` the user's for the venue's REST interface."""
        self._venue = venue
        self._name = name
        self._rest = rest
        self._settings = settings
        self._tracks = tracks
        self._books = books
        self._take = take
        self._take_message = take_message
        self._publish = publish
        self._told = told
        self._key = key
        self._lagging: dict[str, tuple[int, int]] = {}
        self._behind: dict[str, None] = {}
        self._book_again: dict[str, tuple[int, float]] = {}
        self._grace_ns = int(settings.gap_grace_s * SECOND)
        self._wake = asyncio.Event()
        self._telling = asyncio.Lock()
        self._given_up = 0

    @property
    def open(self) -> int:
        """Gaps told of since the process began, or taken over, and not closed."""
        return self._given_up + sum(hole.declared and bool(hole.left) for _, _, hole in self._tracks.holes())

    @property
    def undeclared(self) -> bool:
        """Some hole is not in `gaps` yet."""
        return any(not hole.declared and hole.left for _, _, hole in self._tracks.holes())

    def found(self, streams: Sequence[Stream]) -> None:
        """A connection brings these streams again: ask what trades were missed meanwhile."""
        for stream in streams:
            if stream.kind == "trades" and self._tracks.last("trades", stream.symbol):
                self._behind[stream.symbol] = None
        self._wake.set()

    async def run(self) -> None:
        """Heal until cancelled. What is missing is told at once, however long the venue takes to answer."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell())
            tasks.create_task(self._ask())

    async def _tell(self) -> None:
        """Keep `gaps` true: holes that are old enough, and those that were filled."""
        while True:
            now = now_ns()
            for kind, symbol, hole in self._tracks.holes():
                if hole.left and not hole.declared and now - hole.found_ns >= self._grace_ns:
                    await self._declare(kind, symbol, hole)
                elif not hole.left and hole.declared:
                    await self._declare(kind, symbol, hole)
                    self._tracks.forget(kind, symbol, hole)
                elif not hole.left:
                    self._tracks.forget(kind, symbol, hole)
                elif hole.declared and (kind != "trades" or hole.tries > len(_AGAIN_S)):
                    self._tracks.forget(kind, symbol, hole)
                    self._given_up += 1
            await asyncio.sleep(_LOOK_S)

    async def _ask(self) -> None:
        """Ask the venue for what can be had of it."""
        while True:
            self._compare_told(now_ns())
            for symbol in list(self._behind):
                del self._behind[symbol]
                await self._catch_up(symbol)
            for kind, symbol, hole in self._tracks.holes():
                if kind == "trades" and hole.declared and hole.left and now_ns() >= hole.again_ns:
                    await self._fill(symbol, hole)
            for symbol in self._books.stale(time.monotonic(), self._settings.gap_grace_s):
                await self._begin_book(symbol)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()

    def _compare_told(self, now: int) -> None:
        """A trade that the venue told of and that has not come by the time of the grace was missed."""
        for symbol, last in self._told.items():
            known = self._tracks.last("trades", symbol)
            if known is None or last <= known[0]:
                self._lagging.pop(symbol, None)
                continue
            since, seen = self._lagging.setdefault(symbol, (now, known[0]))
            if seen != known[0]:
                del self._lagging[symbol]
            elif now - since > self._grace_ns:
                del self._lagging[symbol]
                self._behind[symbol] = None

    async def _fill(self, symbol: str, hole: Hole) -> None:
        """Ask for what is left of a hole, page by page, as long as pages bring some of it."""
        for _ in range(self._settings.backfill_pages):
            before = hole.missing
            first, last = hole.left[0]
            answered = await self._page(Wanted(symbol, first, last, hole.ts))
            if not hole.left:
                return
            if not answered or hole.missing == before:
                break
        hole.again_ns = now_ns() + _AGAIN_S[min(hole.tries, len(_AGAIN_S) - 1)] * SECOND
        hole.tries += 1
        await self._declare("trades", symbol, hole)

    async def _catch_up(self, symbol: str) -> None:
        """Ask for the trades behind the last one known."""
        for _ in range(self._settings.backfill_pages):
            known = self._tracks.last("trades", symbol)
            if known is None:
                return
            await self._page(Wanted(symbol, known[0] + 1, None, known[1]))
            if self._tracks.last("trades", symbol) == known:
                return

    async def _page(self, wanted: Wanted) -> bool:
        """Take in a page of trades; whether the venue had an answer."""
        ask = self._venue.ask_trades(wanted, self._key)
        if ask is None:
            return False
        try:
            answer = await self._rest.get(ask)
        except ConnectError as reason:
            _log.warning(
                "trades not filled in", venue=self._name, symbol=wanted.symbol, reason=reason.message
            )
            return False
        await self._take(self._venue.trades(answer, self._name, wanted.symbol, time.time_ns()))
        return True

    async def _begin_book(self, symbol: str) -> None:
        """Ask for the snapshot of a book; when it does not help, again later and later."""
        tries, again_at = self._book_again.get(symbol, (0, 0.0))
        ask = self._venue.ask_book(symbol)
        if ask is None or time.monotonic() < again_at:
            return
        try:
            await self._take_message(self._venue.book(await self._rest.get(ask), symbol))
        except ConnectError as reason:
            _log.warning("no snapshot of the book", venue=self._name, symbol=symbol, reason=reason.message)
        if self._books.book(symbol) is not None:
            self._book_again.pop(symbol, None)
        else:
            pause_s = min(60.0, 0.5 * 2**tries)
            self._book_again[symbol] = tries + 1, time.monotonic() + pause_s

    async def _declare(self, kind: str, symbol: str, hole: Hole) -> None:
        """Write a hole's row in `gaps`: as it is now, and one after the other, for the last one stands."""
        async with self._telling:
            await self._publish(_row(self._name, kind, symbol, hole))
            hole.declared = True
        _log.info(
            "gap", venue=self._name, kind=kind, symbol=symbol, first=hole.first, last=hole.last,
            missing=hole.missing, closed=not hole.left, reason=hole.reason,
        )  # fmt: skip


def _row(venue: str, kind: str, symbol: str, hole: Hole) -> Batch:
    """A hole as a row of `gaps`."""
    missing = NULL_LONG if hole.missing is None else hole.missing
    return Batch(
        GAPS,
        venue,
        1,
        {
            "ts_event": np.array([hole.ts], np.int64),
            "ts_recv": np.array([hole.found_ns], np.int64),
            "symbol": Strings.of([symbol]),
            "seq": np.array([hole.first], np.int64),
            "kind": Strings.of([kind]),
            "ts_end": np.array([hole.ts_end], np.int64),
            "seq_last": np.array([hole.last], np.int64),
            "missing": np.array([missing], np.int64),
            "closed": np.array([not hole.left], np.bool_),
            "reason": Strings.of([hole.reason]),
        },
    )
