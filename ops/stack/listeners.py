"""Who listens on a port, and whether anyone does."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tapehouse.identity import command_of
from tapehouse.settings import LOOPBACK

_LISTEN = "0A"


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        # Otherwise a port with connections in TIME_WAIT would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """The process that listens on `port`, as text for people."""
    wanted = {f"socket:[{inode}]" for inode in _listeners(port)}
    for folder in Path("/proc").glob("[0-9]*"):
        if wanted & _open_files(folder / "fd"):
            return f"pid {folder.name} ({command_of(int(folder.name))})"
    return "a process that /proc does not show"


def _open_files(folder: Path) -> set[str]:
    """What a process has open now; empty if it has ended or belongs to another user."""
    found = set()
    try:
        for fd in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                found.add(str(fd.readlink()))
    except OSError:
        return set()
    return found


def _listeners(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
