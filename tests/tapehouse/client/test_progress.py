"""The progress line of a long download: only on a terminal, after a second, removed at the end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import Any

import nbformat
from nbclient import NotebookClient

_DOWNLOAD = """
import time
from tapehouse.client.progress import DownloadProgress

with DownloadProgress("trades", {total}) as progress:
    progress.add(1000, 10**6)
    time.sleep({seconds})
    progress.add(2000, 2 * 10**6)
"""


def _said(seconds: float, total: int | None = None) -> str:
    """What a terminal shows."""
    ours, theirs = pty.openpty()
    code = _DOWNLOAD.format(seconds=seconds, total=total)
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=env) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 1000):
                said += piece
        except OSError:  # the far side is closed
            pass
        assert process.wait(30) == 0
    os.close(ours)
    return said.decode()


def test_a_download_of_more_than_a_second_is_shown() -> None:
    said = _said(1.1, 10_000)
    assert "trades" in said
    assert "3,000 rows, 3 MB" in said


def test_a_quick_download_shows_nothing() -> None:
    assert _said(0) == ""


def test_without_a_terminal_nothing_is_shown() -> None:
    code = _DOWNLOAD.format(seconds=1.1, total=None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_in_a_notebook_the_line_is_removed_at_the_end() -> None:
    said: list[tuple[str, str]] = []

    class Watching(NotebookClient):
        def process_message(self, msg: dict[str, Any], *more: Any) -> Any:
            if "display" in msg["msg_type"]:
                said.append((msg["msg_type"], msg["content"]["data"]["text/plain"]))
            return super().process_message(msg, *more)

    code = _DOWNLOAD.format(seconds=1.1, total=None)
    Watching(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), timeout=60).execute()
    assert said == [
        ("display_data", "trades"),
        ("update_display_data", "trades: 3,000 rows, 3 MB"),
        ("update_display_data", ""),
    ]
