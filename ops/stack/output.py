"""The log of a part: one file and its predecessor, both of bounded size."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

LIMIT = 8 * 2**20
_TAIL = 16 * 2**10


class Output:
    """The log file of a part; its processes write to it themselves, and go on when the runner is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    def open(self) -> BinaryIO:
        """The file to hand to a new process; `tail` shows what is written from here on."""
        self.bound()
        file = self.path.open("ab")
        self.path.chmod(0o600)
        self._start = file.tell()
        return file

    def bound(self) -> None:
        """Move what there is into `<name>.1` where it is over LIMIT bytes."""
        if self.path.exists() and self.path.stat().st_size > LIMIT:
            before = self.path.with_name(f"{self.path.name}.1")
            # Copied, not renamed: the process holds the file open for appending, and goes on at its new end.
            # On a full disk the copy fails; the log is truncated all the same.
            with contextlib.suppress(OSError):
                shutil.copyfile(self.path, before)
                before.chmod(0o600)
            os.truncate(self.path, 0)
            self._start = 0

    def tail(self, lines: int = 12) -> str:
        """The last lines written since `open`; empty where nothing was."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(min(self._start, size), size - _TAIL))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
