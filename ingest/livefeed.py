"""The feed of a live venue: its sockets, every row once, what is missing known and healed where it can be.

The checkpoint holds the last id let through of each (kind, symbol) and the holes before it. It moves behind the
broker's acknowledgements and behind the rows in `gaps`; what a killed run published after it is read back from
the stream.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from statistics import median

import aiohttp
import numpy as np
import structlog

from ingest.books import Books
from ingest.feeds.parsed import Parsed
from ingest.feeds.rest import Rest
from ingest.feeds.sockets import Inbox, Line, Times, spread
from ingest.feeds.venue import Stream, Venue
from ingest.healing import Healing
from ingest.intake import ROW_READER, Intake, row_json
from ingest.livecheckpoint import LiveCheckpoint
from ingest.numbering import BY_TIME, Numberings, by_time
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from ingest.tracks import Tracks
from tapehouse import sharding
from tapehouse.batch import Batch
from tapehouse.bus import Bus, word
from tapehouse.clock import SECOND, now_ns
from tapehouse.errors import ConnectError, UsageError
from tapehouse.health import Health
from tapehouse.lease import Lease
from tapehouse.model import DEPTH, GAPS, Flags
from tapehouse.settings import Settings, VenueAt

_TOGETHER_S = 0.01
_MESSAGES = 5_000
_MANY = 500
"""So many messages are not kept waiting for more."""
_INBOX = 20_000
_HELD_S = 1.0
_SAVE_EVERY_S = 0.5
_SAY_EVERY_S = 0.5
_LEASE_S = 120
"""Longer than NATS is away: what waits in memory would be lost with the process. A dead owner's is taken at once."""
_log = structlog.get_logger()


class LiveFeed:
    """One venue's symbols. `run` ends only when cancelled, or when another has the venue."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        health: Health,
        venue: Venue,
        name: str,
        symbols: Sequence[str],
        at: VenueAt | None = None,
    ) -> None:
        """`name` is the rows' venue; `at` tells where the venue is, when not at its usual addresses."""
        self._settings = settings
        self._bus = bus
        self._health = health
        self._venue = venue
        self._name = name
        self._at = at or VenueAt(protocol=venue.name)
        kinds = [kind for kind in settings.feed.kinds if kind in venue.kinds]
        if not kinds or not symbols:
            raise UsageError(
                f"{name}: expected symbols, and kinds of {' '.join(sorted(venue.kinds))}, "
                f"was {' '.join(symbols) or 'none'} and {' '.join(settings.feed.kinds) or 'none'}"
            )
        self._streams = [Stream(kind, symbol) for symbol in symbols for kind in kinds]
        self._parser = venue.parser(name, kinds)
        self._tracks = Tracks(venue.contiguous)
        self._books = Books(settings.feed.snapshot_every_s * SECOND)
        self._inbox = Inbox(_INBOX)
        self._quarantine = Quarantine(bus)
        self._numberings: dict[str, Numberings] = {}
        self._skews: deque[int] = deque(maxlen=101)
        self._taking = asyncio.Lock()
        self._losses: deque[tuple[int, Sequence[Stream], str]] = deque()
        self._reader = venue.reader(kinds)
        self._lines: list[Line] = []

    @property
    def connections(self) -> int:
        """How many stand now."""
        return sum(line.up for line in self._lines)

    async def run(self) -> None:
        """Feed until cancelled."""
        self._state = await self._bus.state()
        self._health.waiting("until no other feed has the venue")
        async with (
            Lease(self._state, f"feed.{word(self._name)}", _LEASE_S) as lease,
            aiohttp.ClientSession(trust_env=True) as session,
            Publisher(self._bus) as self._publisher,
        ):
            shards = await sharding.current(self._state)
            self._intake = Intake(self._publisher, self._quarantine, shards)
            self._checkpoint = LiveCheckpoint(self._bus, self._state, self._name, self._publisher)
            await self._checkpoint.resume(self._tracks)
            # What came while no feed ran is not known.
            self._lost(self._streams, "not running")
            rest = Rest(session, self._at.rest or self._venue.rest, self._at.pace)
            self._healing = Healing(
                self._venue, self._name, rest, self._settings.feed, self._tracks, self._books,
                self._take, self._take_message, self._publish, self._parser.told,
                self._at.key.get_secret_value(),
            )  # fmt: skip
            times = Times(self._settings.feed.silence_s, self._settings.feed.overlap_s, self._at.pace)
            self._lines = [
                Line(
                    session, self._venue, self._at.socket or self._venue.socket, streams,
                    self._inbox, times, self._lost, self._healing.found,
                )
                for streams in spread(self._streams, self._venue.streams_at_most)
            ]  # fmt: skip
            async with asyncio.TaskGroup() as tasks:
                for line in self._lines:
                    tasks.create_task(line.run())
                tasks.create_task(self._consume())
                tasks.create_task(self._healing.run())
                tasks.create_task(self._save())
                tasks.create_task(self._say())
                tasks.create_task(self._leave(lease))

    async def _leave(self, lease: Lease) -> None:
        await lease.lost.wait()
        raise ConnectError(
            f"{self._name}: the lease was lost",
            remedy="NATS was away for the length of the lease, or another feed has the venue.",
        )

    def _lost(self, streams: Sequence[Stream], reason: str) -> None:
        """What a connection brought before it was lost may wait in the inbox: the loss comes behind it."""
        self._losses.append((self._inbox.received, streams, reason))

    def _note_losses(self) -> int:
        """Tell the tracks of the losses that are next; returns how many messages come before another."""
        while self._losses and self._losses[0][0] <= self._inbox.taken:
            _, streams, reason = self._losses.popleft()
            for stream in streams:
                self._tracks.broken(stream.kind, stream.symbol, reason)
        return self._losses[0][0] - self._inbox.taken if self._losses else _MESSAGES

    async def _consume(self) -> None:
        """From the inbox to the stream, 10 ms of messages at a time."""
        held_since: float | None = None
        while True:
            if await self._inbox.filled(_HELD_S):
                if len(self._inbox) < _MANY:
                    await asyncio.sleep(_TOGETHER_S)
                messages = self._inbox.take(min(_MESSAGES, self._note_losses()))
                await self._take(self._parser.feed(messages, self._where))
            now = time.monotonic()
            held_since = (held_since or now) if self._parser.holding else None
            if held_since and now - held_since > _HELD_S:
                await self._take(self._parser.finish())
            # Where there is always more, others have their turn here.
            await asyncio.sleep(0)

    def _where(self, place: int) -> str:
        return f"{self._name} socket"

    async def _take_message(self, message: bytes) -> None:
        await self._take(self._parser.feed([(time.time_ns(), message)], self._where))

    async def _take(self, parsed: Parsed) -> None:
        """Let through what was not seen before."""
        async with self._taking:
            for batch in parsed.batches:
                await self._take_batch(batch)
            if parsed.rejected:
                origin = Origin("messages", self._name, self._venue.name, self._reader)
                await self._quarantine.put(origin, parsed.rejected)

    async def _take_batch(self, batch: Batch) -> None:
        sifted = self._tracks.sift(self._numbered(batch), now_ns())
        if sifted.back.rows:
            await self._refuse(sifted.back)
        fresh = sifted.fresh
        if not fresh.rows:
            return
        await self._hold_numbering(fresh)
        await self._publish(fresh)
        self._measure(fresh)
        if fresh.kind is DEPTH:
            snapshots = self._books.take(fresh, time.monotonic())
            if snapshots is not None:
                await self._publish(snapshots)

    def _numbered(self, batch: Batch) -> Batch:
        """Rows without ids get theirs from time."""
        if self._venue.numbering[batch.kind.name] != BY_TIME:
            return batch
        return by_time(batch, self._tracks.sequences(batch.kind.name))

    async def _hold_numbering(self, batch: Batch) -> None:
        kind = batch.kind.name
        if kind not in self._numberings:
            numbering = self._venue.numbering[kind]
            self._numberings[kind] = Numberings(self._state, batch.kind, self._name, numbering)
        await self._numberings[kind].hold(batch.strings("symbol").compact().values)

    async def _publish(self, batch: Batch) -> None:
        await self._intake.put(batch, Origin(batch.kind.name, self._name, self._venue.name, ROW_READER))
        if batch.kind is not GAPS:
            self._health.wrote(batch.rows, int(batch.array("ts_recv")[-1]), self._quarantine.count)

    async def _refuse(self, batch: Batch) -> None:
        reason = "seq: expected ids that rise with the time, was below one seen a minute or more before"
        rows = [Rejected(row_json(batch, row), reason, self._venue.name) for row in range(batch.rows)]
        await self._quarantine.put(Origin(batch.kind.name, self._name, self._venue.name, ROW_READER), rows)

    def _measure(self, batch: Batch) -> None:
        """Note how far the receive clock is from the venue's, by rows that the venue dated."""
        dated = batch.array("flags") & Flags.ESTIMATED_TIME == 0
        if dated.any():
            late = batch.array("ts_recv")[dated] - batch.array("ts_event")[dated]
            self._skews.append(int(np.median(late)))

    async def _say(self) -> None:
        """Tell how the feed is."""
        while True:
            down = [line for line in self._lines if not line.up]
            if self._publisher.full:
                self._health.waiting("the stream is full: the writers are behind")
            elif down:
                self._health.waiting(f"{len(down)} of {len(self._lines)} connections: {down[0].detail}")
            else:
                self._health.ready()
            self._health.measured(int(median(self._skews)) if self._skews else None, self._healing.open)
            await asyncio.sleep(_SAY_EVERY_S)

    async def _save(self) -> None:
        """Move the checkpoint now and then, never past a hole that is not in `gaps`."""
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            async with self._taking:
                taken = None if self._healing.undeclared else self._checkpoint.taken(self._tracks)
            if taken is not None:
                await self._checkpoint.save(taken)
