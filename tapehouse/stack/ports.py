"""Ports on loopback: chosen once, remembered in the home, and named with their taker when they are taken."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

import structlog

from tapehouse.errors import StackError
from tapehouse.stack.home import Home, write_private
from tapehouse.stack.identity import command_of

LOOPBACK = "127.0.0.1"
_TRIES = 200
_LISTEN = "0A"
_LOWEST = 10_000
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUALLY_GIVEN = 32_768


class Ports:
    """The ports of a home's parts; `asked` are those that the user insists on, 0 for any free one."""

    def __init__(self, home: Home, asked: Mapping[str, int] | None = None) -> None:
        self._path = home.folder / "ports.json"
        self._asked = dict(asked or {})
        self.chosen: dict[str, int] = {}
        """By port name: what `take` gave."""
        self._log = structlog.get_logger()
        self._remembered: dict[str, int] = {}
        if self._path.exists():
            self._remembered = json.loads(self._path.read_text())
        self.notes: dict[str, str] = {}
        """By port name: why it is another than last time or than usual."""

    def take(self, name: str, usual: int) -> int:
        """The port for `name`: the one asked for, else the one of last time, else `usual` or the next free.

        Raises StackError naming the taker where the one asked for, or every one tried, is taken.
        """
        asked = self._asked.get(name)
        first = asked or self._remembered.get(name, usual)
        if asked == 0:
            last = self._remembered.get(name)
            port = last if last and self._free(last) else self._any_free(name)
        elif self._free(first):
            port = first
        else:
            taken = f"port {first} ({name}) is taken by {_taker(first)}"
            if asked is not None:
                raise StackError(
                    taken, remedy="Free the port, or ask for another or none.", port=first, name=name
                )
            port = self._next_free(first, taken)
            self.notes[name] = f"{taken}; using {port}"
            self._log.warning("port taken", name=name, port=first, by=_taker(first), using=port)
        self.chosen[name] = port
        self._remembered[name] = port
        write_private(self._path, json.dumps(self._remembered, indent=1))
        return port

    def _free(self, port: int) -> bool:
        return port not in self.chosen.values() and _bindable(port)

    def _any_free(self, name: str) -> int:
        """One of the ports that the system gives to no outgoing connection.

        Such a connection would take it while the server that listened there is being started again.
        """
        last = _first_given() - 1
        for _ in range(_TRIES):
            port = random.randint(_LOWEST, max(last, _LOWEST))  # noqa: S311 - no secret
            if self._free(port):
                return port
        raise StackError(
            f"no free port for {name} found from {_LOWEST} to {last} in {_TRIES} tries",
            remedy="Free some, or ask for a port by its number.",
            name=name,
        )

    def _next_free(self, first: int, taken: str) -> int:
        others = set(self._remembered.values())
        for port in range(first + 1, min(first + _TRIES, 65536)):
            if port not in others and self._free(port):
                return port
        raise StackError(f"{taken}, and so are the {_TRIES} after it", remedy="Free one of them.", port=first)


def _first_given() -> int:
    """The lowest port that the system gives to outgoing connections."""
    return int(_GIVEN.read_text().split()[0]) if _GIVEN.exists() else _USUALLY_GIVEN


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        # Without it a port whose last connections are still in TIME_WAIT counts as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError:
            return False
    return True


def _taker(port: int) -> str:
    """Who listens on `port`, as far as /proc tells."""
    wanted = {f"socket:[{inode}]" for inode in _listeners(port)}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) in wanted for fd in (folder / "fd").iterdir()):
                return f"pid {folder.name} ({command_of(int(folder.name))})"
        except OSError:
            continue  # ended meanwhile, or another user's
    return "a process that /proc does not show"


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
