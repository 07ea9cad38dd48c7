"""A platform with the simulator and a day of history, and what the page of it does in Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tapehouse
from gateway.rest.page import BUILT
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.client.database import Database
from tapehouse.clock import MINUTE, now_ns
from tapehouse.model import GAPS
from tapehouse.settings import Settings, load
from tests.system.up import TAPEHOUSE, Up

_WEB = BUILT.parent
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_RATE = {
    "TAPEHOUSE_SIMULATOR__RATE": "500",
    "TAPEHOUSE_SIMULATOR__SYMBOLS": "12",
    "TAPEHOUSE_SIMULATOR__HISTORY_DAYS": "1",
}
_RUN_S = 600

IN_A_BROWSER = [
    pytest.mark.skipif(shutil.which("npm") is None, reason="Node and npm are not installed"),
    pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="the page is not built: `make setup`"),
    pytest.mark.skipif(_CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(_RUN_S + 120),
]
"""The marks of tests that use `Browsed`."""


class Browsed:
    """`up` with the simulator; ETHUSDT has a gap. Scenarios are those of gateway/web/tests/browser."""

    def __init__(self, home: Path) -> None:
        self.up = Up(home, feed="sim", **_RATE)
        try:
            _gap(load(home))
            with tapehouse.connect(home=home) as db:
                self.up.until(lambda: _minutes(db) > 170, "the history", 120)
        except BaseException:
            self.stop()
            raise

    def see(self, topic: str, folder: Path, **more: str) -> None:
        """Run the scenarios of a topic, expect all to pass; pictures go to PAGE_PICTURES, else to `folder`.

        `more` is passed on, such as RATE as PAGE_RATE.
        """
        given = {
            "URL": load(self.up.home).gateway.url,
            "CHROMIUM": str(_CHROMIUM),
            "PICTURES": os.environ.get("PAGE_PICTURES", str(folder)),
            "GATEWAY_PID": str(self.up.pid("gateway")),
            "TAPEHOUSE": TAPEHOUSE,
            **more,
        }
        said = folder / f"{topic}.log"
        with said.open("wb") as log:
            # A session of its own: Chromium is to end with what started it.
            browser = subprocess.Popen(
                ["npm", "run", "--silent", "browser", "--", f"{topic}.browser.ts"],
                cwd=_WEB,
                env={**self.up.env, **{f"PAGE_{name}": value for name, value in given.items()}},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            status = browser.wait(_RUN_S)
        except subprocess.TimeoutExpired:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            pytest.fail(f"waited {_RUN_S} s for the browser\n{said.read_text()[-8_000:]}")
        assert status == 0, said.read_text()[-8_000:]
        sys.stdout.write(said.read_text())

    def stop(self) -> None:
        """Stop the platform."""
        self.up.stop()


def _gap(settings: Settings) -> None:
    """A gap of ETHUSDT, four minutes ago."""
    start = now_ns() - 4 * MINUTE
    columns: dict[str, np.ndarray | Strings | Lists] = {
        "ts_event": np.array([start]),
        "ts_recv": np.array([start]),
        "symbol": Strings.constant("ETHUSDT", 1),
        "seq": np.array([5]),
        "kind": Strings.constant("trades", 1),
        "ts_end": np.array([start + MINUTE]),
        "seq_last": np.array([124]),
        "missing": np.array([120]),
        "closed": np.array([False]),
        "reason": Strings.constant("connection lost", 1),
    }
    writer = QuestDBWriter(settings.questdb)
    try:
        assert writer.commit([Batch(GAPS, "sim", 1, columns)]) == []
    finally:
        writer.close()


def _minutes(db: Database) -> int:
    """How many minutes of the last three hours have bars."""
    stored = db.catalog("trades", venue="sim")
    return db.bars("BTCUSDT", "1m", "-3h", venue="sim").height if "BTCUSDT" in stored["symbol"] else 0
