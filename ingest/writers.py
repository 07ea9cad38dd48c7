"""The writers of one process: one for each shard that is its own, also after the number of shards was changed."""

from __future__ import annotations

import asyncio

import structlog
from nats.errors import Error as NatsError

from ingest.writer import Writer
from tapehouse import sharding
from tapehouse.bus import Bus
from tapehouse.errors import UsageError
from tapehouse.health import Health
from tapehouse.settings import Settings
from tapehouse.sharding import Sharding

_LOOK_S = 1.0
_log = structlog.get_logger()


class Writers:
    """`run` ends only when cancelled, or when one of the writers fails."""

    def __init__(self, settings: Settings, place: int | None = None) -> None:
        """`place` is that of this process among as many as there are shards; None where it is the only one."""
        self._settings = settings
        self._place = place
        self._begun: set[int] = set()

    async def run(self) -> None:
        """Write every shard of this process, those too that come to be while it runs.

        Raises UsageError where there are fewer shards than `place` asks for.
        """
        async with Bus.opened(self._settings, "writer") as bus:
            state = await bus.state()
            known = await sharding.read(state)
            if self._place is not None and self._place >= known.present.count:
                raise UsageError(f"writer: expected a number below {known.present.count}, was {self._place}")
            async with asyncio.TaskGroup() as tasks:
                while True:
                    for shard in self._mine(known):
                        if shard not in self._begun:
                            self._begun.add(shard)
                            tasks.create_task(self._write(shard))
                    await asyncio.sleep(_LOOK_S)
                    try:
                        known = await sharding.read(state)
                    except (NatsError, TimeoutError) as reason:
                        # Each writer waits for the broker in its own way.
                        _log.warning("no answer about the shards, asking again", reason=repr(reason))

    def _mine(self, known: Sharding) -> list[int]:
        if self._place is None:
            return known.numbers
        # Of earlier shards, too, each has one process.
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
