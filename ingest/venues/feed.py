"""The feed of a live venue: connections, each row published once, gaps recorded and healed where possible.

The checkpoint holds the last id let through of each (kind, symbol), the open gaps before it, and whether the
connection was lost since. It moves after the broker's acknowledgements and after the rows in `gaps`; what a killed run
published after it is read back from the stream. Nothing in the stream tells of a lost connection: the checkpoint does,
before the rows after it are published.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence

import aiohttp

from ingest.publisher import Publisher
from ingest.venues.checkpoint import LiveCheckpoint
from ingest.venues.connections import MessageQueue, StreamConnection, group_streams
from ingest.venues.context import FeedContext, FeedResources
from ingest.venues.continuity import Continuity
from ingest.venues.healing import Healing
from ingest.venues.pipeline import RowPipeline
from ingest.venues.rest import RestClient
from ingest.venues.venue import Venue, VenueStream
from tapehouse.errors import UsageError
from tapehouse.settings import Settings, VenueSettings
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus, word
from tapehouse.stream.health import Health
from tapehouse.stream.lease import Lease

_GATHER_S = 0.01
_MESSAGES_MAX = 5_000
"""Messages parsed in one call."""
_MESSAGES_ENOUGH = 500
"""With so many messages queued, parsing does not wait for more."""
_QUEUE_MESSAGES = 20_000
_PENDING_S = 1.0
"""How long a parser may hold messages back."""
_SAVE_EVERY_S = 0.5
_REPORT_EVERY_S = 0.5
_LEASE_S = 120
"""Longer than NATS is away: what waits in memory would be lost with the process. A dead owner's is taken at once."""


class LiveFeed:
    """Feeds the symbols of one venue. `run` ends only when cancelled, or when another feed takes the venue over."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        health: Health,
        venue: Venue,
        name: str,
        symbols: Sequence[str],
        overrides: VenueSettings | None = None,
    ) -> None:
        """`name` is the venue of the rows; `overrides` the addresses where they are not the venue's usual ones.

        Raises UsageError without symbols, or without a kind that the venue offers.
        """
        kinds = [kind for kind in settings.feed.kinds if kind in venue.kinds]
        if not kinds or not symbols:
            raise UsageError(
                f"{name}: expected symbols, and kinds of {' '.join(sorted(venue.kinds))}, "
                f"was {' '.join(symbols) or 'none'} and {' '.join(settings.feed.kinds) or 'none'}"
            )
        streams = tuple(VenueStream(kind, symbol) for symbol in symbols for kind in kinds)
        overrides = overrides or VenueSettings(protocol=venue.name)
        self._context = FeedContext(venue, name, streams, settings.feed, overrides)
        self._bus = bus
        self._health = health
        self._run: _FeedRun | None = None

    @property
    def connections(self) -> int:
        """How many connections are open and subscribed."""
        return 0 if self._run is None else sum(connection.up for connection in self._run.connections)

    async def run(self) -> None:
        """Feed until cancelled. Raises ConnectError when the lease is lost."""
        state = await self._bus.shared_state()
        self._health.waiting("another feed of this venue is running")
        async with (
            Lease(state, f"feed.{word(self._context.name)}", _LEASE_S) as lease,
            lease.guard(),
            aiohttp.ClientSession(trust_env=True) as session,
            Publisher(self._bus) as publisher,
        ):
            shards = await sharding.current(state)
            resources = FeedResources(self._bus, state, shards, publisher, session, self._health)
            self._run = _FeedRun(self._context, resources)
            await self._run.run()


class _FeedRun:
    """One run of a feed, from the lease to its loss."""

    def __init__(self, context: FeedContext, resources: FeedResources) -> None:
        self._context = context
        self._health = resources.health
        self._publisher = resources.publisher
        self._parser = context.venue.parser(context.name, context.kinds)
        self._continuity = Continuity(context.venue.contiguous)
        self._pipeline = RowPipeline(context, resources, self._continuity)
        self._checkpoint = LiveCheckpoint(resources.bus, resources.state, context.name, resources.publisher)
        rest = RestClient(resources.session, context.rest_url, context.overrides.pace)
        self._healing = Healing(context, rest, self._pipeline, self._parser)
        self._queue = MessageQueue(_QUEUE_MESSAGES)
        self._saving = asyncio.Lock()
        """Held from a checkpoint's capture until it is saved, so that none replaces a later one."""
        self._disconnections: deque[tuple[int, Sequence[VenueStream], str]] = deque()
        """(messages received before it, the streams, the reason)."""
        self.connections = [
            StreamConnection(
                context,
                resources.session,
                streams,
                self._queue,
                on_disconnected=self._disconnected,
                on_connected=self._healing.catch_up,
            )
            for streams in group_streams(context.streams, context.venue.max_streams_per_connection)
        ]

    async def run(self) -> None:
        """Feed until cancelled."""
        await self._checkpoint.resume(self._continuity)
        # Rows sent while no feed ran may be missing. Stored, so that it is known even if this run is killed at once.
        for stream in self._context.streams:
            self._continuity.mark_disconnected(stream.kind, stream.symbol, "not running")
        await self._checkpoint.save_resumed(self._continuity)
        async with asyncio.TaskGroup() as tasks:
            for connection in self.connections:
                tasks.create_task(connection.run())
            tasks.create_task(self._consume())
            tasks.create_task(self._healing.run())
            tasks.create_task(self._save())
            tasks.create_task(self._report())

    def _disconnected(self, streams: Sequence[VenueStream], reason: str) -> None:
        """Messages received before the disconnection may still be queued: it takes effect after them."""
        self._disconnections.append((self._queue.received, streams, reason))

    async def _apply_disconnections(self) -> int:
        """Apply and save the disconnections that are next; returns how many messages come before another."""
        due = []
        while self._disconnections and self._disconnections[0][0] <= self._queue.taken:
            due.append(self._disconnections.popleft())
        if due:
            # What the parser still has was received before.
            await self._pipeline.accept(self._parser.finish())
            for _, streams, reason in due:
                for stream in streams:
                    self._continuity.mark_disconnected(stream.kind, stream.symbol, reason)
            await self._save_checkpoint(record_gaps=True)
        return self._disconnections[0][0] - self._queue.taken if self._disconnections else _MESSAGES_MAX

    async def _consume(self) -> None:
        """From the queue to the stream: 10 ms of messages at a time, or more while acknowledgements wait."""
        pending_since: float | None = None
        while True:
            if await self._queue.wait_for_message(_PENDING_S):
                if len(self._queue) < _MESSAGES_ENOUGH:
                    await asyncio.sleep(_GATHER_S)
                if len(self._queue) < _MESSAGES_MAX:
                    await self._publisher.until_few_pending()
                messages = self._queue.take(min(_MESSAGES_MAX, await self._apply_disconnections()))
                await self._pipeline.accept(self._parser.feed(messages, self._context.message_place))
            now = time.monotonic()
            pending_since = (pending_since or now) if self._parser.has_pending else None
            if pending_since and now - pending_since > _PENDING_S:
                await self._pipeline.accept(self._parser.finish())
            # Without this a queue that never empties would starve the other tasks.
            await asyncio.sleep(0)

    async def _report(self) -> None:
        """Report the feed's health."""
        while True:
            down = [connection for connection in self.connections if not connection.up]
            if self._publisher.full:
                self._health.waiting("the stream is full until the writers have caught up")
            elif down:
                self._health.waiting(f"{len(down)} of {len(self.connections)} connections: {down[0].detail}")
            else:
                self._health.ready()
            self._health.measured(self._pipeline.skew_ns, self._healing.open_gaps)
            await asyncio.sleep(_REPORT_EVERY_S)

    async def _save(self) -> None:
        """Move the checkpoint now and then."""
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            await self._save_checkpoint(record_gaps=False)

    async def _save_checkpoint(self, *, record_gaps: bool) -> None:
        """Move the checkpoint, never past a gap that is not in `gaps`: record those first, or leave it as it is."""
        async with self._saving:
            async with self._pipeline.lock:
                if record_gaps:
                    await self._healing.record_gaps()
                if self._healing.has_unrecorded_gaps:
                    return
                pending = self._checkpoint.capture(self._continuity)
            await self._checkpoint.save(pending)
