"""What servers give up, as root and as another user."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NOBODY = 65534
# Becomes another user only where this one is root; /proc is then this process's own again, as for a started program.
_AS = """
import ctypes, os, sys
from pathlib import Path
from ops.stack import privileges
user, folder = int(sys.argv[1]), Path(sys.argv[2])
if user != os.getuid():
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
def capabilities():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {int(line.split()[1], 16) for line in lines if line.startswith("Cap") and "Bnd" not in line}
"""


@pytest.fixture(params=["this user", "another user"])
def user(request: pytest.FixtureRequest) -> int:
    """The user of the tests, and nobody where that is root."""
    if request.param == "this user":
        return os.getuid()
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    return _NOBODY


@pytest.fixture
def folder(user: int) -> Iterator[Path]:
    """An empty folder of the user."""
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, user, user if user == _NOBODY else -1)
        yield Path(made)


def _run(code: str, user: int, folder: Path) -> str:
    """What code prints that runs as a user, and names the folder."""
    command = [sys.executable, "-I", "-c", _AS + code, str(user), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_capability_is_left_nor_comes_back_with_another_program(user: int, folder: Path) -> None:
    printed = _run(
        """
privileges.drop_capabilities([folder])
print(capabilities(), flush=True)
os.execv("/bin/grep", ["grep", "-c", "CapEff:.*[1-9a-f]", "/proc/self/status"]) if os.fork() == 0 else os.wait()
""",
        user,
        folder,
    )
    assert printed.split() == ["{0}", "0"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root has capabilities to give up")
def test_root_still_reaches_a_folder_of_another_user_that_it_needs(tmp_path: Path) -> None:
    needed = tmp_path / "theirs"
    needed.mkdir(mode=0o700)
    os.chown(needed, _NOBODY, _NOBODY)
    printed = _run(
        """
privileges.drop_capabilities([folder / "theirs"])
print(capabilities(), os.listdir(folder / "theirs"))
""",
        0,
        tmp_path,
    )
    assert printed == "{0, 2} []\n"


def test_of_proc_only_what_is_shown_is_left_and_for_this_process_alone(user: int, folder: Path) -> None:
    printed = _run(
        """
hidden = privileges.hide_processes(("statm",), folder)
print(hidden, os.listdir("/proc"), os.listdir("/proc/self"), Path("/proc/self/statm").read_text().count(" "))
""",
        user,
        folder,
    )
    if printed.startswith("False"):
        pytest.skip("this kernel lets this user have no mounts of its own")
    assert printed == "True ['self'] ['statm'] 6\n"
    assert str(os.getpid()) in os.listdir("/proc")


def test_servers_have_no_capabilities_and_no_password_in_their_environment(platform: Any) -> None:
    passwords = {path.read_text() for path in (platform.home.folder / "secrets").iterdir()}
    assert len(passwords) > 5
    for name in ("nats", "questdb", "clickhouse"):
        process = Path("/proc") / platform.home.pid_file(name).read_text().split()[0]
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        given = {status[kind].strip() for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")}
        assert given == {"0" * 16}, name
        shown = (process / "environ").read_text() + (process / "cmdline").read_text()
        assert not [password for password in passwords if password in shown], name
