"""One child process: started with a pid file, ended in time, and ended by a later run where this one died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog

from tapehouse.stack.identity import birth, born, command_of

# The process that becomes the part writes the pid file, so that there is no moment at which it runs unnamed,
# whenever the runner is killed. `umask` keeps every file of a part private.
_LAUNCH = """umask 077
read -r boot < /proc/sys/kernel/random/boot_id
read -r stat < /proc/$$/stat
printf '%s\\n%s\\n%s\\n' "$$" "$boot" "$stat" > "$0"
exec "$@"
"""
# QuestDB and the JVM answer SIGTERM with 143 once they have shut down.
_GRACEFUL = (0, 128 + signal.SIGTERM)


@dataclass(frozen=True)
class Process:
    """A running child, in a session of its own: a terminal's Ctrl-C does not reach it."""

    child: asyncio.subprocess.Process
    pid_file: Path

    @property
    def pid(self) -> int:
        """Its number, which is its process group's too."""
        return self.child.pid

    async def wait(self) -> int:
        """Its exit status once it has ended, -N where signal N ended it."""
        return await self.child.wait()

    async def end(self, within: float) -> bool:
        """SIGTERM, then SIGKILL to its whole group after `within` seconds; True for a graceful end."""
        with contextlib.suppress(ProcessLookupError):
            self.child.terminate()
        try:
            status = await asyncio.wait_for(self.child.wait(), within)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            status = await self.child.wait()
        self.pid_file.unlink(missing_ok=True)
        return status in _GRACEFUL


async def spawn(
    command: Sequence[str], *, pid_file: Path, output: BinaryIO, environment: Mapping[str, str]
) -> Process:
    """Start `command`, its output and errors going to `output`."""
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        _LAUNCH,
        str(pid_file),
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
    )
    return Process(child, pid_file)


def told(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exited with status {status}"
    return f"was killed by {signal.Signals(-status).name}"


async def end_orphans(folder: Path, within: float = 5.0) -> list[str]:
    """End what the pid files in `folder` name and what still is that very process; the parts' names."""
    orphans = _orphans(folder)
    await asyncio.gather(*(_end_orphan(path, pid, within) for path, pid in orphans.items()))
    for path in orphans:
        path.unlink()
    return [path.stem for path in orphans]


def named_by(pid_file: Path) -> int | None:
    """The pid in the file, where that process, and not a later one of the same number, still lives."""
    try:
        number, boot, stat = pid_file.read_text().splitlines()
        pid = int(number)
    except (FileNotFoundError, ValueError):
        return None
    at = birth(boot, stat)
    return pid if at and born(pid) == at else None


def _orphans(folder: Path) -> dict[Path, int]:
    orphans = {}
    for pid_file in sorted(folder.glob("*.pid")):
        if pid := named_by(pid_file):
            orphans[pid_file] = pid
        else:
            pid_file.unlink()
    return orphans


async def _end_orphan(pid_file: Path, pid: int, within: float) -> None:
    log = structlog.get_logger().bind(part=pid_file.stem, pid=pid, command=command_of(pid))
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Opened first, compared again after: what the handle holds cannot become another process.
        if named_by(pid_file) != pid:
            return
        log.warning("ending a part that an earlier run left behind")
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if not await _gone(handle, within):
            log.warning("killing it, since it did not end", seconds=within)
            os.killpg(pid, signal.SIGKILL)
            await _gone(handle, within)
    except ProcessLookupError:
        log.info("it has ended meanwhile")
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
