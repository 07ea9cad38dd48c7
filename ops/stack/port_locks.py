"""Locks of chosen ports, so that two runs never choose the same one before either has bound it."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

from tapehouse.errors import StackError
from tapehouse.identity import command_of


class PortLocks:
    """The ports that a run of this user has chosen: one locked file each, shared by all runs of the user.

    They are released with this object, and by the kernel when the process ends.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is created when the first port is taken  [default: one a user in the folder of temporary files]."""
        self._folder = folder or Path(tempfile.gettempdir()) / f"tapehouse-ports-{os.getuid()}"
        self._files: dict[int, int] = {}
        weakref.finalize(self, _close_all, self._files)

    def take(self, port: int) -> bool:
        """Lock the port; False if another run has it. A port that this object has is taken already."""
        if port in self._files:
            return True
        fd = os.open(
            self._claimed() / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        self._files[port] = fd
        return True

    def release(self, port: int) -> None:
        """Unlock a port that was taken."""
        os.close(self._files.pop(port))

    def other_owner(self, port: int) -> str:
        """The process of another run that has the port, as text for people; empty if none has."""
        if port in self._files:
            return ""
        if self.take(port):
            self.release(port)
            return ""
        pid = (self._folder / str(port)).read_text()
        return f"pid {pid} ({command_of(int(pid))})" if pid.isdecimal() else "a run that is just starting"

    def _claimed(self) -> Path:
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise StackError(
                f"ports: expected a folder of this user at {self._folder}, was another's or a file",
                remedy="Remove it, or set TMPDIR to a folder of your own.",
            )
        return self._folder


def _close_all(files: dict[int, int]) -> None:
    for fd in files.values():
        os.close(fd)
