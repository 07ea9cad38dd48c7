"""Marks: which days a writer has touched, so that a copy of a day can be known to be stale.

A day's mark is open while rows of it are being written, and closed, with the last message that touched it,
once it has been quiet. The open mark is stored before the first commit behind it and stays until the floor
has passed the day's last message, so that

- whoever finds a closed mark with a sequence below every floor finds all rows behind it committed;
- no commit happens behind a closed mark that stays as it was: it is opened first, and closed with a higher
  sequence after.

A day that is written without pause costs one message, not one a commit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tapehouse.bus import State
from tapehouse.mark import Mark, mark_key

QUIET_S = 1.0
Day = tuple[str, str]
"""(kind, YYYY-MM-DD)."""


@dataclass
class _Open:
    seq: int
    touched_s: float


class Marks:
    """The marks of one shard's writer: open ones are known here, and by `open_days` in the floor's record."""

    def __init__(self, state: State, shard: int, created_ns: int) -> None:
        self._state = state
        self._shard = shard
        self._created_ns = created_ns
        self._open: dict[Day, _Open] = {}
        self._taken_over: set[Day] = set()
        # One change at a time: a close that is sent again must not fall behind the next opening.
        self._changing = asyncio.Lock()

    @property
    def open_days(self) -> list[Day]:
        """The days whose marks are open."""
        return list(self._open)

    async def touch(self, days: Iterable[Day], seq: int) -> None:
        """Before a commit: every day's mark is open when this returns. `seq` is the commit's last message.

        A writer that starts touches the open days of the record it goes on from: they may have been closed.
        """
        for day in days:
            mark = self._open.get(day)
            if mark is None:
                await self._opened(day, seq)
            else:
                mark.seq, mark.touched_s = seq, time.monotonic()

    async def take_over(self, days: Iterable[Day], seq: int) -> None:
        """Of days that are committed no more, as `touch`: marks that were left open get closed when quiet.

        A writer that was killed may have opened them; those that are closed stay as they are.
        """
        for day in set(days) - self._taken_over:
            async with self._changing:
                value = await self._state.get(mark_key(*day, self._shard))
                if day not in self._open and value is not None and (mark := Mark.of(value)).is_open:
                    known = mark.seq if mark.created_ns == self._created_ns else 0
                    self._open[day] = _Open(max(known, seq), time.monotonic())
            self._taken_over.add(day)

    async def close_quiet(self, recorded_seq: int, quiet_s: float = QUIET_S) -> None:
        """Close the marks of days not touched for `quiet_s` that lie behind the recorded floor."""
        async with self._changing:
            before = time.monotonic() - quiet_s
            for day, mark in list(self._open.items()):
                if mark.seq <= recorded_seq and mark.touched_s <= before:
                    await self._closed(day, mark)

    async def _opened(self, day: Day, seq: int) -> None:
        async with self._changing:
            await self._put(day, seq, True)
            self._open[day] = _Open(seq, time.monotonic())

    async def _closed(self, day: Day, mark: _Open) -> None:
        # Taken out first: who touches it meanwhile waits to open it again.
        del self._open[day]
        stored = False
        try:
            await self._put(day, mark.seq, False)
            stored = True
        finally:
            if not stored:
                self._open[day] = mark

    async def _put(self, day: Day, seq: int, is_open: bool) -> None:
        mark = Mark(self._created_ns, seq, is_open)
        await self._state.put(mark_key(*day, self._shard), mark.value())
