"""One fault: struck, ended where it lasts, and timed until rows flow again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from tapehouse.drill.plan import LOADS, Moment
from tapehouse.drill.proxy import cut
from tapehouse.drill.source import Source, Victim
from tapehouse.drill.stand import StackVictim, Stand


@dataclass(frozen=True)
class Struck:
    """What a fault met and how long it was felt."""

    at_s: float
    """Into the run."""
    rows_in: int
    """Rows that the source had published."""
    outage_s: float
    """Until the part was ready again and rows flowed: of a load published, else committed by a writer."""


async def strike(moment: Moment, stand: Stand, source: Source, began: float, before: int) -> Struck:
    """Strike now. `began` is when the run did, on the loop's clock, with `before` rows of its venue seen."""
    clock = asyncio.get_running_loop().time
    tap = stand.tap
    victim: Victim = source if moment.part in LOADS else StackVictim(stand, moment.part)
    pid = await victim.pid()
    rows_in, at = tap.published[source.venue] - before, clock()
    if moment.fault == "kill":
        os.kill(pid, signal.SIGKILL)
        await victim.replaced(pid)
    elif moment.fault == "pause":
        async with _paused(pid):
            await asyncio.sleep(moment.seconds)
    else:
        async with cut(stand.links.of(moment.part), silent=moment.silent):
            await asyncio.sleep(moment.seconds)
    await _flowing(moment, stand, source)
    return Struck(at - began, rows_in, clock() - at)


async def _flowing(moment: Moment, stand: Stand, source: Source) -> None:
    """Wait until rows flow anew, or there are none left to."""
    tap = stand.tap
    published, commits = tap.published[source.venue], tap.commits

    def moved() -> bool:
        if moment.part in LOADS:
            return tap.published[source.venue] > published
        return tap.commits > commits

    await first(tap.until(moved), source.ended())


async def first(*waits: Coroutine[Any, Any, None], within: float | None = None) -> None:
    """Return when one of these does, or after `within` seconds."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def _paused(pid: int) -> AsyncIterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        # Killed meanwhile, where several faults strike.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
