"""One child: its pid file and its end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ops.stack.process import Process, describe_exit, live_pid, spawn
from tapehouse.identity import born

_DEAF = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    signal.pause()
"""
_MINDFUL = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("mindful", flush=True)
signal.sigwait({signal.SIGTERM})
"""


async def _spawn(folder: Path, code: str, *, heard: str) -> Process:
    """Start the code and return once it has printed `heard`."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as said, os.fdopen(writing, "wb") as output:
        process = await spawn(
            (sys.executable, "-I", "-S", "-c", code),
            pid_file=folder / "part.pid",
            output=output,
            environment={},
        )
        assert said.readline().strip() == heard
    return process


async def test_a_child_is_named_by_its_pid_file_and_has_a_session_of_its_own(tmp_path: Path) -> None:
    child = await _spawn(tmp_path, _MINDFUL, heard="mindful")
    assert live_pid(tmp_path / "part.pid") == child.pid
    assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
    assert os.getsid(0) != child.pid
    assert await child.end(30)
    assert not (tmp_path / "part.pid").exists()


async def test_a_child_that_does_not_end_in_time_is_killed_and_that_is_not_graceful(tmp_path: Path) -> None:
    child = await _spawn(tmp_path, _DEAF, heard="deaf")
    assert not await child.end(0.1)
    assert await child.wait() == -signal.SIGKILL
    assert born(child.pid) is None


async def test_a_child_that_has_died_before_is_ended_without_grace(tmp_path: Path) -> None:
    child = await _spawn(tmp_path, _MINDFUL, heard="mindful")
    os.kill(child.pid, signal.SIGKILL)
    assert not await child.end(30)


def test_exit_statuses_are_told_in_words() -> None:
    assert describe_exit(3) == "exited with status 3"
    assert describe_exit(-9) == "was killed by SIGKILL"
