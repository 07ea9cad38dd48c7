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
from urllib.parse import urlsplit

from ops.stack import view
from ops.stack.part import PartView
from tapehouse.settings import Settings, load

DATA = Path(__file__).parents[2] / "shared" / "data"
SPY = DATA / "us_equities_2013" / "spy_trades.parquet"
TRADES_ALONE = {"TAPEHOUSE_SIMULATOR__QUOTES_RATE": "0", "TAPEHOUSE_SIMULATOR__DEPTH_RATE": "0"}
"""Settings of a simulated venue without quotes and books."""
_TICK = os.sysconf("SC_CLK_TCK")
_READY_S = 120


@dataclass(frozen=True)
class Stand:
    """A platform that is ready."""

    home: Path
    settings: Settings

    def parts(self) -> tuple[PartView, ...]:
        """All parts as they are now."""
        return view.read(self.home).parts

    def pid(self, part: str) -> int:
        """The process of a part."""
        return next(found.pid for found in self.parts() if found.name == part and found.pid)

    def gateway_port(self) -> int:
        """Where the gateway answers."""
        return urlsplit(self.settings.gateway.url).port or 0

    def cpu_s(self, part: str) -> float:
        """Seconds of a core that a part has used."""
        return cpu_s(self.pid(part))

    def peak_mb(self, part: str) -> int:
        """The most memory that a part has held."""
        return peak_mb(self.pid(part))


def ingested(platform: Stand, file: Path, symbol: str, *words: str) -> None:
    """Bring a file of trades of the consolidated tape into the platform."""
    if not file.exists():
        sys.exit(f"bench: expected {file}")
    tapehouse(
        platform, "ingest", str(file), "--venue", "CTA", "--symbol", symbol, "--map", "exchange=venue", *words
    )


def tapehouse(platform: Stand, *words: str) -> None:
    """Run a command for the platform."""
    program = str(Path(sys.executable).with_name("tapehouse"))
    subprocess.run([program, *words, "--home", str(platform.home)], check=True, capture_output=True)


def cpu_s(pid: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def peak_mb(pid: int) -> int:
    """The most memory that a process has held, in MB."""
    return _mb(pid, "VmHWM")


def own_mb(pid: int) -> int:
    """The memory that a process has for itself now, without files that it maps, in MB."""
    return _mb(pid, "RssAnon")


def _mb(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 // 1_000_000


@contextmanager
def stand(feed: str = "none", **settings: str) -> Iterator[Stand]:
    """Start a platform with a feed and settings in the environment, and stop it."""
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder:
        home = Path(folder) / "home"
        tapehouse = str(Path(sys.executable).with_name("tapehouse"))
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [tapehouse, "up", "--feed", feed, "--home", str(home)],
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + _READY_S
            while not _ready(home, feed):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(
                        "bench: the platform does not start:\n" + (Path(folder) / "log").read_text()[-2000:]
                    )
                time.sleep(0.1)
            yield Stand(home, load(home))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _ready(home: Path, feed: str) -> bool:
    if not (home / "run.json").exists():
        return False
    parts = view.read(home).parts
    last = "writer" if feed == "none" else feed
    return last in {part.name for part in parts} and all(part.state == "ready" for part in parts)
