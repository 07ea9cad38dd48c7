"""One session of a shard's writer: from connecting to the next interruption.

For each group of messages, in this order: open the marks of its days; commit one transaction a table, and publish
rows of sealed days to the late stream instead; acknowledge; store the floor. The next group is read and its days
are marked while the one before it is committed. A session starts with the message after the floor, or earlier when
QuestDB may have lost commits; rows that are committed again replace themselves by their keys. After the number of
shards has changed, the rules of `tapehouse/stream/progress.py` apply.
"""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import structlog
from nats.errors import Error as NatsError

from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from ingest.writer import purging
from ingest.writer.group import MessageGroup
from ingest.writer.late import LateRowsPublisher
from ingest.writer.marks import DayKey, DayMarks
from ingest.writer.rejected_rows import RejectedRows
from ingest.writer.sealing import ShardSeal
from ingest.writer.store import QuestDBWriter
from ingest.writer.watch import QuestDBMonitor, QuestDBRestartedError
from tapehouse.errors import ConnectError
from tapehouse.model import Kind
from tapehouse.settings import Settings
from tapehouse.stream import progress, sharding
from tapehouse.stream.bus import TICKS, Bus, State
from tapehouse.stream.consumer import StreamConsumer
from tapehouse.stream.floor import Floor, FloorHistory, floor_key, may_lack_commits
from tapehouse.stream.health import Health

_PURGE_EVERY_S = 30
_HALF_FULL_CHECK_S = 1
_RECORD_EVERY_S = 0.05
_CLOSE_MARKS_EVERY_S = 0.5
_LAST_RECORD_TIMEOUT_S = 2
_EARLIER_SHARDS_POLL_S = 0.2
_log = structlog.get_logger()


class ShardFinishedError(Exception):
    """The shard is an earlier one, and all its messages are committed and would not be replayed."""


@dataclass(frozen=True)
class WriterParts:
    """Components shared by all sessions of one shard's writer."""

    settings: Settings
    bus: Bus
    state: State
    shard: int
    health: Health
    hot: QuestDBWriter
    commit_thread: ThreadPoolExecutor
    """Has one thread, the only one that uses `hot`."""
    watch: QuestDBMonitor
    consumer: StreamConsumer
    quarantine: Quarantine
    rejected: RejectedRows
    late: LateRowsPublisher
    sealing: ShardSeal


class WriterSession:
    """Created by `resume`; `run` ends with an error or when cancelled, and then stores the floor."""

    def __init__(self, parts: WriterParts, floor: Floor) -> None:
        self._parts = parts
        self._floor = floor
        self._recorded_seq = 0
        self._floor_moved = asyncio.Event()
        self._floor_history = FloorHistory(parts.settings.writer.replay_margin_s, floor.trail)
        self._marks = DayMarks(parts.state, parts.shard, floor.created_ns)
        self._replayable_earlier_shards: tuple[int, ...] = ()

    @classmethod
    async def resume(cls, parts: WriterParts) -> WriterSession:
        """Start a session at the stored floor, or earlier when QuestDB may lack commits up to it."""
        created_ns = sharding.created_ns(await parts.bus.js.stream_info(TICKS))
        floor = await progress.read_floor(parts.state, parts.shard, created_ns)
        start_ns = await parts.watch.start_ns()
        if may_lack_commits(floor, start_ns, await parts.state.get("hot")):
            _log.warning(
                "QuestDB restarted, replaying", shard=parts.shard, floor=floor.seq, from_seq=floor.trail
            )
            floor = replace(floor, seq=floor.trail)
        session = cls(parts, replace(floor, hot_start_ns=start_ns))
        # A commit of the previous session may still be running; no seal may be confirmed before it ends.
        await asyncio.get_running_loop().run_in_executor(parts.commit_thread, lambda: None)
        await parts.sealing.begin()
        parts.late.begin()
        await session._mark(set(floor.open_days), floor.seq)
        await session._read_sharding()
        # Writers that wait for this shard read from the floor which QuestDB it is valid for.
        await session._record_floor()
        return session

    async def run(self) -> None:
        """Write until interrupted. Raises ShardFinishedError in a group when an earlier shard is finished."""
        parts = self._parts
        await parts.consumer.start(self._floor.seq + 1)
        if not parts.watch.commit_failed:
            parts.health.ready()
        marked: asyncio.Queue[MessageGroup] = asyncio.Queue(1)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(marked))
                tasks.create_task(self._commit_groups(marked))
                tasks.create_task(self._record())
                tasks.create_task(self._purge())
                tasks.create_task(parts.sealing.run())
                tasks.create_task(parts.watch.run(self._floor.hot_start_ns))
        finally:
            await parts.consumer.stop()
            await self._record_last_floor()

    async def _record_last_floor(self) -> None:
        """Store the floor once more, so that the next session replays little."""
        if not self._parts.bus.connected:
            return
        try:
            async with asyncio.timeout(_LAST_RECORD_TIMEOUT_S):
                await self._record_floor()
                await self._marks.close_quiet(self._recorded_seq, 0)
        except (NatsError, TimeoutError) as reason:
            _log.warning("floor not stored", shard=self._parts.shard, reason=repr(reason))

    async def _read(self, marked: asyncio.Queue[MessageGroup]) -> None:
        settings, consumer = self._parts.settings.writer, self._parts.consumer
        taken_at = -math.inf
        while True:
            await consumer.gather(taken_at + settings.commit_ms / 1000)
            messages = await consumer.take(settings.commit_bytes)
            taken_at = asyncio.get_running_loop().time()
            group = MessageGroup.of(messages)
            await self._mark(group.days(), group.last.seq)
            await marked.put(group)

    async def _mark(self, days: set[DayKey], seq: int) -> None:
        # A day sealed after this has an open mark without a commit; the mark is closed when the day is quiet.
        sealed = self._parts.sealing.sealed(days)
        await self._marks.touch(days - sealed, seq)
        await self._marks.take_over(sealed, seq)

    async def _commit_groups(self, marked: asyncio.Queue[MessageGroup]) -> None:
        parts = self._parts
        group = await marked.get()
        await self._wait_for_earlier_shards()
        while True:
            for message, reason in group.unreadable:
                origin = Origin("batch", "unknown", message.subject, {"format": "batch"})
                where = f"{TICKS} message {message.seq}"
                await parts.quarantine.put(origin, [Rejected(message.data, reason, where)])
            async with parts.sealing.committing:
                for kind in group.by_kind:
                    await self._commit(kind, group)
            await parts.bus.client.publish(group.last.ack, b"+ACK")
            self._advance(group.last.seq)
            if parts.watch.commit_failed:
                parts.watch.commit_failed = False
                parts.health.ready()
            parts.health.wrote(group.rows, group.last.stored_ns, parts.quarantine.count)
            group = await marked.get()

    async def _wait_for_earlier_shards(self) -> None:
        """Wait until all messages of earlier shards are committed; health reports the wait."""
        parts = self._parts
        while True:
            unwritten = await progress.unwritten_earlier_shards(
                parts.bus,
                parts.state,
                await sharding.read(parts.state),
                parts.shard,
                self._floor.hot_start_ns,
            )
            if not unwritten:
                break
            numbers = ", ".join(map(str, unwritten))
            parts.health.waiting(
                f"number of shards changed: waiting for the writers of earlier shards {numbers}"
            )
            await asyncio.sleep(_EARLIER_SHARDS_POLL_S)
        parts.health.ready()

    async def _commit(self, kind: Kind, group: MessageGroup) -> None:
        parts = self._parts
        batches, late = parts.sealing.split(group.by_kind[kind])
        for index, rows in late:
            await parts.late.put(rows, self._floor.created_ns, group.seqs[kind][index])
        if not batches:
            return
        loop = asyncio.get_running_loop()
        try:
            rejected = await loop.run_in_executor(parts.commit_thread, parts.hot.commit, batches)
        except ConnectError as reason:
            parts.watch.commit_failed = True
            await parts.watch.wait_until_reachable(reason)
            raise QuestDBRestartedError(reason.message) from reason
        await parts.rejected.put(batches, rejected, group.seqs[kind][-1])

    def _advance(self, seq: int) -> None:
        """Move the floor to `seq`: all messages up to it are committed."""
        seq = max(seq, self._floor.seq)
        trail = self._floor_history.note(seq, time.monotonic())
        if self._replayable_earlier_shards:
            trail = self._floor.trail
        self._floor = replace(self._floor, seq=seq, trail=trail)
        self._floor_moved.set()

    async def _record(self) -> None:
        """Store the floor when it has moved, and close the marks of days that have become quiet."""
        while True:
            try:
                async with asyncio.timeout(_CLOSE_MARKS_EVERY_S):
                    await self._floor_moved.wait()
            except TimeoutError:
                pass
            else:
                await self._record_floor()
            await self._marks.close_quiet(self._recorded_seq)
            await asyncio.sleep(_RECORD_EVERY_S)

    async def _record_floor(self) -> None:
        self._floor_moved.clear()
        # All days committed up to now and not closed since have open marks.
        floor = replace(self._floor, open_days=tuple(self._marks.open_days))
        await self._parts.state.put(floor_key(self._parts.shard), floor.value())
        self._recorded_seq = floor.seq

    async def _purge(self) -> None:
        """Purge what every consumer has processed; more often while the stream is more than half full."""
        parts = self._parts
        while True:
            until = time.monotonic() + _PURGE_EVERY_S
            while (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(left, _HALF_FULL_CHECK_S))
                if await purging.is_half_full(parts.bus):
                    break
            known = await self._read_sharding()
            end = await progress.last_seq(parts.bus)
            last = await progress.last_seq_of(parts.bus, sharding.subjects(parts.shard))
            if last <= self._floor.seq:
                # The shard has no later message, so its floor can move to the end of the stream.
                self._advance(end)
                await self._record_floor()
            kept_for = await purging.purge_processed(parts.bus, parts.state, known)
            if kept_for and await purging.is_half_full(parts.bus):
                _log.warning("the stream is more than half full, kept for one consumer", consumer=kept_for)
            if parts.shard not in known.present.numbers and last <= self._floor.trail:
                raise ShardFinishedError

    async def _read_sharding(self) -> sharding.Sharding:
        """Read the sharding, and update which earlier shards may still be replayed."""
        parts = self._parts
        known = await sharding.read(parts.state)
        self._replayable_earlier_shards = await progress.replayable_shards(
            parts.bus, parts.state, known, known.earlier_than(parts.shard)
        )
        return known
