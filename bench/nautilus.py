"""An interpreter with nautilus_trader, which pip installs in a folder of its own in the temporary directory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path


class MissingError(Exception):
    """nautilus_trader cannot be installed; the message says why."""


def folder() -> Path:
    """Where it is, and where its inputs may be written."""
    return Path(tempfile.gettempdir()) / f"tapehouse-bench-{os.getuid()}"


def last_line(script: str, *arguments: str) -> str:
    """The last line that a script of this folder prints. Raises MissingError if nautilus_trader cannot be installed."""
    return run(str(_python()), str(Path(__file__).with_name(script)), *arguments)


def run(*command: str) -> str:
    """The last line that a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("\n")[-1]


def _python() -> Path:
    place = folder()
    python = place / "nautilus" / "bin" / "python"
    if not (place / "installed").exists():
        place.mkdir(mode=0o700, exist_ok=True)
        try:
            run(sys.executable, "-m", "venv", "--clear", str(place / "nautilus"))
            run(str(python), "-m", "pip", "install", "--quiet", "nautilus_trader")
        except subprocess.CalledProcessError as reason:
            said = reason.stderr.strip().splitlines()[-1:]
            raise MissingError(f"nautilus_trader cannot be installed: {said}") from None
        (place / "installed").touch()
    return python
