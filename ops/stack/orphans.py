"""Processes that a killed runner left: found by their pid files and start times, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import structlog

from ops.stack.process import live_pid
from tapehouse.errors import StackError
from tapehouse.identity import command_of

GRACE_S = 10.0
"""From SIGTERM to SIGKILL."""
_KILLED_WITHIN_S = 10.0
_SERVERS = ("nats", "questdb", "clickhouse")
"""Ended last: roles write to them what they have."""


def orphans(folder: Path) -> dict[str, int]:
    """The processes that still run of those named by the pid files in `folder`: part -> pid."""
    found = {path.stem: live_pid(path) for path in sorted(folder.glob("*.pid"))}
    return {part: pid for part, pid in found.items() if pid}


async def end_orphans(folder: Path, within: float = GRACE_S) -> list[str]:
    """End the processes that the pid files in `folder` name, and remove the files; returns the names of the parts.

    Roles first, then servers: by SIGTERM, and after `within` seconds by SIGKILL. Raises StackError if one stays.
    """
    found = orphans(folder)
    servers = {part: pid for part, pid in found.items() if part in _SERVERS}
    await _end(folder, {part: pid for part, pid in found.items() if part not in servers}, within)
    await _end(folder, servers, within)
    _clear(folder)
    return list(found)


def _clear(folder: Path) -> None:
    for path in folder.glob("*.pid"):
        path.unlink()


async def _end(folder: Path, found: Mapping[str, int], within: float) -> None:
    await asyncio.gather(*(_end_orphan(folder / f"{part}.pid", pid, within) for part, pid in found.items()))


async def _end_orphan(pid_file: Path, pid: int, within: float) -> None:
    log = structlog.get_logger().bind(part=pid_file.stem, pid=pid, command=command_of(pid))
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Compared again after the handle is open, which cannot come to mean another process.
        if live_pid(pid_file) != pid:
            return
        log.warning("ending a process left by an earlier run")
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not await _gone(handle, within):
            log.warning("killing it: it did not end in time", seconds=within)
            os.killpg(pid, signal.SIGKILL)
            if not await _gone(handle, _KILLED_WITHIN_S):
                raise StackError(
                    f"{pid_file.stem}: expected process {pid} to end when it was killed, was still running",
                    remedy="Its disk may not answer. Try again when it has ended.",
                )
    except ProcessLookupError:
        log.info("it has already ended")
    finally:
        os.close(handle)


async def _gone(handle: int, within: float) -> bool:
    """Whether the process ends in time; a pidfd becomes readable when it does."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        await asyncio.wait_for(gone.wait(), within)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True
