"""The home folder: its lock, its secrets, and who may read them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack.home import Home, Lock, write_private, write_synced
from tapehouse.errors import HomeInUseError, StackError
from tapehouse.identity import running_pid


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_run_is_refused_with_the_pid_of_the_first(home: Home) -> None:
    with Lock(home), pytest.raises(HomeInUseError) as refused, Lock(home):
        pass
    assert refused.value.fields["pid"] == os.getpid()
    assert str(os.getpid()) in refused.value.message
    assert "tapehouse down" in refused.value.remedy


def test_the_lock_is_lost_with_the_process_however_it_ends(home: Home) -> None:
    code = f"""
import os, pathlib, signal
from ops.stack.home import Home, Lock
with Lock(Home(pathlib.Path({str(home.folder)!r}))):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert running_pid(home.folder) is None
    with Lock(home):
        assert running_pid(home.folder) == os.getpid()
    assert running_pid(home.folder) is None


def test_a_number_given_to_another_process_holds_no_home(home: Home) -> None:
    (home.folder / "lock").write_text(f"{os.getpid()}\nanother boot:1\n")
    assert running_pid(home.folder) is None


def test_nobody_holds_a_home_that_never_was(tmp_path: Path) -> None:
    assert running_pid(tmp_path / "nowhere") is None


def test_the_folder_and_its_secrets_are_for_the_owner_alone(home: Home) -> None:
    password = home.secret("questdb-admin")
    assert len(password) == 32
    assert _mode(home.folder) == 0o700
    assert {_mode(path) for path in home.folder.rglob("*") if path.is_dir()} == {0o700}
    assert {_mode(path) for path in home.folder.rglob("*") if path.is_file()} == {0o600}


def test_a_secret_stays_and_differs_from_others(home: Home) -> None:
    assert home.secret("a") == Home(home.folder).secret("a") != home.secret("b")


def test_a_folder_that_holds_something_else_is_refused_untouched(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StackError, match="expected an empty or missing folder"):
        Home(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert _mode(tmp_path) == 0o755


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match="was a file"):
        Home(tmp_path / "file")


def test_a_folder_that_cannot_be_written_to_is_one_line() -> None:
    # Nobody may create a folder there, whoever runs the tests.
    with pytest.raises(
        StackError, match=r"^home: expected a folder to write to at /proc/home, was not: .*\nName another"
    ):
        Home(Path("/proc/home"))


def test_what_could_not_be_written_leaves_the_old_text_and_nothing_beside_it(tmp_path: Path) -> None:
    write_private(tmp_path / "private", "old")
    with pytest.raises(OSError, match="File too large"), _largest_file(4096):
        write_private(tmp_path / "private", "x" * 100_000)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"private": "old"}


@contextlib.contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """Files can have no more bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_files_are_replaced_whole_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    for text in ("a longer text", "short"):
        write_private(tmp_path / "private", text)
        write_synced(tmp_path / "synced", text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "private": "short",
        "synced": "short",
    }
    assert _mode(tmp_path / "private") == _mode(tmp_path / "synced") == 0o600
