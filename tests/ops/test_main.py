"""Ctrl-C at any moment of a command's start is no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

# Runs the command in the first argument; the signal comes when the module in the second is imported.
_INTERRUPTED = """
import builtins, os, signal, sys
import ops.__main__
module = sys.argv.pop()
real = builtins.__import__
def importing(name, *rest):
    if name == module:
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest)
builtins.__import__ = importing
ops.__main__.start()
"""


def _interrupted_at(module: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", _INTERRUPTED, "doctor", module]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_ctrl_c_while_the_program_is_imported_ends_it_in_silence() -> None:
    done = _interrupted_at("click")
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_ctrl_c_in_a_command_is_one_word() -> None:
    done = _interrupted_at("importlib.metadata")
    assert (done.returncode, done.stderr) == (130, "\ninterrupted\n")
