"""The home folder of a platform on one machine: its lock, secrets, markers, and the folders of the parts.

    lock              locked by the one runner: its pid and start time
    run.json          the parts and their states, for other processes
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

from ops.stack.port_locks import PortLocks
from tapehouse.errors import HomeInUseError, StackError
from tapehouse.identity import born, command_of, running_pid


class Home:
    """The folder, created if missing.

    Raises StackError for a folder with other contents, or one that cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.port_locks = PortLocks()
        """The ports chosen for this home, as long as this object lives."""
        try:
            self._claim()
            for name in ("secrets", "conf", "data", "logs", "run"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as reason:
            raise StackError(
                f"home: expected a folder to write to at {self.folder}, was not: {reason.strerror}",
                remedy="Name another one with --home.",
                home=str(self.folder),
            ) from reason

    @property
    def run_file(self) -> Path:
        """The file in which the runner publishes the states of the parts."""
        return self.folder / "run.json"

    def data(self, part: str) -> Path:
        """The data folder of `part`, created if missing."""
        return self._made("data", part)

    def conf(self, part: str) -> Path:
        """The configuration folder of `part`, created if missing."""
        return self._made("conf", part)

    def log(self, part: str) -> Path:
        """The log file of `part`."""
        return self.folder / "logs" / f"{part}.log"

    def pid_file(self, part: str) -> Path:
        """The file that names `part`'s process while it runs."""
        return self.folder / "run" / f"{part}.pid"

    def secret(self, name: str) -> str:
        """The password called `name`: 32 URL-safe characters, generated at the first use."""
        return self.secret_file(name).read_text()

    def secret_file(self, name: str) -> Path:
        """The file of that password."""
        path = self.folder / "secrets" / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path

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
    """The exclusive lock of a home; the kernel releases it when the process ends, also after a crash."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._fd = -1

    def __enter__(self) -> Self:
        """Acquire the lock.

        Raises HomeInUseError with the pid of the run that has it.
        """
        fd = os.open(self._home.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            pid = running_pid(self._home.folder)
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
        """Release the lock."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


def write_private(path: Path, text: str) -> None:
    """Replace the file atomically (readers see the old or the new text), mode 0600."""
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        # On a full disk each try would leave another one.
        Path(name).unlink(missing_ok=True)
        raise


def write_synced(path: Path, text: str) -> None:
    """Write the file and sync it and its folder, so that it survives a loss of power."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that created and removed names survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
