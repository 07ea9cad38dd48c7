"""What is behind the feed is slow, full or stopped: the feed waits, says so, and catches up by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.stack.home import Home
from tapehouse.settings import load
from tapehouse.stores.questdb import QuestReader
from tests.system.up import Up

_SPARE_MB = 150
"""How much more a process may hold while it waits: bounds of queues, not of what waits behind them."""
_LATE_S = 3
_DISK = 2**30
_KEPT = 32 * 2**20


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose stores are small disks of their own, where mounting is permitted."""
    home = Home(tmp_path_factory.mktemp("pressure") / "home")
    mounted: list[Path] = []
    for part in ("nats", "questdb"):
        folder = home.data(part)
        folder.mkdir(parents=True, exist_ok=True)
        words = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=700", "tmpfs", str(folder)]
        try:
            done = subprocess.run(words, capture_output=True, check=False).returncode == 0
        except OSError:
            done = False
        if done:
            mounted.append(folder)
    yield home.folder
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def pressed(home: Path) -> Iterator[Up]:
    platform = Up(
        home,
        feed="sim",
        TAPEHOUSE_SIMULATOR__RATE="10000",
        TAPEHOUSE_SIMULATOR__SYMBOLS="20",
        TAPEHOUSE_NATS__STREAM_MAX_BYTES=str(2**20),
        TAPEHOUSE_NATS__KEEP_FREE_BYTES=str(_KEPT),
        TAPEHOUSE_WRITER__REPLAY_MARGIN_S="0",
    )
    yield platform
    platform.stop()


def _said(up: Up) -> dict[str, str]:
    """What each role says: its state and why."""
    return {role["role"]: f"{role['state']} {role['detail']}" for role in up.status()["roles"]}


def _own_mb(up: Up) -> dict[str, int]:
    """What each process holds for itself."""
    held = {}
    for part in up.parts():
        lines = Path(f"/proc/{part['pid']}/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("RssAnon:"))
        held[part["name"]] = int(line.split()[1]) // 1024
    return held


def _rows(up: Up) -> int:
    with QuestReader(load(up.home).questdb) as reader:
        return int(reader.fetch("SELECT count() FROM trades")[0][0])


def _assert_well(up: Up, before: dict[str, int], besides: str = "") -> None:
    """All is ready again, nothing (`besides` one part) was started again, no memory was filled, and every tick
    is there once."""
    up.until(lambda: up.status()["ready"], "every part to be ready again", 120)
    more = _rows(up)
    up.until(lambda: _rows(up) > more, "more rows", 60)
    assert {part["name"] for part in up.parts() if part["restarts"]} <= {besides}
    after = _own_mb(up)
    assert {name: mb for name, mb in after.items() if mb > before[name] + _SPARE_MB} == {}
    with QuestReader(load(up.home).questdb) as reader:
        lasts = reader.fetch("SELECT symbol, max(seq) FROM trades WHERE venue = 'sim'")
        time.sleep(_LATE_S)
        for symbol, last in lasts:
            found = reader.fetch(
                "SELECT count(), count_distinct(seq) FROM trades WHERE symbol = %s AND seq <= %s",
                [symbol, last],
            )
            assert found == [(last, last)], symbol


def _warm(up: Up) -> dict[str, int]:
    up.until(lambda: _rows(up) > 30_000, "30,000 rows", 60)
    return _own_mb(up)


@contextmanager
def _filled(folder: Path, left: int) -> Iterator[None]:
    """The disk of `folder` with only `left` bytes free."""
    if not os.path.ismount(folder):
        pytest.skip("a small disk cannot be mounted here")
    file = folder / "filler"
    try:
        with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            # Step by step: others write to it too.
            while (free := os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize) > left:
                size = filler.seek(0, os.SEEK_END)
                os.posix_fallocate(filler.fileno(), size, min(free - left, 2**24))
        yield
    finally:
        file.unlink()


@pytest.mark.long
def test_questdb_stopped_and_the_stream_full(pressed: Up) -> None:
    before = _warm(pressed)
    questdb = pressed.pid("questdb")
    os.kill(questdb, signal.SIGSTOP)
    try:

        def told() -> bool:
            said = _said(pressed)
            return said["feed"].startswith("waiting the stream is full") and said["writer"].startswith(
                "waiting questdb: no answer"
            )

        pressed.until(told, "feed and writer to say why they wait", 60)
        pressed.until(
            lambda: "last report was waiting the stream is full" in pressed.log.read_text(), "the board", 60
        )
    finally:
        os.kill(questdb, signal.SIGCONT)
    _assert_well(pressed, before)


@pytest.mark.long
def test_the_disk_of_nats_nearly_full(pressed: Up, home: Path) -> None:
    before = _warm(pressed)
    questdb = pressed.pid("questdb")
    with _filled(Home(home).data("nats"), _KEPT // 2):
        pressed.until(lambda: "feeds wait" in _said(pressed)["disk"], "the disk to be seen", 60)
        os.kill(questdb, signal.SIGSTOP)
        try:
            full = "waiting the stream is full"
            pressed.until(lambda: _said(pressed)["feed"].startswith(full), "the feed to wait", 60)
        finally:
            os.kill(questdb, signal.SIGCONT)
    _assert_well(pressed, before)


@pytest.mark.long
def test_the_disk_of_questdb_full(pressed: Up, home: Path, tmp_path: Path) -> None:
    """QuestDB suspends the table, or its process ends where a page it has mapped finds no room: both are met."""
    before = _warm(pressed)
    file = tmp_path / "old.csv"
    # A day each: a new partition wants new room.
    rows = [f"2024-01-{1 + row % 28:02d}T00:00:{row // 28:02d}Z,A,100,1" for row in range(28 * 20)]
    file.write_text("\n".join(["ts_event,symbol,price,size", *sorted(rows)]) + "\n")
    with _filled(Home(home).data("questdb"), 0):
        ingest = pressed.start("ingest", str(file), "--venue", "old")
        pressed.until(
            lambda: _said(pressed)["writer"].startswith("waiting questdb"), "the writer to wait", 60
        )
    said, _ = ingest.communicate(timeout=180)
    assert ingest.returncode == 0, said.decode()
    assert pressed.query("trades", "A", "old", "2024-01-01", "2024-02-01").height == len(rows)
    _assert_well(pressed, before, besides="questdb")
