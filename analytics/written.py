"""Waiting until the hot store holds all that a day's marks stand for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from analytics.days import is_written
from analytics.hotdays import HotDays
from analytics.ledger import Marks
from analytics.survey import marks_of
from tapehouse import sharding
from tapehouse.bus import TICKS, Bus
from tapehouse.errors import ProofError
from tapehouse.floor import Floor, floor_key
from tapehouse.model import Kind

_PATIENCE_S = 20
_LATER_S = 1
_LOOK_S = 0.05


@dataclass(frozen=True)
class Standing:
    """Marks, and the QuestDB that shows all they stand for, by when it was started."""

    marks: Marks
    hot_start_ns: int


class Written:
    """Waits for writers, and less for the next day once one has waited in vain."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._patience = _PATIENCE_S

    async def until(self, kind: Kind, day: str, hot: HotDays) -> Standing:
        """Read a day's marks; return when all rows behind them can be read.

        Raises ProofError where the day is being written, or writers are behind for too long.
        """
        marks = await marks_of(self._bus, kind, day)
        hot_start_ns = await asyncio.to_thread(hot.reader.started_ns)
        state = await self._bus.state()
        known = await sharding.read(state)
        # A former shard's writer has ended when nothing of it can be replayed.
        present = {
            shard
            for shard in known.numbers
            if shard in known.present.numbers or not await sharding.done_with(self._bus, state, known, shard)
        }
        created_ns = sharding.created_ns(await self._bus.js.stream_info(TICKS))
        deadline = time.monotonic() + self._patience
        while True:
            floors = {shard: Floor.read(await state.get(floor_key(shard)), created_ns) for shard in marks}
            if is_written(marks, floors, present, hot_start_ns):
                break
            if any(mark.is_open for mark in marks.values()):
                raise ProofError(
                    f"{kind.name} of {day}: it is being written", remedy="A run copies it when it is quiet."
                )
            if time.monotonic() > deadline:
                self._patience = _LATER_S
                raise ProofError(
                    f"{kind.name} of {day}: the writers have not committed all that is marked",
                    remedy="The next run tries again. `tapehouse status` shows whether the writers run.",
                )
            await asyncio.sleep(_LOOK_S)
        await asyncio.to_thread(hot.reader.wait_applied, kind.name)
        return Standing(marks, hot_start_ns)
