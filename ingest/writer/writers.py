"""The writers of one process: one for each shard assigned to it, also after the number of shards has changed."""

from __future__ import annotations

import asyncio

import structlog
from nats.errors import Error as NatsError

from ingest.writer.refresher import BarViewsRefresher
from ingest.writer.writer import Writer
from tapehouse.errors import UsageError
from tapehouse.settings import Settings
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health
from tapehouse.stream.sharding import Sharding

_POLL_S = 1.0
_log = structlog.get_logger()


class Writers:
    """All writers of a process. `run` ends only when cancelled or when a writer fails."""

    def __init__(self, settings: Settings, place: int | None = None) -> None:
        """`place` is the index of this process, one process for each shard; None when this is the only process."""
        self._settings = settings
        self._place = place
        self._started: set[int] = set()

    async def run(self) -> None:
        """Write every shard of this process, including shards added while it runs.

        Raises UsageError when `place` is not below the number of shards.
        """
        async with Bus.opened(self._settings, "writer") as bus:
            state = await bus.shared_state()
            known = await sharding.read(state)
            if self._place is not None and self._place >= known.present.count:
                raise UsageError(f"writer: expected a number below {known.present.count}, was {self._place}")
            async with asyncio.TaskGroup() as tasks:
                refresher = BarViewsRefresher(self._settings.questdb, state, self._settings.writer.lease_s)
                tasks.create_task(refresher.run())
                while True:
                    for shard in self._assigned_shards(known):
                        if shard not in self._started:
                            self._started.add(shard)
                            tasks.create_task(self._write(shard))
                    await asyncio.sleep(_POLL_S)
                    try:
                        known = await sharding.read(state)
                    except (NatsError, TimeoutError) as reason:
                        # Not an error of this process: each writer waits for NATS by itself.
                        _log.warning("number of shards not read, retrying", reason=repr(reason))

    def _assigned_shards(self, known: Sharding) -> list[int]:
        if self._place is None:
            return known.numbers
        # Each earlier shard, too, is assigned to exactly one process.
        count = known.present.count
        return [
            number
            for shards in known.generations
            for place, number in enumerate(shards.numbers)
            if place % count == self._place
        ]

    async def _write(self, shard: int) -> None:
        health = Health("writer", str(shard))
        async with Bus.opened(self._settings, "writer") as bus:
            await health.alongside(bus, Writer(self._settings, bus, shard, health).run())
