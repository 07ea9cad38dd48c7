"""What a killed runner left is found by pid and start time, and ended: roles first, then servers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.stack.orphans import end_orphans, orphans
from ops.stack.process import Process, live_pid, spawn

_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
_MINDFUL = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(flush=True)
signal.sigwait({signal.SIGTERM})
with pathlib.Path(sys.argv[1]).open("a") as file:
    print(sys.argv[2], file=file)
"""


async def _spawn(folder: Path, name: str, code: str = _MINDFUL) -> Process:
    """Start the code as a part and return once it handles SIGTERM; it then adds its name to the file `ended`."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as said, os.fdopen(writing, "wb") as output:
        process = await spawn(
            (sys.executable, "-I", "-S", "-c", code, str(folder / "ended"), name),
            pid_file=folder / f"{name}.pid",
            output=output,
            environment={},
        )
        said.readline()
    return process


@pytest.mark.parametrize("code", [_MINDFUL, _DEAF])
async def test_what_an_earlier_run_left_is_ended(tmp_path: Path, code: str) -> None:
    child = await _spawn(tmp_path, "part", code)
    assert orphans(tmp_path) == {"part": child.pid}
    assert await end_orphans(tmp_path, within=0.5) == ["part"]
    assert await child.wait() == (0 if code == _MINDFUL else -9)
    assert orphans(tmp_path) == {}
    assert not (tmp_path / "part.pid").exists()


async def test_servers_are_ended_after_the_roles_that_write_to_them(tmp_path: Path) -> None:
    parts = ("clickhouse", "nats", "questdb", "writer")
    children = [await _spawn(tmp_path, name) for name in parts]
    assert await end_orphans(tmp_path, within=30) == list(parts)
    for child in children:
        await child.wait()
    ended = (tmp_path / "ended").read_text().split()
    assert ended[0] == "writer"
    assert sorted(ended) == list(parts)


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
    assert live_pid(tmp_path / "part.pid") is None
    assert await end_orphans(tmp_path) == []
