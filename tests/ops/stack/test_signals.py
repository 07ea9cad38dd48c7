"""Signals to a run: one stops it, a second says what a third does, a third kills. No orphan, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack import view
from ops.stack.orphans import orphans
from ops.stack.signals import KILLED
from tapehouse.identity import born

# Two phases; the part of the second, which is stopped first, ends only when it is killed.
_RUN = """
import asyncio, pathlib, signal, sys
from ops.stack.home import Home
from ops.stack.part import Part
from ops.stack.runner import Stack
from ops.stack.signals import KILLED, StopSignals
from tapehouse.errors import ConnectError

# The tests may run where the end of the terminal is ignored.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
home = Home(pathlib.Path(sys.argv[1]))

def part(name, action):
    async def answers():
        if "ready" not in home.log(name).read_text():
            raise ConnectError("no sign")

    code = f"import signal; signal.signal(signal.SIGTERM, signal.{action}); print('ready', flush=True); signal.pause()"
    return Part(name, (sys.executable, "-I", "-S", "-c", code), answers, stop_within=60)

async def work(stack):
    stack.add(part("mindful", "SIG_DFL"))
    stack.add(part("deaf", "SIG_IGN"))
    await stack.start("mindful")
    await stack.start("deaf")
    print("ready", flush=True)
    await stack.failure()

async def main():
    stack = Stack(home)
    signals = StopSignals(lambda line: print(line, flush=True), stack.kill)
    async with stack:
        await signals.run(work(stack))
        print("stopping", flush=True)
    return KILLED if signals.killed else 0

sys.exit(asyncio.run(main()))
"""


class _Run:
    """A run in a process of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(home)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.pids: dict[str, int] = {}

    def expect(self, line: str) -> None:
        """Read its output up to this line."""
        assert self.process.stdout
        while (said := self.process.stdout.readline()) != f"{line}\n":
            assert said, f"it ended before it said {line!r}"

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status; nothing of it may be left, and nothing be on its standard error but its log."""
        _, errors = self.process.communicate(timeout=60)
        assert "Traceback" not in errors
        assert orphans(self.home / "run") == {}
        assert not any(born(pid) for pid in self.pids.values())
        return self.process.returncode


@pytest.fixture
def run(tmp_path: Path) -> Iterator[_Run]:
    started = _Run(tmp_path / "home")
    try:
        started.expect("ready")
        started.pids = {part.name: part.pid or 0 for part in view.read(started.home).parts}
        yield started
    finally:
        for pid in (started.process.pid, *started.pids.values()):
            if born(pid):
                os.kill(pid, signal.SIGKILL)
        started.process.communicate()


def test_a_second_signal_changes_nothing_and_says_what_a_third_does(run: _Run) -> None:
    run.send(signal.SIGINT)
    run.expect("stopping")
    run.send(signal.SIGTERM)
    run.expect("still stopping; once more kills every part at once")
    assert view.read(run.home).stopping
    assert born(run.pids["mindful"])
    os.kill(run.pids["deaf"], signal.SIGKILL)
    assert run.ended() == 0


def test_a_third_signal_kills_every_part_at_once(run: _Run) -> None:
    run.send(signal.SIGTERM)
    run.expect("stopping")
    run.send(signal.SIGINT)
    run.expect("still stopping; once more kills every part at once")
    run.send(signal.SIGINT)
    run.expect("killed every part at once")
    assert run.ended() == KILLED


def test_the_end_of_the_terminal_counts_once(run: _Run) -> None:
    run.send(signal.SIGHUP)
    run.expect("stopping")
    for _ in range(3):
        run.send(signal.SIGHUP)
    run.send(signal.SIGTERM)
    run.expect("still stopping; once more kills every part at once")
    os.kill(run.pids["deaf"], signal.SIGKILL)
    assert run.ended() == 0
