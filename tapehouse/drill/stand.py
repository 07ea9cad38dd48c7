"""The platform that a drill breaks, as seen from outside it."""

from __future__ import annotations

import asyncio

from nats.errors import Error as NatsError

from tapehouse.bus import TICKS, Bus
from tapehouse.drill.links import Links
from tapehouse.drill.tap import Tap
from tapehouse.settings import Settings
from tapehouse.stack.part import PartView, State
from tapehouse.stack.runner import Stack

_LOOK_S = 0.05
_NO_ANSWER = (NatsError, TimeoutError)


class Stand:
    """A platform that runs, with the ways to it that no fault cuts."""

    def __init__(self, stack: Stack, settings: Settings, bus: Bus, links: Links, tap: Tap) -> None:
        self.stack = stack
        self.settings = settings
        self.links = links
        self.tap = tap
        self._bus = bus

    async def drained(self) -> None:
        """Wait until every consumer has acknowledged all of the stream."""
        while not await self._nothing_left():  # noqa: ASYNC110 - another process's acknowledgements
            await asyncio.sleep(_LOOK_S)

    async def _nothing_left(self) -> bool:
        await self._bus.until_connected()
        try:
            consumers = await self._bus.js.consumers_info(TICKS)
        except _NO_ANSWER:
            return False
        return not any(consumer.num_pending or consumer.num_ack_pending for consumer in consumers)

    def seen(self) -> str:
        """The states of the parts, in one line."""
        return "; ".join(f"{part.name} {part.state} {part.detail}".strip() for part in self.stack.view())

    def view(self, part: str) -> PartView:
        """A part as it is now."""
        return next(view for view in self.stack.view() if view.name == part)


class StackVictim:
    """A part that its keeper starts again."""

    def __init__(self, stand: Stand, part: str) -> None:
        self._stand = stand
        self._part = part

    async def pid(self) -> int:
        """Its process; waits while it has none that was ready."""
        return await self._ready(besides=0)

    async def replaced(self, pid: int) -> None:
        """Return when it is ready in another process."""
        await self._ready(besides=pid)

    async def _ready(self, besides: int) -> int:
        while True:
            view = self._stand.view(self._part)
            if view.pid and view.pid != besides and view.state in (State.READY, State.SILENT):
                return view.pid
            await self._stand.stack.changed()
