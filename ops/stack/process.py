"""Child processes: started with a pid file that names them beyond the runner's end, and ended within a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tapehouse.identity import birth, born

# The process that becomes the part writes the pid file itself: the file exists before the part runs, even if the
# runner is killed in between. `umask` keeps every file of a part private.
_LAUNCH = """umask 077
read -r boot < /proc/sys/kernel/random/boot_id
read -r stat < /proc/$$/stat
printf '%s\\n%s\\n%s\\n' "$$" "$boot" "$stat" > "$0"
exec "$@"
"""
# The JVM exits with 143 after a graceful shutdown by SIGTERM.
_GRACEFUL = (0, 128 + signal.SIGTERM)


@dataclass(frozen=True)
class Process:
    """A running child in its own session, so that Ctrl-C in the terminal does not reach it."""

    child: asyncio.subprocess.Process
    pid_file: Path

    @property
    def pid(self) -> int:
        """The process id, also the id of its process group."""
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
            self.kill()
            status = await self.child.wait()
        self.pid_file.unlink(missing_ok=True)
        return status in _GRACEFUL

    def kill(self) -> None:
        """SIGKILL to its whole group; `wait` or `end` then returns soon."""
        if self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


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


def describe_exit(status: int) -> str:
    """An exit status as text for people."""
    if status >= 0:
        return f"exited with status {status}"
    return f"was killed by {signal.Signals(-status).name}"


def live_pid(pid_file: Path) -> int | None:
    """The pid in the file if that process still runs, and not a later one with the same pid; else None."""
    try:
        number, boot, stat = pid_file.read_text().splitlines()
        pid = int(number)
    except (FileNotFoundError, ValueError):
        return None
    at = birth(boot, stat)
    return pid if at and born(pid) == at else None
