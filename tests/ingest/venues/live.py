"""A live feed before a replayed venue, on a real broker: what it publishes is read back from the stream."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ingest.quarantine import Quarantine
from ingest.replay.emulator import RecordedMessage, VenueEmulator
from ingest.replay.faults import FaultPlan
from ingest.replay.formatting import batch_rows
from ingest.replay.server import Market, ReplayServer
from ingest.venues.feed import LiveFeed
from ingest.venues.registry import VENUES
from ingest.venues.venue import Venue
from tapehouse.batch import Batch
from tapehouse.settings import Settings, VenueSettings
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.health import Health
from tapehouse.stream.quarantine_pages import QuarantineEntry
from tapehouse.stream.wire import unpack
from tests.waiting import until

NAME = "rehearsal"


def market(
    emulator: VenueEmulator,
    recording: Iterable[RecordedMessage],
    faults: dict[str, int] | None = None,
    seed: int = 1,
    speed: float | None = None,
) -> Market:
    """A recording on its way to be played."""
    items = list(recording)
    streams = frozenset(item.stream for item in items)
    return Market(emulator, streams, items, speed, FaultPlan(faults or {}, len(items), seed))


@dataclass
class Live:
    """A feed under test, its venue and its broker."""

    settings: Settings
    market: Market
    port: int
    symbols: Sequence[str]
    venue: Venue
    task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def feeding(self) -> AsyncIterator[LiveFeed]:
        """The feed runs inside the context, and is then cut off as if it were killed."""
        name = self.market.emulator.name
        base = f"127.0.0.1:{self.port}/{name}"
        at = VenueSettings(protocol=name, socket=f"ws://{base}", rest=f"http://{base}", pace=0)
        bus = await Bus.connect(self.settings, "feed")
        feed = LiveFeed(self.settings, bus, Health("feed", NAME), self.venue, NAME, self.symbols, at)
        self.task = task = asyncio.create_task(feed.run())
        try:
            yield feed
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await bus.close()

    async def until(self, true: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Wait for something, as long as the feed runs."""

        async def true_of_a_feed_that_runs() -> bool:
            if self.task is not None and self.task.done():
                self.task.result()
            answer = true()
            return answer if isinstance(answer, bool) else await answer

        await until(true_of_a_feed_that_runs, what)

    async def seen(self, kind: str, keys: set[tuple[Any, ...]]) -> bool:
        """Whether all these rows of a kind are in the stream, by symbol and seq."""
        return keys <= {(row["symbol"], row["seq"]) for row in (await self.rows())[kind]}

    async def batches(self) -> list[Batch]:
        """All batches in the stream, in its order."""
        bus = await Bus.connect(self.settings, "admin")
        try:
            last = (await bus.js.stream_info(TICKS)).state.last_seq
            messages = [await bus.js.get_msg(TICKS, seq, direct=True) for seq in range(1, last + 1)]
            return [unpack(message.data or b"") for message in messages]
        finally:
            await bus.close()

    async def rows(self) -> dict[str, list[dict[str, Any]]]:
        """All rows in the stream by kind, in its order."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for batch in await self.batches():
            found[batch.kind.name] += batch_rows(batch)
        return found

    async def quarantined(self) -> list[QuarantineEntry]:
        """All that was refused."""
        bus = await Bus.connect(self.settings, "admin")
        try:
            return [entry async for entry in Quarantine(bus).entries()]
        finally:
            await bus.close()


@asynccontextmanager
async def live(
    settings: Settings, market: Market, symbols: Sequence[str], venue: Venue | None = None
) -> AsyncIterator[Live]:
    """The venue, for as long as the context lasts; the feed is started inside."""
    async with ReplayServer([market]).serving("127.0.0.1", 0) as port:
        yield Live(settings, market, port, symbols, venue or VENUES[market.emulator.name])
