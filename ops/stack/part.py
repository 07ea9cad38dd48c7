"""The definition of a part of the platform, and its state while it runs."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ops.stack.cleanstop import CleanStop
from tapehouse.errors import UsageError


class State(StrEnum):
    """The state of a part; only READY is healthy."""

    WAITING = "waiting"
    """Added, not started."""
    STARTING = "starting"
    READY = "ready"
    SILENT = "silent"
    """Runs and was ready, but does not respond."""
    RESTARTING = "restarting"
    """Ended unexpectedly; it will be started again."""
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
    """The address it listens on, for display."""
    health: str = ""
    """The subject of a role's health reports on NATS, such as health.feed.sim, or health.writer.> for all."""
    ports: tuple[int, ...] = ()
    """The ports of 127.0.0.1 that it listens on: where another process has one, it is not started."""
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
    """A remark that is shown while it is ready."""
    prepare: Callable[[], None] | None = None
    """Called before each start, such as to write its configuration."""
    started: Callable[[], Awaitable[None]] | None = None
    """Called each time it has become ready, before it is reported; a TapehouseError is logged and the part is
    ready all the same."""
    clean_stop: CleanStop | None = None
    """For a store: remembers whether it was stopped gracefully."""

    def __post_init__(self) -> None:
        """Check that the name can be used in file names."""
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
    health: str = ""
