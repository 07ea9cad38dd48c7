"""A platform of its own, started and used by the command line alone, as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gateway.query import Query
from ops.stack.home import Home
from ops.stack.orphans import orphans
from tapehouse.clock import parse_ns
from tapehouse.settings import load
from tests.ports import own_ports
from tests.reads import read_hot

TAPEHOUSE = str(Path(sys.executable).with_name("tapehouse"))
_READY_S = 120
_STOP_S = 30


class Up:
    """`tapehouse up` in a home of its own, on ports that no other test process chooses."""

    def __init__(self, home: Path, feed: str = "none", words: tuple[str, ...] = (), **settings: str) -> None:
        self.home = home
        self.env = {**os.environ, "TAPEHOUSE_HOME": str(home), **settings}
        self.log = home.with_suffix(".log")
        ports = Home(home).folder / "ports.json"
        if not ports.exists():
            ports.write_text(json.dumps(own_ports()))
        said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [TAPEHOUSE, "up", "--feed", feed, *words],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            ready = b"tapehouse: ready"
            self.until(lambda: ready in self.log.read_bytes()[said:], "every part to be ready", _READY_S)
        except BaseException:
            self.stop()
            raise

    def until(self, true: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait for `true`, or fail saying what was waited for."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the platform ended:\n{self.log.read_text()[-2000:]}"
            if true():
                return
            time.sleep(0.1)
        pytest.fail(f"waited {seconds:g} s for {what}\n{self.log.read_text()[-2000:]}")

    def run(self, *words: str, status: int = 0) -> str:
        """Run a command, expect its exit status, return its standard output."""
        done = subprocess.run(
            [TAPEHOUSE, *words], env=self.env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if status == 0 else done.stdout + done.stderr

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command and go on."""
        return subprocess.Popen(
            [TAPEHOUSE, *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def status(self) -> dict[str, Any]:
        """What `tapehouse status --json` says, ready or not."""
        done = subprocess.run([TAPEHOUSE, "status", "--json"], env=self.env, capture_output=True, check=False)
        return dict(json.loads(done.stdout))

    def pid(self, part: str) -> int:
        """The process of a part that runs now."""
        return next(int(row["pid"]) for row in self.parts() if row["name"] == part)

    def parts(self) -> list[dict[str, Any]]:
        """The parts, by the runner's own file."""
        return list(json.loads((self.home / "run.json").read_text())["parts"])

    def query(self, kind: str, symbol: str, venue: str, start: str, end: str, **more: Any) -> pl.DataFrame:
        """A query's answer, straight from the store: the command `query` has tests of its own."""
        query = Query(kind, venue, (symbol,), parse_ns(start), parse_ns(end), **more)
        return read_hot(load(self.home), query)

    def stop(self) -> float:
        """Ctrl-C; returns the seconds it took to end."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(_STOP_S)
        if orphans(self.home / "run"):
            # A test killed the runner and failed before it ended what that left.
            self.run("down")
        return time.monotonic() - began
