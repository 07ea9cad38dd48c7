"""The feed of the simulated venue: publishes each tick when it is due.

Ticks published after the last checkpoint of a killed run are emitted again, identical to the byte. The ticks after
them have current times, so that downtime is not caught up tick by tick. The history that a new home may begin with
is the exception: all of it is published, as fast as the stream accepts it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.simulator.book_rows import BookRows
from ingest.simulator.timeline import Profile, Timeline
from ingest.simulator.timeline_file import load, open_timeline
from ingest.simulator.trades import VENUE, Simulator
from tapehouse.clock import day_of, now_ns
from tapehouse.settings import Settings
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.health import Health

TIMELINE = "simulator.json"
CHECKPOINT = "checkpoint.sim"
_STEP_S = 0.01
_STEP_POSITIONS = 50_000
_SAVE_EVERY_S = 0.5
_REPORT_EVERY_S = 0.2


def max_unsaved_positions(rate: int) -> int:
    """Most positions that a run at `rate` a second publishes after its saved checkpoint.

    The history has no such limit: a later restart never changes its content.
    """
    return max(5_000, 4 * rate)


class SimulatorFeed:
    """The simulator as a role. `run` ends only when cancelled."""

    def __init__(self, settings: Settings, bus: Bus, health: Health) -> None:
        self._settings = settings
        self._bus = bus
        self._health = health
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._saved = 0
        self._saved_at = 0.0
        self._history_detail = ""

    async def run(self) -> None:
        """Publish until cancelled."""
        state = await self._bus.shared_state()
        self._saved = await state.get(CHECKPOINT) or 0
        timeline = self._timeline()
        simulator = Simulator(timeline)
        books = BookRows(simulator)
        position = self._saved
        self._history_detail = "history" if position < timeline.history else ""
        loop = asyncio.get_running_loop()
        shards = await sharding.current(state)
        async with Publisher(self._bus) as publisher, self._reporting(publisher):
            intake = Intake(publisher, Quarantine(self._bus), shards)
            while True:
                began = loop.time()
                limit = max(
                    timeline.history, self._saved + max_unsaved_positions(self._settings.simulator.rate)
                )
                until = min(simulator.due(position, now_ns()), limit, position + _STEP_POSITIONS)
                if until > position:
                    await self._emit(simulator, books, intake, position, until)
                    position = until
                await self._save(state, publisher)
                behind = simulator.due(position, now_ns()) > position + _STEP_POSITIONS // 10
                # At full speed the loop still yields, so that acknowledgements are received.
                await asyncio.sleep(0 if behind else max(0.0, began + _STEP_S - loop.time()))
                if not behind:
                    await publisher.until_few_pending()

    def _timeline(self) -> Timeline:
        config = self._settings.simulator
        profile = Profile(
            seed=config.seed, symbols=config.symbols, late=config.late, duplicates=config.duplicate
        )
        path = self._settings.home / TIMELINE
        before = load(path)
        return open_timeline(
            path,
            profile,
            config.rate,
            checkpoint=self._saved,
            bound=max_unsaved_positions(before.rate if before else config.rate),
            now_ns=now_ns(),
            history_days=config.history_days,
            quotes=config.quotes_rate,
            depth=config.depth_rate,
        )

    async def _emit(
        self, simulator: Simulator, books: BookRows, intake: Intake, position: int, until: int
    ) -> None:
        is_history = until <= simulator.timeline.history
        trades = simulator.batch(position, until)
        if trades.rows:
            received_ns = int(trades.array("ts_recv")[-1])
            share = f"{until / simulator.timeline.history:.0%}" if is_history else ""
            self._history_detail = f"history {share}, {day_of(received_ns)}" if is_history else ""
        # Quotes first: that of a trade is then published before it.
        ticket = -1
        for batch in itertools.chain(books.batches(position, until), [trades] if trades.rows else []):
            origin = Origin(batch.kind.name, VENUE, "the simulator", {"format": "row"})
            ticket = max(ticket, await intake.put(batch, origin))
            # The age of history is no lag.
            received_ns = now_ns() if is_history else int(batch.array("ts_recv")[-1])
            self._health.wrote(batch.rows, received_ns, 0)
        self._unacknowledged.append((ticket, until))

    async def _save(self, state: State, publisher: Publisher) -> None:
        """Save the position up to which all ticks are acknowledged."""
        now = asyncio.get_running_loop().time()
        if now - self._saved_at < _SAVE_EVERY_S:
            return
        settled = self._saved
        while self._unacknowledged and self._unacknowledged[0][0] < publisher.first_pending:
            settled = self._unacknowledged.popleft()[1]
        if settled > self._saved:
            await state.put(CHECKPOINT, settled)
            self._saved, self._saved_at = settled, now

    @asynccontextmanager
    async def _reporting(self, publisher: Publisher) -> AsyncIterator[None]:
        """Report the feed's health inside the context, also while publishing waits for the stream."""
        reporting = asyncio.create_task(self._report(publisher))
        try:
            yield
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _report(self, publisher: Publisher) -> None:
        while True:
            if publisher.blocked_reason:
                self._health.waiting(publisher.blocked_reason)
            else:
                self._health.ready(self._history_detail)
            await asyncio.sleep(_REPORT_EVERY_S)
