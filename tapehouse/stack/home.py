"""The home folder of a platform on one machine: its lock, secrets, markers, and where each part keeps what.

    lock              held by the one runner: its pid and birth
    run.json          the parts and their states, for whoever asks
    connections.toml  addresses and passwords, read by tapehouse.settings
    ports.json        the ports chosen at the first start
    questdb.clean, questdb.unclean    how QuestDB was last stopped (cleanstop.py)
    secrets/          one generated password a file
    conf/ data/ logs/ run/    configurations, stores, logs and pid files of the parts

The folder is for its owner alone (0700), files with passwords are 0600.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from pathlib import Path
from typing import Self

from tapehouse.errors import HomeInUseError, StackError
from tapehouse.stack.identity import born, command_of


class Home:
    """The folder, made where missing.

    Raises StackError for a folder that holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._claim()
        for name in ("secrets", "conf", "data", "logs", "run"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)

    @property
    def run_file(self) -> Path:
        """Where the runner says what runs."""
        return self.folder / "run.json"

    def data(self, part: str) -> Path:
        """The folder of `part`'s store, made where missing."""
        return self._made("data", part)

    def conf(self, part: str) -> Path:
        """The folder of `part`'s configuration, made where missing."""
        return self._made("conf", part)

    def log(self, part: str) -> Path:
        """The file of `part`'s log."""
        return self.folder / "logs" / f"{part}.log"

    def pid_file(self, part: str) -> Path:
        """The file that names `part`'s process while it runs."""
        return self.folder / "run" / f"{part}.pid"

    def secret(self, name: str) -> str:
        """The password called `name`: 32 URL-safe characters, generated when first asked for."""
        path = self.folder / "secrets" / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text()

    def _made(self, kind: str, part: str) -> Path:
        folder = self.folder / kind / part
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _claim(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise StackError(f"home: expected a folder, was a file: {self.folder}") from None
        ours = (self.folder / "lock").exists()
        if not ours and any(self.folder.iterdir()):
            raise StackError(
                f"home: expected an empty or missing folder or one of Tapehouse's, was {self.folder}",
                remedy="Name another one with --home.",
                home=str(self.folder),
            )
        (self.folder / "lock").touch(mode=0o600)
        self.folder.chmod(0o700)


class Lock:
    """The right to run the parts of a home: one process has it, and loses it by ending, however it ends."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._fd = -1

    def __enter__(self) -> Self:
        """Take it.

        Raises HomeInUseError with the pid of the run that has it.
        """
        fd = os.open(self._home.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            pid = holder(self._home.folder)
            raise HomeInUseError(
                f"home: {self._home.folder} is in use by "
                + (f"pid {pid} ({command_of(pid)})" if pid else "a run that is just starting"),
                remedy="Stop that run with `tapehouse down`, or name another folder with --home.",
                pid=pid,
                home=str(self._home.folder),
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n{born(os.getpid())}\n".encode())
        self._fd = fd
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def holder(folder: Path) -> int | None:
    """The pid of the run that has the home `folder`; None when none runs."""
    try:
        pid, birth, *_ = (folder / "lock").read_text().split("\n")
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if born(int(pid)) == birth else None


def write_private(path: Path, text: str) -> None:
    """Put `text` into the file at once (a reader sees the old or the new, never a part), mode 0600."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    Path(name).replace(path)


def write_synced(path: Path, text: str) -> None:
    """Put `text` into the file so that it is there after a loss of power."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` (files made, removed) survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
