"""The feed of the simulated venue: publishes each tick when its time has come.

What was published and not yet checkpointed when a run was killed is emitted again, the same to the byte; from
there on ticks are of now, so that a week of standstill is not caught up tick by tick. The history that a home
may begin with is the exception: all of it is published, as fast as the stream takes it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.feeds.simulator import VENUE, Simulator
from ingest.feeds.simulator_file import load, open_timeline
from ingest.feeds.timeline import Profile, Timeline
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse import sharding
from tapehouse.bus import Bus, State
from tapehouse.clock import day_of, now_ns
from tapehouse.health import Health
from tapehouse.settings import Settings

TIMELINE = "simulator.json"
CHECKPOINT = "checkpoint.sim"
_STEP_S = 0.01
_STEP_POSITIONS = 50_000
_SAVE_EVERY_S = 0.5
_SAY_EVERY_S = 0.2
_ORIGIN = Origin("trades", VENUE, "the simulator", {"format": "row"})


def ahead(rate: int) -> int:
    """Positions that a run at `rate` a second publishes beyond its saved checkpoint, at most.

    The history has no such limit: nothing that happens later changes what is in it.
    """
    return max(5_000, 4 * rate)


class SimFeed:
    """The simulator as a role. `run` ends only when cancelled."""

    def __init__(self, settings: Settings, bus: Bus, health: Health) -> None:
        self._settings = settings
        self._bus = bus
        self._health = health
        self._unsettled: deque[tuple[int, int]] = deque()
        self._saved = 0
        self._saved_at = 0.0
        self._seeding = ""

    async def run(self) -> None:
        """Publish until cancelled."""
        state = await self._bus.state()
        self._saved = await state.get(CHECKPOINT) or 0
        timeline = self._timeline()
        simulator = Simulator(timeline)
        position = self._saved
        self._seeding = "seeding history" if position < timeline.history else ""
        loop = asyncio.get_running_loop()
        shards = await sharding.current(state)
        async with Publisher(self._bus) as publisher, self._saying(publisher):
            intake = Intake(publisher, Quarantine(self._bus), shards)
            while True:
                began = loop.time()
                limit = max(timeline.history, self._saved + ahead(self._settings.simulator.rate))
                until = min(simulator.due(position, now_ns()), limit, position + _STEP_POSITIONS)
                if until > position:
                    await self._emit(simulator, intake, position, until)
                    position = until
                await self._save(state, publisher)
                behind = simulator.due(position, now_ns()) > position + _STEP_POSITIONS // 10
                # At full speed the loop still yields, for acknowledgements to come in.
                await asyncio.sleep(0 if behind else max(0.0, began + _STEP_S - loop.time()))

    def _timeline(self) -> Timeline:
        asked = self._settings.simulator
        profile = Profile(seed=asked.seed, symbols=asked.symbols, late=asked.late, duplicates=asked.duplicate)
        path = self._settings.home / TIMELINE
        before = load(path)
        return open_timeline(
            path,
            profile,
            asked.rate,
            checkpoint=self._saved,
            bound=ahead(before.rate if before else asked.rate),
            now_ns=now_ns(),
            history_days=asked.history_days,
        )

    async def _emit(self, simulator: Simulator, intake: Intake, position: int, until: int) -> None:
        batch = simulator.batch(position, until)
        ticket = -1
        if batch.rows:
            came = int(batch.array("ts_recv")[-1])
            past = until <= simulator.timeline.history
            self._seeding = f"seeding history, {day_of(came)}" if past else ""
            ticket = await intake.put(batch, _ORIGIN)
            # That the past is long ago is no lag.
            self._health.wrote(batch.rows, now_ns() if past else came, 0)
        self._unsettled.append((ticket, until))

    async def _save(self, state: State, publisher: Publisher) -> None:
        """Save the last position whose ticks, and all before, are acknowledged."""
        now = asyncio.get_running_loop().time()
        if now - self._saved_at < _SAVE_EVERY_S:
            return
        settled = self._saved
        while self._unsettled and self._unsettled[0][0] < publisher.settled:
            settled = self._unsettled.popleft()[1]
        if settled > self._saved:
            await state.put(CHECKPOINT, settled)
            self._saved, self._saved_at = settled, now

    @asynccontextmanager
    async def _saying(self, publisher: Publisher) -> AsyncIterator[None]:
        """Tell how the feed is, also while it waits for the stream to take more."""
        saying = asyncio.create_task(self._say(publisher))
        try:
            yield
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)

    async def _say(self, publisher: Publisher) -> None:
        while True:
            if publisher.waits:
                self._health.waiting(publisher.waits)
            else:
                self._health.ready(self._seeding)
            await asyncio.sleep(_SAY_EVERY_S)
