"""Temporary folders of imports, which do not outlive their process for long."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tapehouse.identity import born

_PREFIX = "ingest-"


@contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """Context manager of a temporary folder in `parent`, None: where the system keeps such.

    Those that killed processes have left in `parent` are removed first.
    """
    for left in parent.glob(f"{_PREFIX}*-*") if parent is not None else ():
        if not _runs(left.name.removeprefix(_PREFIX).partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent) as folder:
        yield Path(folder)


def _runs(pid: str) -> bool:
    """Whether a process with this number runs; True where it is no number."""
    return not pid.isdecimal() or born(int(pid)) is not None
