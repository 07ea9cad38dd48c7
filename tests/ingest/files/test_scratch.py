"""Temporary folders of imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ingest.files.scratch import scratch_folder


def test_a_folder_is_removed_at_its_end_and_those_of_killed_processes_at_the_next(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, signal\nfrom ingest.files.scratch import scratch_folder\n"
        f"with scratch_folder(pathlib.Path({str(tmp_path)!r})) as folder:\n"
        "    (folder / 'run').touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    (left,) = tmp_path.iterdir()
    with scratch_folder(tmp_path) as mine, scratch_folder(tmp_path) as second:
        assert not left.exists()
        assert {mine, second} == set(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
