"""The page in Chromium, before a platform with the simulator: see gateway/web/tests/browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tapehouse
from gateway.rest.page import BUILT
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Strings
from tapehouse.client.database import Database
from tapehouse.clock import MINUTE, now_ns
from tapehouse.model import GAPS
from tapehouse.settings import Settings, load
from tests.system.up import Up

_WEB = BUILT.parent
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_RATE = {
    "TAPEHOUSE_SIMULATOR__RATE": "500",
    "TAPEHOUSE_SIMULATOR__SYMBOLS": "12",
    "TAPEHOUSE_SIMULATOR__HISTORY_DAYS": "1",
}
_RUN_S = 600


def _gap(settings: Settings) -> None:
    """A gap of ETHUSDT, four minutes ago."""
    start = now_ns() - 4 * MINUTE
    columns = {
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


@pytest.mark.skipif(shutil.which("npm") is None, reason="Node and npm are not installed")
@pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="the page is not built: `make setup`")
@pytest.mark.skipif(_CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.timeout(_RUN_S + 120)
def test_the_page_does_in_a_browser_what_it_should(tmp_path: Path, starts: Callable[..., Up]) -> None:
    up = starts(tmp_path / "home", feed="sim", **_RATE)
    _gap(load(up.home))
    with tapehouse.connect(home=up.home) as db:
        up.until(lambda: _minutes(db) > 170, "the history", 120)
    given = {
        "PAGE_URL": load(up.home).gateway.url,
        "PAGE_CHROMIUM": str(_CHROMIUM),
        "PAGE_PICTURES": os.environ.get("PAGE_PICTURES", str(tmp_path)),
        "PAGE_GATEWAY_PID": str(up.pid("gateway")),
    }
    said = tmp_path / "browser.log"
    with said.open("wb") as log:
        # A session of its own: Chromium is to end with what started it.
        browser = subprocess.Popen(
            ["npm", "run", "--silent", "browser"], cwd=_WEB, env={**os.environ, **given},
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        status = browser.wait(_RUN_S)
    except subprocess.TimeoutExpired:
        os.killpg(browser.pid, signal.SIGKILL)
        browser.wait()
        pytest.fail(f"waited {_RUN_S} s for the browser\n{said.read_text()[-8_000:]}")
    assert status == 0, said.read_text()[-8_000:]
