"""Ports on loopback: chosen once and saved in the home; an error names the process that has a taken port."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import structlog

from ops.stack.home import Home, write_private
from ops.stack.listeners import holder, is_free
from tapehouse.errors import StackError

_TRIES = 200
_LOWEST = 10_000
_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUALLY_GIVEN = 32_768


class Ports:
    """The ports of a home's parts; `asked` are required by the user, 0 for any free one.

    A chosen port is kept for the home until the end of the run: its server may bind it later, and again after a
    restart.
    """

    def __init__(self, home: Home, asked: Mapping[str, int] | None = None) -> None:
        self._locks = home.port_locks
        self._path = home.folder / "ports.json"
        self._asked = dict(asked or {})
        self.chosen: dict[str, int] = {}
        """By port name: the port that `take` returned."""
        self._log = structlog.get_logger()
        self._remembered: dict[str, int] = {}
        if self._path.exists():
            self._remembered = json.loads(self._path.read_text())
        self.notes: dict[str, str] = {}
        """By port name: why it differs from the saved or the default port."""

    def take(self, name: str, usual: int) -> int:
        """The port for `name`: the required one, else the saved one, else `usual` or the next free one.

        Raises StackError, naming the process, if the required port or every port tried is taken.
        """
        asked = self._asked.get(name)
        first = asked or self._remembered.get(name, usual)
        if asked == 0:
            last = self._remembered.get(name)
            port = last if last and self._free(last) else self._any_free(name)
        elif self._free(first):
            port = first
        else:
            by = self._locks.other_owner(first) or holder(first)
            taken = f"port {first} ({name}) is taken by {by}"
            if asked is not None:
                raise StackError(
                    taken, remedy="Free the port, or configure another one or none.", port=first, name=name
                )
            port = self._next_free(first, taken)
            self.notes[name] = f"{taken}; using {port}"
            self._log.warning("port taken", name=name, port=first, by=by, using=port)
        self.chosen[name] = port
        self._remembered[name] = port
        write_private(self._path, json.dumps(self._remembered, indent=1))
        return port

    def _free(self, port: int) -> bool:
        if port in self.chosen.values() or not self._locks.take(port):
            return False
        if is_free(port):
            return True
        self._locks.release(port)
        return False

    def _any_free(self, name: str) -> int:
        """A free port outside the range of outgoing connections.

        An outgoing connection could take the port while its server restarts.
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
    """The lowest port of the range for outgoing connections."""
    return int(_GIVEN.read_text().split()[0]) if _GIVEN.exists() else _USUALLY_GIVEN
