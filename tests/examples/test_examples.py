"""The examples run unchanged on a platform with the simulated venue."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.up import TAPEHOUSE, Up

_FOLDER = Path(__file__).parents[2] / "examples"
_CAPTURE = _FOLDER / "data" / "binance_spot.jsonl"
_START_S = 30
_EXPECTED = {
    # Others read what this one stores.
    "ingest_csv.py": "shape: (125, 12)",
    "ingest_capture.py": "shape: (34, 12)",
    "first_frame.py": "shape: (5, 12)",
    "plot_bars.py": " to ",
    "order_book.py": "within_spread",
    "asof_join.py": "lag",
    "spreads.py": "basis_points",
    "vwap.py": "bought",
    "live_bars.py": " trades",
    "rankings.py": "turnover",
}
"""By example: a text of its output."""
_ARGUMENTS = {"live_bars.py": ["3"]}


def _done(platform: Up, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(_FOLDER / name), *arguments],
        env={**platform.env, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _run(platform: Up, name: str, *arguments: str) -> str:
    done = _done(platform, name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", _EXPECTED)
def test_an_example_runs(simulated: Up, name: str) -> None:
    assert _EXPECTED[name] in _run(simulated, name, *_ARGUMENTS.get(name, []))


def test_plotted_bars_are_written_to_a_file(simulated: Up, tmp_path: Path) -> None:
    _run(simulated, "plot_bars.py", str(tmp_path / "bars.csv"))
    assert (tmp_path / "bars.csv").read_text().startswith("ts,venue,symbol,open")


@pytest.fixture
def replayed(simulated: Up) -> Iterator[dict[str, str]]:
    """The capture served as a venue called LOCAL; yields the environment that leads a feed to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [TAPEHOUSE, "run", f"replay:{_CAPTURE}"],
        env={**simulated.env, "TAPEHOUSE_REPLAY__PORT": str(port), "TAPEHOUSE_REPLAY__SPEED": "max"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_S
        while not _listens(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        base = f"127.0.0.1:{port}/binance_spot"
        venue = {"protocol": "binance_spot", "socket": f"ws://{base}", "rest": f"http://{base}", "pace": 0}
        yield {"TAPEHOUSE_VENUES": json.dumps({"LOCAL": venue})}
    finally:
        server.terminate()
        server.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_venue_feed_stores_trades(simulated: Up, replayed: dict[str, str]) -> None:
    # On a busy machine the feed may not be connected when its first seconds are over: then nothing is stored.
    for seconds in ("6", "30"):
        done = _done(simulated, "venue_feed.py", "LOCAL", "BTCUSDT", seconds, **replayed)
        if "shape: (10, 12)" in done.stdout:
            break
    assert "shape: (10, 12)" in done.stdout, done.stderr


def test_every_example_is_run_and_listed() -> None:
    names = {path.name for path in _FOLDER.glob("*.py")}
    assert names == {*_EXPECTED, "venue_feed.py"}
    listed = (_FOLDER / "README.md").read_text()
    assert all(f"`{name}`" in listed for name in names)
