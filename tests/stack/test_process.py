"""One child: its pid file, its end, and its end by a later run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tapehouse.stack.identity import born
from tapehouse.stack.process import Process, end_orphans, named_by, spawn, told

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
    assert named_by(tmp_path / "part.pid") == child.pid
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


@pytest.mark.parametrize(("code", "heard"), [(_MINDFUL, "mindful"), (_DEAF, "deaf")])
async def test_what_an_earlier_run_left_behind_is_ended(tmp_path: Path, code: str, heard: str) -> None:
    child = await _spawn(tmp_path, code, heard=heard)
    assert await end_orphans(tmp_path, within=0.5) == ["part"]
    assert await child.wait() == (0 if heard == "mindful" else -signal.SIGKILL)
    assert not (tmp_path / "part.pid").exists()


def test_another_process_of_the_same_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE) as other:
        name, _, after = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")
        fields = after.split()
        fields[19] = str(int(fields[19]) - 1)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        (tmp_path / "part.pid").write_text(f"{other.pid}\n{boot}{name}) {' '.join(fields)}\n")
        assert asyncio.run(end_orphans(tmp_path)) == []
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0


@pytest.mark.parametrize("text", ["", "17\n", "not\na\npid file\n"])
async def test_a_pid_file_cut_short_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "part.pid").write_text(text)
    assert named_by(tmp_path / "part.pid") is None
    assert await end_orphans(tmp_path) == []


def test_exit_statuses_are_told_in_words() -> None:
    assert told(3) == "exited with status 3"
    assert told(-9) == "was killed by SIGKILL"
