"""What can be seen of a platform at work: rows published, and floors recorded by the writers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable

from nats.aio.msg import Msg

from tapehouse.bus import STATE, Bus
from tapehouse.errors import WireError
from tapehouse.wire import unpack


class Tap:
    """Listens on a connection of its own, that no fault cuts; what is said while NATS is away is missed."""

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()
        """By venue: rows on their way into the stream. Rows that are sent again count again."""
        self.commits = 0
        """Times that a writer's floor rose."""
        self._floors: dict[str, int] = {}
        self._moved = asyncio.Event()

    async def listen(self, bus: Bus) -> None:
        """Begin to."""
        await bus.client.subscribe("ticks.>", cb=self._batch)
        await bus.client.subscribe(f"$KV.{STATE}.floor.>", cb=self._floor)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until `true`, which is asked each time something is seen."""
        while not true():
            self._moved.clear()
            await self._moved.wait()

    async def _batch(self, message: Msg) -> None:
        try:
            batch = unpack(message.data)
        except WireError:
            return
        self.published[batch.venue] += batch.rows
        self._moved.set()

    async def _floor(self, message: Msg) -> None:
        seq = int(json.loads(message.data or b"{}").get("seq", 0))
        if seq > self._floors.get(message.subject, -1):
            self._floors[message.subject] = seq
            self.commits += 1
            self._moved.set()
