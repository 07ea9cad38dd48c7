"""A part of the platform, as its maker describes it, and as it is seen while it runs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tapehouse.errors import UsageError
from tapehouse.stack.cleanstop import CleanStop


class State(StrEnum):
    """Where a part stands; only READY is well."""

    WAITING = "waiting"
    """Added, not started."""
    STARTING = "starting"
    READY = "ready"
    SILENT = "silent"
    """Runs, and was ready, but does not answer now."""
    RESTARTING = "restarting"
    """Ended unasked; the next start follows."""
    FAILED = "failed"
    """Given up; `detail` says why."""
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Part:
    """One child process to keep running."""

    name: str
    """Lower case letters, digits, - and _: it names files."""
    command: tuple[str, ...]
    answers: Callable[[], Awaitable[None]]
    """Makes one real request and returns when it is answered (a server), or waits for one sign of life (a
    role: its next heartbeat). Raises ConnectError where it is not answered: it is asked again until
    `start_within`. Any other TapehouseError gives the part up. Asked again every few seconds after."""
    address: str = ""
    """What it listens on, for people."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of what it inherits."""
    inherits: bool = True
    """Whether it gets the runner's environment; a server gets PATH, HOME and TMPDIR alone: a stray variable
    must not configure it, and what it runs must not read the user's."""
    needs: tuple[str, ...] = ()
    """Parts that it cannot get ready without. A start that fails while one of them is not ready tells nothing
    against it: it is started again when they are."""
    start_within: float = 30.0
    """Seconds."""
    stop_within: float = 3.0
    """Seconds from SIGTERM to SIGKILL."""
    note: str = ""
    """Something to know about it, shown while it is well."""
    prepare: Callable[[], None] | None = None
    """Called before each start, such as to write its configuration."""
    started: Callable[[], Awaitable[None]] | None = None
    """Called each time it has become ready, before anyone is told so; what it raises as a TapehouseError is
    logged, and the part is ready all the same."""
    clean_stop: CleanStop | None = None
    """For a store: remembers whether it was stopped gracefully."""

    def __post_init__(self) -> None:
        """Refuse a name that cannot name files."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise UsageError(f"part: expected a name of a-z, 0-9, - and _, was {self.name!r}")


@dataclass(frozen=True)
class PartView:
    """A part as seen from outside."""

    name: str
    state: State
    pid: int | None
    address: str
    restarts: int
    detail: str
