"""Injects one fault, ends it after its duration, and measures the outage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

from ops.drill.plan import LOADS, PlannedFault
from ops.drill.platform import DrillPlatform, PartTarget
from ops.drill.proxy import cut
from ops.drill.source import FaultTarget, LoadSource


@dataclass(frozen=True)
class FaultResult:
    """When a fault was injected, and how long the outage was."""

    at_s: float
    """Seconds from the start of the run to the fault."""
    rows_in: int
    """Rows that the source had published before the fault."""
    outage_s: float
    """Until the part was ready and rows flowed again: published by a load, or committed by a writer."""


async def inject_fault(
    moment: PlannedFault, platform: DrillPlatform, source: LoadSource, began: float, before: int
) -> FaultResult:
    """Inject the fault now and wait until rows flow again.

    `began` is the start of the run on the loop's clock; `before` is how many rows of the venue the observer had
    counted by then.
    """
    clock = asyncio.get_running_loop().time
    observer = platform.observer
    target: FaultTarget = source if moment.part in LOADS else PartTarget(platform, moment.part)
    pid = await target.pid()
    rows_in, at = observer.published[source.venue] - before, clock()
    if moment.fault == "kill":
        os.kill(pid, signal.SIGKILL)
        await target.replaced(pid)
    elif moment.fault == "pause":
        async with _paused(pid):
            await asyncio.sleep(moment.seconds)
    else:
        async with cut(platform.proxies.of(moment.part), silent=moment.silent):
            await asyncio.sleep(moment.seconds)
    await _wait_until_rows_flow(moment, platform, source)
    return FaultResult(at - began, rows_in, clock() - at)


async def _wait_until_rows_flow(moment: PlannedFault, platform: DrillPlatform, source: LoadSource) -> None:
    """Wait until rows flow again, or the source has ended."""
    observer = platform.observer
    published, commits = observer.published[source.venue], observer.commits

    def moved() -> bool:
        if moment.part in LOADS:
            return observer.published[source.venue] > published
        return observer.commits > commits

    await wait_for_first(observer.until(moved), source.ended())


async def wait_for_first(*waits: Coroutine[Any, Any, None], within: float | None = None) -> None:
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
        # Where faults overlap, another may have killed it meanwhile.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
