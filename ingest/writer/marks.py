"""Day marks: which days a writer has written to, so that stale copies of a day can be detected.

A day's mark is open while its rows are being written. Once the day has been quiet, it is closed with the sequence
of the last message that has rows of the day. The open mark is stored before the first commit and stays open until
the floor has reached the day's last message. So

- when a closed mark's sequence is at or below every floor, all rows that it covers are committed;
- while a closed mark stays unchanged, no row of its day has been committed: a commit opens the mark before, and it
  is closed with a higher sequence after.

A day that is written continuously costs one write of its mark, not one for each commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tapehouse.stream.bus import State
from tapehouse.stream.mark import DayMark, mark_key

QUIET_S = 1.0
DayKey = tuple[str, str]
"""(kind, YYYY-MM-DD)."""


@dataclass
class _OpenMark:
    seq: int
    touched_s: float


class DayMarks:
    """The marks of one shard's writer. Open ones are cached here and stored as the floor's `open_days`."""

    def __init__(self, state: State, shard: int, created_ns: int) -> None:
        self._state = state
        self._shard = shard
        self._created_ns = created_ns
        self._open: dict[DayKey, _OpenMark] = {}
        self._taken_over: set[DayKey] = set()
        # One change at a time: a repeated close must not arrive after the next open.
        self._changing = asyncio.Lock()

    @property
    def open_days(self) -> list[DayKey]:
        """The days whose marks are open."""
        return list(self._open)

    async def touch(self, days: Iterable[DayKey], seq: int) -> None:
        """Open the mark of every day, before a commit whose last message is `seq`.

        A new session also calls this for the `open_days` of its floor: their marks may have been closed since.
        """
        for day in days:
            mark = self._open.get(day)
            if mark is None:
                await self._store_open(day, seq)
            else:
                mark.seq, mark.touched_s = seq, time.monotonic()

    async def take_over(self, days: Iterable[DayKey], seq: int) -> None:
        """For sealed days: track marks that a killed writer left open, so that they are closed when quiet.

        Closed marks are not changed.
        """
        for day in set(days) - self._taken_over:
            async with self._changing:
                value = await self._state.get(mark_key(*day, self._shard))
                if day not in self._open and value is not None and (mark := DayMark.of(value)).is_open:
                    known = mark.seq if mark.created_ns == self._created_ns else 0
                    self._open[day] = _OpenMark(max(known, seq), time.monotonic())
            self._taken_over.add(day)

    async def close_quiet(self, recorded_seq: int, quiet_s: float = QUIET_S) -> None:
        """Close the marks of days not written for `quiet_s` whose last message is at or below the stored floor."""
        async with self._changing:
            before = time.monotonic() - quiet_s
            for day, mark in list(self._open.items()):
                if mark.seq <= recorded_seq and mark.touched_s <= before:
                    await self._store_closed(day, mark)

    async def _store_open(self, day: DayKey, seq: int) -> None:
        async with self._changing:
            await self._put(day, seq, True)
            self._open[day] = _OpenMark(seq, time.monotonic())

    async def _store_closed(self, day: DayKey, mark: _OpenMark) -> None:
        # Removed first: a concurrent `touch` then waits for the lock and opens it again.
        del self._open[day]
        stored = False
        try:
            await self._put(day, mark.seq, False)
            stored = True
        finally:
            if not stored:
                self._open[day] = mark

    async def _put(self, day: DayKey, seq: int, is_open: bool) -> None:
        mark = DayMark(self._created_ns, seq, is_open)
        await self._state.put(mark_key(*day, self._shard), mark.value())
