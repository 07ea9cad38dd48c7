"""Telling a process from another that got its number."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from tapehouse.identity import birth, born, command_of


def test_a_living_process_has_one_birth_and_an_ended_one_none() -> None:
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    at = born(child.pid)
    assert at
    assert at == born(child.pid)
    assert "input()" in command_of(child.pid)
    child.communicate(b"\n")
    assert born(child.pid) is None
    assert command_of(child.pid) == ""


def test_a_zombie_has_ended() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert born(child) is None
    os.waitpid(child, 0)


@given(st.text(min_size=1, max_size=15))
def test_no_program_name_misleads(name: str) -> None:
    fields = ["S", *map(str, range(1, 50))]
    assert birth("boot\n", f"17 ({name}) {' '.join(fields)}") == "boot:19"
