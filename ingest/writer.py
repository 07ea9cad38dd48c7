"""The writer of a shard: from the stream into QuestDB, nothing lost, nothing doubled.

For each group of messages, in this order: open the marks of the days it touches; commit one transaction a
table, rows of sealed days to the late stream instead; acknowledge; record the floor. The group after it is read
and marked while the one before is committed. On every connect the consumer is reset to the message after the
floor, or further back when QuestDB may have lost commits. What is sent twice falls on the same keys. Where the
number of shards was changed, the rules of `ingest/elders.py` hold.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog
from nats.errors import Error as NatsError

from ingest import elders, purging
from ingest.group import Group
from ingest.hotstore import HotStore
from ingest.hotwatch import RETRY_S, HotStoreRestartedError, HotWatch
from ingest.late import Late
from ingest.marks import Day, Marks
from ingest.pull import Pull
from ingest.quarantine import Origin, Quarantine
from ingest.refused import Refused
from ingest.rejected import Rejected
from ingest.sealing import Sealing
from ingest.streams import writer_name
from tapehouse import sharding
from tapehouse.bus import TICKS, Bus, State
from tapehouse.errors import ConnectError
from tapehouse.floor import Floor, Trail, floor_key, unclean
from tapehouse.health import Health
from tapehouse.lease import Lease
from tapehouse.model import Kind
from tapehouse.settings import Settings

_PURGE_EVERY_S = 30
_PRESSED_S = 1
_RECORD_EVERY_S = 0.05
_CLOSE_EVERY_S = 0.5
_SETTLE_S = 2
_ELDERS_EVERY_S = 0.2
_log = structlog.get_logger()


class _RetiredError(Exception):
    """Nothing of an earlier shard is unwritten, nor would be replayed."""


class Writer:
    """The writer of one shard. `run` ends when cancelled, when the lease is lost, or when the shard is an
    earlier one and done with."""

    def __init__(self, settings: Settings, bus: Bus, shard: int, health: Health) -> None:
        self._settings = settings
        self._bus = bus
        self._shard = shard
        self._health = health
        self._hot = HotStore(settings.questdb)
        self._watch = HotWatch(settings.questdb, shard, health)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"writer-{shard}")
        self._pull = Pull(bus, TICKS, writer_name(shard))
        self._quarantine = Quarantine(bus)
        self._refused = Refused(bus, shard, self._quarantine)
        self._late = Late(bus, shard, health)
        self._floor = Floor(0, 0, 0, 0)
        self._recorded = 0
        self._floor_moved = asyncio.Event()
        self._trail = Trail(settings.writer.replay_margin_s, 0)
        self._elders: list[int] = []
        """Earlier shards that may still be replayed."""

    async def run(self) -> None:
        """Write until cancelled; every interruption is logged and begun again from the floor."""
        state = await self._bus.state()
        async with Lease(state, f"writer.{self._shard}", self._settings.writer.lease_s) as lease:
            writing = asyncio.create_task(self._write(state))
            losing = asyncio.create_task(lease.lost.wait())
            try:
                await asyncio.wait((writing, losing), return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    writing.result()
                    return
                raise ConnectError(
                    f"writer {self._shard}: the lease was lost",
                    remedy="NATS was away for the length of the lease, or another writer has the shard.",
                )
            finally:
                for task in (writing, losing):
                    task.cancel()
                await asyncio.gather(writing, losing, return_exceptions=True)
                # What is on its way to QuestDB lands before another writer goes on: it would be older rows
                # over newer ones.
                await asyncio.to_thread(self._thread.shutdown)
                self._hot.close()

    async def _write(self, state: State) -> None:
        self._sealing = Sealing(state, self._shard)
        failures = 0
        while True:
            retired = False
            try:
                await self._session(state)
            except* _RetiredError:
                retired = True
            except* (ConnectError, NatsError, OSError, TimeoutError) as interruptions:
                reason = "; ".join(str(error) or repr(error) for error in interruptions.exceptions)
            if retired:
                _log.info("nothing is left of an earlier shard", shard=self._shard)
                return
            failures += 1
            _log.warning("writing interrupted", shard=self._shard, reason=reason)
            self._health.waiting(reason.splitlines()[0])
            await self._bus.until_connected()
            # Back off for as long as sessions end without a commit.
            if self._health.moved():
                failures = 0
            await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])

    async def _session(self, state: State) -> None:
        await self._resume(state)
        await self._pull.start(self._floor.seq + 1)
        if not self._watch.commit_failed:
            self._health.ready()
        marked: asyncio.Queue[Group] = asyncio.Queue(1)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(marked))
                tasks.create_task(self._commit_all(state, marked))
                tasks.create_task(self._record(state))
                tasks.create_task(self._purge(state))
                tasks.create_task(self._sealing.run())
                tasks.create_task(self._watch.run(self._floor.hot_start_ns))
        finally:
            await self._pull.stop()
            await self._settle(state)

    async def _settle(self, state: State) -> None:
        """At the end of a session: record what is committed, so that little is done again."""
        if not self._bus.connected:
            return
        try:
            async with asyncio.timeout(_SETTLE_S):
                await self._record_floor(state)
                await self._marks.close_quiet(self._recorded, 0)
        except (NatsError, TimeoutError) as reason:
            _log.warning("floor not recorded", shard=self._shard, reason=repr(reason))

    async def _resume(self, state: State) -> None:
        """Read the floor, and set it back when QuestDB may lack what it counts."""
        created_ns = sharding.created_ns(await self._bus.js.stream_info(TICKS))
        floor = Floor.read(await state.get(floor_key(self._shard)), created_ns)
        start_ns = await self._watch.start_ns()
        if unclean(floor, start_ns, await state.get("hot")):
            _log.warning(
                "questdb was started anew, replaying", shard=self._shard, seq=floor.seq, to=floor.trail
            )
            floor = replace(floor, seq=floor.trail)
        self._floor = replace(floor, hot_start_ns=start_ns)
        self._trail = Trail(self._settings.writer.replay_margin_s, floor.trail)
        self._marks = Marks(state, self._shard, floor.created_ns)
        # A commit of the session before goes on though nobody waits for it: no seal is confirmed beside it.
        await asyncio.get_running_loop().run_in_executor(self._thread, lambda: None)
        await self._sealing.begin()
        self._late.begin()
        await self._mark(set(floor.open_days), floor.seq)
        await self._look_at_elders(state)
        # Those who wait for this shard learn which QuestDB its floor counts for.
        await self._record_floor(state)

    async def _read(self, marked: asyncio.Queue[Group]) -> None:
        while True:
            group = Group.of(await self._pull.take(self._settings.writer.commit_bytes))
            await self._mark(group.days(), group.last.seq)
            await marked.put(group)

    async def _mark(self, days: set[Day], seq: int) -> None:
        # A day that is sealed only after this has an open mark and no commit behind it: it is closed when quiet.
        sealed = self._sealing.sealed(days)
        await self._marks.touch(days - sealed, seq)
        await self._marks.take_over(sealed, seq)

    async def _commit_all(self, state: State, marked: asyncio.Queue[Group]) -> None:
        elders_wrote = False
        while True:
            group = await marked.get()
            if not elders_wrote:
                await self._until_elders_wrote(state)
                elders_wrote = True
            for message, reason in group.unreadable:
                origin = Origin("batch", "unknown", message.subject, {"format": "batch"})
                where = f"{TICKS} message {message.seq}"
                await self._quarantine.put(origin, [Rejected(message.data, reason, where)])
            async with self._sealing.committing:
                for kind in group.by_kind:
                    await self._commit(kind, group)
            await self._bus.client.publish(group.last.ack, b"+ACK")
            self._advance(group.last.seq)
            if self._watch.commit_failed:
                self._watch.commit_failed = False
                self._health.ready()
            self._health.wrote(group.rows, group.last.stored_ns, self._quarantine.count)

    def _advance(self, seq: int) -> None:
        """Everything up to `seq` is committed."""
        seq = max(seq, self._floor.seq)
        trail = self._trail.note(seq, time.monotonic())
        self._floor = replace(self._floor, seq=seq, trail=self._floor.trail if self._elders else trail)
        self._floor_moved.set()

    async def _look_at_elders(self, state: State) -> None:
        """Learn of changes of the shards, and which earlier shards may still be replayed."""
        self._sharding = await sharding.read(state)
        self._elders = [
            elder
            for elder in self._sharding.elders(self._shard)
            if not await sharding.done_with(self._bus, state, self._sharding, elder)
        ]

    async def _until_elders_wrote(self, state: State) -> None:
        """Wait until all that earlier shards hold is committed, saying so."""
        while True:
            known = await sharding.read(state)
            behind = await elders.behind(self._bus, state, known, self._shard, self._floor.hot_start_ns)
            if not behind:
                break
            numbers = ", ".join(map(str, behind))
            self._health.waiting(f"the number of shards was changed: what shard {numbers} holds comes first")
            await asyncio.sleep(_ELDERS_EVERY_S)
        self._health.ready()

    async def _commit(self, kind: Kind, group: Group) -> None:
        batches, late = self._sealing.split(group.by_kind[kind])
        for place, rows in late:
            await self._late.put(rows, self._floor.created_ns, group.seqs[kind][place])
        if not batches:
            return
        loop = asyncio.get_running_loop()
        try:
            refused = await loop.run_in_executor(self._thread, self._hot.commit, batches)
        except ConnectError as reason:
            self._watch.commit_failed = True
            await self._watch.until_it_answers(reason)
            raise HotStoreRestartedError(reason.message) from reason
        await self._refused.put(batches, refused, group.seqs[kind][-1])

    async def _record(self, state: State) -> None:
        """Record the floor when it has moved, and close the marks of days that have become quiet."""
        while True:
            try:
                async with asyncio.timeout(_CLOSE_EVERY_S):
                    await self._floor_moved.wait()
            except TimeoutError:
                pass
            else:
                await self._record_floor(state)
            await self._marks.close_quiet(self._recorded)
            await asyncio.sleep(_RECORD_EVERY_S)

    async def _record_floor(self, state: State) -> None:
        self._floor_moved.clear()
        # The marks open now are at least those of what is committed now.
        floor = replace(self._floor, open_days=tuple(self._marks.open_days))
        await state.put(floor_key(self._shard), floor.value())
        self._recorded = floor.seq

    async def _purge(self, state: State) -> None:
        """Free the stream below what everyone has done with, the sooner the fuller it is."""
        while True:
            until = time.monotonic() + _PURGE_EVERY_S
            while (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(left, _PRESSED_S))
                if await purging.half_full(self._bus):
                    break
            await self._look_at_elders(state)
            end = await purging.end(self._bus)
            last = await sharding.last_of(self._bus, sharding.subjects(self._shard))
            if last <= self._floor.seq:
                # Up to there all is committed, for there is nothing more of this shard.
                self._advance(end)
                await self._record_floor(state)
            await purging.purge(self._bus, state, self._sharding)
            if self._shard not in self._sharding.present.numbers and last <= self._floor.trail:
                raise _RetiredError
