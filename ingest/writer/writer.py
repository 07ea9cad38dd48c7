"""The writer of one shard: commits every message of the stream to QuestDB, without loss or duplicates.

A lease prevents a second writer of the shard. `ingest/writer/session.py` does the work, one session a connection.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import structlog
from nats.errors import Error as NatsError

from ingest.quarantine import Quarantine
from ingest.writer.late import LateRowsPublisher
from ingest.writer.rejected_rows import RejectedRows
from ingest.writer.sealing import ShardSeal
from ingest.writer.session import ShardFinishedError, WriterParts, WriterSession
from ingest.writer.store import QuestDBWriter
from ingest.writer.watch import RETRY_S, QuestDBMonitor
from tapehouse.errors import ConnectError
from tapehouse.settings import Settings
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.consumer import StreamConsumer
from tapehouse.stream.health import Health
from tapehouse.stream.lease import Lease
from tapehouse.stream.session import run_sessions
from tapehouse.stream.topology import writer_name

_log = structlog.get_logger()


class Writer:
    """Runs the sessions of one shard's writer under the shard's lease."""

    def __init__(self, settings: Settings, bus: Bus, shard: int, health: Health) -> None:
        self._settings = settings
        self._bus = bus
        self._shard = shard
        self._health = health

    async def run(self) -> None:
        """Write until cancelled; after an interruption, resume from the floor.

        Returns when the shard is an earlier one of which nothing would be replayed. Raises ConnectError when the
        lease is lost.
        """
        parts = await self._parts()
        async with Lease(parts.state, f"writer.{self._shard}", self._settings.writer.lease_s) as lease:
            try:
                async with lease.guard():
                    await self._write(parts)
            finally:
                # Commits in progress must end before another writer starts: their rows would replace newer ones.
                await asyncio.to_thread(parts.commit_thread.shutdown)
                parts.hot.close()

    async def _parts(self) -> WriterParts:
        settings, bus, shard, health = self._settings, self._bus, self._shard, self._health
        state = await bus.shared_state()
        quarantine = Quarantine(bus)
        return WriterParts(
            settings,
            bus,
            state,
            shard,
            health,
            hot=QuestDBWriter(settings.questdb),
            commit_thread=ThreadPoolExecutor(1, thread_name_prefix=f"writer-{shard}"),
            watch=QuestDBMonitor(settings.questdb, shard, health),
            consumer=StreamConsumer(bus, TICKS, writer_name(shard)),
            quarantine=quarantine,
            rejected=RejectedRows(bus, shard, quarantine),
            late=LateRowsPublisher(bus, shard, health),
            sealing=ShardSeal(state, shard),
        )

    async def _write(self, parts: WriterParts) -> None:
        async def session() -> None:
            await (await WriterSession.resume(parts)).run()

        try:
            await run_sessions(
                session,
                self._bus,
                self._health,
                retried=(ConnectError, NatsError, OSError, TimeoutError),
                final=(ShardFinishedError,),
                pauses_s=RETRY_S,
            )
        except ShardFinishedError:
            _log.info("earlier shard finished", shard=self._shard)
