"""Waits until QuestDB shows every row that the marks of a day refer to."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from analytics.mirror.decisions import is_written
from analytics.mirror.hot_store import HotDayReader
from analytics.mirror.inventory import read_marks
from analytics.mirror.ledger import MarksByShard
from tapehouse.errors import ProofError
from tapehouse.model import Kind
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.progress import active_shards, read_floors

_TIMEOUT_S = 20
_NEXT_TIMEOUT_S = 1
_POLL_S = 0.05


@dataclass(frozen=True)
class VisibleMarks:
    """The marks of a day, and the start time of the QuestDB in which every row they refer to is visible."""

    marks: MarksByShard
    hot_start_ns: int


class VisibilityWaiter:
    """Waits for the writers; after the first time-out, later days are given a shorter one."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._timeout_s = _TIMEOUT_S

    async def wait_until_visible(self, kind: Kind, day: str, hot: HotDayReader) -> VisibleMarks:
        """Read the marks of a day and wait until every row that they refer to is visible in QuestDB.

        Raises ProofError when the day is being written, or the writers do not commit in time.
        """
        marks = await read_marks(self._bus, kind, day)
        hot_start_ns = await asyncio.to_thread(hot.reader.started_ns)
        state = await self._bus.shared_state()
        known = await sharding.read(state)
        active = set(await active_shards(self._bus, state, known))
        created_ns = sharding.created_ns(await self._bus.js.stream_info(TICKS))
        deadline = time.monotonic() + self._timeout_s
        while True:
            floors = await read_floors(state, marks, created_ns)
            if is_written(marks, floors, active, hot_start_ns):
                break
            if any(mark.is_open for mark in marks.values()):
                raise ProofError(
                    f"{kind.name} of {day}: it is being written",
                    remedy="A later run copies it once it is quiet.",
                )
            if time.monotonic() > deadline:
                self._timeout_s = _NEXT_TIMEOUT_S
                raise ProofError(
                    f"{kind.name} of {day}: the writers have not committed all rows that its marks refer to",
                    remedy="The next run tries again. `tapehouse status` shows whether the writers run.",
                )
            await asyncio.sleep(_POLL_S)
        await asyncio.to_thread(hot.reader.wait_applied, kind.name)
        return VisibleMarks(marks, hot_start_ns)
