"""The page in the user's browser: opened by what the system names, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ops.stack.browser import has_desktop

_URL = "http://127.0.0.1:8000/chart/sim/BTCUSDT?interval=5m"


def _opened(environment: dict[str, str]) -> str:
    # A process of its own: Python looks for browsers once.
    text = f"from ops.stack.browser import open_page; print(open_page({_URL!r}))"
    return subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_the_browser_of_the_environment_gets_the_address(tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o700)
    assert _opened({"BROWSER": f"{browser} %s"}) == "True"
    assert opened.read_text() == _URL


def test_without_a_desktop_no_browser_takes_the_terminal() -> None:
    assert _opened({"PATH": "/usr/bin:/bin", "TERM": "xterm"}) == "False"


@pytest.mark.parametrize(
    ("platform", "environment", "known"),
    [("linux", {}, False), ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True), ("darwin", {}, True)],
)
def test_a_desktop_is_known_by_the_system_and_its_variables(
    platform: str, environment: dict[str, str], known: bool
) -> None:
    assert has_desktop(platform, environment) is known
