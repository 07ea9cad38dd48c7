"""A platform to measure: `tapehouse up` in a temporary home, and what its processes use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tapehouse.settings import Settings, load
from tapehouse.stack import view

DATA = Path(__file__).parents[2] / "shared" / "data"
SPY = DATA / "us_equities_2013" / "spy_trades.parquet"
_TICK = os.sysconf("SC_CLK_TCK")
_READY_S = 120


@dataclass(frozen=True)
class Stand:
    """A platform that is ready."""

    home: Path
    settings: Settings

    def pid(self, part: str) -> int:
        """The process of a part."""
        return next(found.pid for found in view.read(self.home).parts if found.name == part and found.pid)

    def cpu_s(self, part: str) -> float:
        """Seconds of a core that a part has used."""
        return cpu_s(self.pid(part))

    def peak_mb(self, part: str) -> int:
        """The most memory that a part has held."""
        return peak_mb(self.pid(part))


def cpu_s(pid: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_mb(pid: int) -> int:
    """The most memory that a process has held, in MB."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024 // 1_000_000


@contextmanager
def stand() -> Iterator[Stand]:
    """Start a platform without a feed, and stop it."""
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder:
        home = Path(folder) / "home"
        tapehouse = str(Path(sys.executable).with_name("tapehouse"))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [tapehouse, "up", "--feed", "none", "--home", str(home)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + _READY_S
            while not _ready(home):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(
                        "bench: the platform does not start:\n" + (Path(folder) / "log").read_text()[-2000:]
                    )
                time.sleep(0.1)
            yield Stand(home, load(home))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _ready(home: Path) -> bool:
    if not (home / "run.json").exists():
        return False
    parts = view.read(home).parts
    return len(parts) == 4 and all(part.state == "ready" for part in parts)
