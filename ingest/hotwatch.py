"""Whether QuestDB answers, and is the one that was written to."""

from __future__ import annotations

import asyncio

import structlog

from ingest.suspended import resume_suspended
from tapehouse.errors import ConnectError
from tapehouse.health import Health
from tapehouse.questdb import QuestReader
from tapehouse.settings import QuestDB

RETRY_S = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between tries; the last one goes on."""
_WATCH_EVERY_S = 2
_ANSWER_S = 10
_log = structlog.get_logger()


class HotStoreRestartedError(ConnectError):
    """QuestDB was started anew: look where to go on from."""


class HotWatch:
    """QuestDB as the writer of one shard sees it from beside its commits."""

    def __init__(self, settings: QuestDB, shard: int, health: Health) -> None:
        self._settings = settings
        self._shard = shard
        self._health = health
        self.commit_failed = False
        """What could not be committed is still to be: only that shows that QuestDB takes rows again."""

    async def start_ns(self) -> int:
        """When QuestDB was started; ConnectError or TimeoutError when it does not answer."""

        def ask() -> int:
            # Opened and closed in the thread: it goes on when this task is cancelled.
            with QuestReader(self._settings) as reader:
                return reader.started_ns()

        async with asyncio.timeout(_ANSWER_S):
            return await asyncio.to_thread(ask)

    async def until_it_answers(self, reason: ConnectError) -> None:
        """Wait until QuestDB answers again, saying so."""
        waits = 0
        self._health.waiting(reason.message)
        _log.warning("questdb does not answer, waiting", reason=reason.message)
        while True:
            try:
                await self.start_ns()
            except (ConnectError, TimeoutError):
                waits += 1
                await asyncio.sleep(RETRY_S[min(waits, len(RETRY_S) - 1)])
            else:
                return

    async def run(self, written_ns: int) -> None:
        """Resume tables that QuestDB has suspended, for as long as it is the one started at `written_ns`.

        Raises HotStoreRestartedError when it was started anew: its client finds it back and says nothing.
        """
        suspended = ""
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            try:
                start_ns = await self.start_ns()
                before, suspended = suspended, await asyncio.to_thread(resume_suspended, self._settings)
            except (ConnectError, TimeoutError) as reason:
                _log.warning(
                    "questdb cannot be watched", shard=self._shard, reason=str(reason) or "no answer"
                )
                continue
            if start_ns != written_ns:
                raise HotStoreRestartedError("questdb was started anew")
            if suspended:
                self._health.waiting(
                    f"questdb had suspended {suspended}; they are resumed until they stay so"
                )
                _log.warning("questdb suspended tables, resumed", tables=suspended)
            elif before and not self.commit_failed:
                self._health.ready()
