"""Healing of a live feed: records gaps in `gaps`, and requests what they lack from the venue's REST interface."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import numpy as np
import structlog

from ingest.venues.context import FeedContext
from ingest.venues.pipeline import RowPipeline
from ingest.venues.rest import RestClient
from ingest.venues.sequences import Gap
from ingest.venues.venue import MissingTrades, VenueParser, VenueStream
from tapehouse.batch import Batch, Strings
from tapehouse.clock import SECOND, now_ns
from tapehouse.errors import ConnectError
from tapehouse.model import GAPS, NULL_LONG

_POLL_S = 0.2
_RETRY_AFTER_S = (5, 30, 120, 600)
"""Pauses after requests that did not fill a gap; after the last one the gap is given up."""
_log = structlog.get_logger()


class Healing:
    """Looks after gaps, and after books that lack a snapshot, for as long as `run` runs."""

    def __init__(
        self, context: FeedContext, rest: RestClient, pipeline: RowPipeline, parser: VenueParser
    ) -> None:
        self._context = context
        self._venue = context.venue
        self._name = context.name
        self._rest = rest
        self._pipeline = pipeline
        self._parser = parser
        self._continuity = pipeline.continuity
        self._books = pipeline.books
        self._grace_ns = int(context.settings.gap_grace_s * SECOND)
        self._lagging: dict[str, tuple[int, int]] = {}
        """By symbol with an announced trade that was not received: (since when, last trade id received)."""
        self._catch_up_symbols: dict[str, None] = {}
        self._book_retries: dict[str, tuple[int, float]] = {}
        """By symbol: (requests that did not help, when to try again on the monotonic clock, s)."""
        self._wake = asyncio.Event()
        self._record_lock = asyncio.Lock()
        self._given_up = 0

    @property
    def open_gaps(self) -> int:
        """Recorded gaps that are not closed, those taken over from the last run included."""
        return self._given_up + sum(
            gap.recorded and bool(gap.missing_ranges) for _, _, gap in self._continuity.gaps()
        )

    @property
    def has_unrecorded_gaps(self) -> bool:
        """Some gap is not in `gaps` yet."""
        return any(not gap.recorded and gap.missing_ranges for _, _, gap in self._continuity.gaps())

    async def record_gaps(self) -> None:
        """Record the gaps that are not in `gaps` yet, without the grace time."""
        for kind, symbol, gap in self._continuity.gaps():
            if gap.missing_ranges and not gap.recorded:
                await self._record(kind, symbol, gap)

    def catch_up(self, streams: Sequence[VenueStream]) -> None:
        """Request the trades missed while these streams were disconnected."""
        for stream in streams:
            if stream.kind == "trades" and self._continuity.last_row("trades", stream.symbol):
                self._catch_up_symbols[stream.symbol] = None
        self._wake.set()

    async def run(self) -> None:
        """Heal until cancelled. Gaps are recorded in time however long the venue takes to answer."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_gaps_recorded())
            tasks.create_task(self._request_missing())

    async def _keep_gaps_recorded(self) -> None:
        """Keep `gaps` up to date: open gaps after the grace time, and closed ones."""
        while True:
            now = now_ns()
            for kind, symbol, gap in self._continuity.gaps():
                if gap.missing_ranges and not gap.recorded and now - gap.found_ns >= self._grace_ns:
                    await self._record(kind, symbol, gap)
                elif not gap.missing_ranges and gap.recorded:
                    await self._record(kind, symbol, gap)
                    self._continuity.drop_gap(kind, symbol, gap)
                elif not gap.missing_ranges:
                    self._continuity.drop_gap(kind, symbol, gap)
                elif gap.recorded and (kind != "trades" or gap.attempts > len(_RETRY_AFTER_S)):
                    self._continuity.drop_gap(kind, symbol, gap)
                    self._given_up += 1
            await asyncio.sleep(_POLL_S)

    async def _request_missing(self) -> None:
        """Request trades and book snapshots that are missing."""
        while True:
            self._compare_announced(now_ns())
            for symbol in list(self._catch_up_symbols):
                del self._catch_up_symbols[symbol]
                await self._request_newer(symbol)
            for kind, symbol, gap in self._continuity.gaps():
                if kind == "trades" and gap.recorded and gap.missing_ranges and now_ns() >= gap.retry_at_ns:
                    await self._fill(symbol, gap)
            for symbol in self._books.stale(time.monotonic(), self._context.settings.gap_grace_s):
                await self._request_snapshot(symbol)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()

    def _compare_announced(self, now: int) -> None:
        """Catch up where an announced trade was not received within the grace time."""
        for symbol, announced in self._parser.announced_trade_ids.items():
            received = self._continuity.last_row("trades", symbol)
            if received is None or announced <= received[0]:
                self._lagging.pop(symbol, None)
                continue
            since, last_id = self._lagging.setdefault(symbol, (now, received[0]))
            if last_id != received[0]:
                del self._lagging[symbol]
            elif now - since > self._grace_ns:
                del self._lagging[symbol]
                self._catch_up_symbols[symbol] = None

    async def _fill(self, symbol: str, gap: Gap) -> None:
        """Request the missing trades of a gap, page by page, while pages bring some of them."""
        for _ in range(self._context.settings.backfill_pages):
            missing = gap.missing
            first, last = gap.missing_ranges[0]
            answered = await self._request_page(MissingTrades(symbol, first, last, gap.ts))
            if not gap.missing_ranges:
                return
            if not answered or gap.missing == missing:
                break
        gap.retry_at_ns = now_ns() + _RETRY_AFTER_S[min(gap.attempts, len(_RETRY_AFTER_S) - 1)] * SECOND
        gap.attempts += 1
        await self._record("trades", symbol, gap)

    async def _request_newer(self, symbol: str) -> None:
        """Request the trades after the last one received."""
        for _ in range(self._context.settings.backfill_pages):
            received = self._continuity.last_row("trades", symbol)
            if received is None:
                return
            await self._request_page(MissingTrades(symbol, received[0] + 1, None, received[1]))
            if self._continuity.last_row("trades", symbol) == received:
                return

    async def _request_page(self, missing: MissingTrades) -> bool:
        """Request and publish a page of trades; whether the venue answered."""
        request = self._venue.trades_request(missing, self._context.api_key)
        if request is None:
            return False
        try:
            body = await self._rest.get(request)
        except ConnectError as reason:
            _log.warning(
                "request for missing trades failed",
                venue=self._name,
                symbol=missing.symbol,
                reason=reason.message,
            )
            return False
        trades = self._venue.parse_trades(body, self._name, missing.symbol, time.time_ns())
        await self._pipeline.accept(trades)
        return True

    async def _request_snapshot(self, symbol: str) -> None:
        """Request the snapshot of a book; where it does not help, again after a pause that doubles."""
        attempts, retry_at = self._book_retries.get(symbol, (0, 0.0))
        request = self._venue.book_request(symbol)
        if request is None or time.monotonic() < retry_at:
            return
        try:
            message = self._venue.book_message(await self._rest.get(request), symbol)
            parsed = self._parser.feed([(time.time_ns(), message)], self._context.message_place)
            await self._pipeline.accept(parsed)
        except ConnectError as reason:
            _log.warning(
                "request for a book snapshot failed", venue=self._name, symbol=symbol, reason=reason.message
            )
        if self._books.book(symbol) is not None:
            self._book_retries.pop(symbol, None)
        else:
            pause_s = min(60.0, 0.5 * 2**attempts)
            self._book_retries[symbol] = attempts + 1, time.monotonic() + pause_s

    async def _record(self, kind: str, symbol: str, gap: Gap) -> None:
        """Write a gap's row as it is now; one at a time, because the last row written for a gap stands."""
        async with self._record_lock:
            await self._pipeline.publish(_gap_row(self._name, kind, symbol, gap))
            gap.recorded = True
        _log.info(
            "gap", venue=self._name, kind=kind, symbol=symbol, first=gap.first, last=gap.last,
            missing=gap.missing, closed=not gap.missing_ranges, reason=gap.reason,
        )  # fmt: skip


def _gap_row(venue: str, kind: str, symbol: str, gap: Gap) -> Batch:
    """A gap as a row of `gaps`."""
    missing = NULL_LONG if gap.missing is None else gap.missing
    return Batch(
        GAPS,
        venue,
        1,
        {
            "ts_event": np.array([gap.ts], np.int64),
            "ts_recv": np.array([gap.found_ns], np.int64),
            "symbol": Strings.of([symbol]),
            "seq": np.array([gap.first], np.int64),
            "kind": Strings.of([kind]),
            "ts_end": np.array([gap.ts_end], np.int64),
            "seq_last": np.array([gap.last], np.int64),
            "missing": np.array([missing], np.int64),
            "closed": np.array([not gap.missing_ranges], np.bool_),
            "reason": Strings.of([gap.reason]),
        },
    )
