"""Counts the rows published to a platform and the commits of its writers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable

from nats.aio.msg import Msg

from tapehouse.errors import WireError
from tapehouse.stream.bus import STATE, Bus
from tapehouse.stream.wire import unpack


class StreamObserver:
    """Counts over a connection that no fault cuts; rows published while NATS is down are not counted."""

    def __init__(self) -> None:
        self.published: Counter[str] = Counter()
        """By venue: rows sent to the stream. Rows that are sent again count again."""
        self.commits = 0
        """How often the floor of a shard rose."""
        self._floors: dict[str, int] = {}
        self._moved = asyncio.Event()

    async def listen(self, bus: Bus) -> None:
        """Subscribe to ticks and floors."""
        await bus.client.subscribe("ticks.>", cb=self._batch)
        await bus.client.subscribe(f"$KV.{STATE}.floor.>", cb=self._floor)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until `true` returns True; it is called after each observation."""
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
