"""A command in a process of its own that is killed or paused at an exact place in the mirror's work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.system.mirrored import ENV, Mirrored

_CODE = """
import os, signal
from analytics.mirror.{module} import {owner}
from ops.cli.main import main
done = {owner}.{name}
left = [{turn}]

def struck(*words, **named):
    left[0] -= 1
    if left[0] == 0 and {before}:
        os.kill(os.getpid(), signal.{signal})
    answer = done(*words, **named)
    if left[0] == 0 and not {before}:
        os.kill(os.getpid(), signal.{signal})
    return answer

{owner}.{name} = struck
main()
"""
REPLACE = ("cold_store", "ColdStore", "replace_day")
RECORD = ("ledger", "Ledger", "put")


def struck(
    platform: Mirrored,
    place: tuple[str, str, str],
    turn: int,
    *words: str,
    before: bool = True,
    signal: str = "SIGKILL",
) -> subprocess.Popen[str]:
    """Start a command that sends itself a signal before (or after) its `turn`-th call of a method."""
    module, owner, name = place
    code = _CODE.format(module=module, owner=owner, name=name, turn=turn, before=before, signal=signal)
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **ENV, "TAPEHOUSE_HOME": str(platform.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_paused(process: subprocess.Popen[str]) -> bool:
    """Whether a process was stopped by SIGSTOP; an assertion fails where it has ended."""
    assert process.poll() is None, process.communicate()[0]
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
