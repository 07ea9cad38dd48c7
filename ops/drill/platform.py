"""The platform that a drill injects faults into, and its parts as fault targets."""

from __future__ import annotations

import asyncio

from nats.errors import Error as NatsError

from ops.drill.role_proxies import RoleProxies
from ops.drill.stream_observer import StreamObserver
from ops.stack.part import PartView, State
from ops.stack.runner import Stack
from tapehouse.settings import Settings
from tapehouse.stream.bus import TICKS, Bus

_LOOK_S = 0.05
_NO_ANSWER = (NatsError, TimeoutError)


class DrillPlatform:
    """A running platform, with a NATS connection that no fault cuts."""

    def __init__(
        self, stack: Stack, settings: Settings, bus: Bus, proxies: RoleProxies, observer: StreamObserver
    ) -> None:
        self.stack = stack
        self.settings = settings
        self.proxies = proxies
        self.observer = observer
        self._bus = bus

    async def drained(self) -> None:
        """Wait until every consumer has acknowledged the whole stream."""
        while not await self._all_acknowledged():  # noqa: ASYNC110 - other processes acknowledge
            await asyncio.sleep(_LOOK_S)

    async def _all_acknowledged(self) -> bool:
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
        """The current view of a part."""
        return next(view for view in self.stack.view() if view.name == part)


class PartTarget:
    """A part as a fault target; its supervisor restarts it."""

    def __init__(self, platform: DrillPlatform, part: str) -> None:
        self._platform = platform
        self._part = part

    async def pid(self) -> int:
        """Its process id; waits until it is ready."""
        return await self._ready(besides=0)

    async def replaced(self, pid: int) -> None:
        """Return when it is ready in a process other than `pid`."""
        await self._ready(besides=pid)

    async def _ready(self, besides: int) -> int:
        while True:
            view = self._platform.view(self._part)
            if view.pid and view.pid != besides and view.state in (State.READY, State.SILENT):
                return view.pid
            await self._platform.stack.changed()
