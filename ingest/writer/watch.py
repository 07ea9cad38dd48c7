"""Monitoring of QuestDB: whether it answers, has restarted, or has suspended tables."""

from __future__ import annotations

import asyncio

import structlog

from ingest.writer.suspended import resume_suspended_tables
from tapehouse.errors import ConnectError
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream.health import Health

RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between attempts; the last one repeats."""
_POLL_S = 2
_RESPONSE_TIMEOUT_S = 10
_log = structlog.get_logger()


class QuestDBRestartedError(ConnectError):
    """QuestDB has restarted: the next session determines where to resume."""


class QuestDBMonitor:
    """Monitors QuestDB for the writer of one shard, independently of its commits."""

    def __init__(self, settings: QuestDB, shard: int, health: Health) -> None:
        self._settings = settings
        self._shard = shard
        self._health = health
        self.commit_failed = False
        """Whether the last commit failed; reset by the next one that succeeds, and until then health is not ready."""

    async def start_ns(self) -> int:
        """When QuestDB was started, ns UTC. Raises ConnectError or TimeoutError when it does not answer."""

        def read() -> int:
            # Opened and closed in the thread, which continues if this task is cancelled.
            with QuestReader(self._settings) as reader:
                return reader.started_ns()

        async with asyncio.timeout(_RESPONSE_TIMEOUT_S):
            return await asyncio.to_thread(read)

    async def wait_until_reachable(self, reason: ConnectError) -> None:
        """Wait until QuestDB answers again; health reports `reason` meanwhile."""
        waits = 0
        self._health.waiting(reason.message)
        _log.warning("QuestDB does not answer, waiting", reason=reason.message)
        while True:
            try:
                await self.start_ns()
            except (ConnectError, TimeoutError):
                waits += 1
                await asyncio.sleep(RETRY_S[min(waits, len(RETRY_S) - 1)])
            else:
                return

    async def run(self, expected_start_ns: int) -> None:
        """Resume suspended tables, while QuestDB is the instance started at `expected_start_ns`.

        Raises QuestDBRestartedError when it has restarted, which its client hides by reconnecting.
        """
        suspended = ""
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                start_ns = await self.start_ns()
                before, suspended = (
                    suspended,
                    await asyncio.to_thread(resume_suspended_tables, self._settings),
                )
            except (ConnectError, TimeoutError) as reason:
                _log.warning(
                    "QuestDB state not read, retrying", shard=self._shard, reason=str(reason) or "no answer"
                )
                continue
            if start_ns != expected_start_ns:
                raise QuestDBRestartedError("QuestDB restarted")
            if suspended:
                self._health.waiting(f"QuestDB suspended {suspended}; resuming until they stay resumed")
                _log.warning("QuestDB had suspended tables, resumed them", tables=suspended)
            elif before and not self.commit_failed:
                self._health.ready()
