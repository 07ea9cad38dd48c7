"""The stack: the parts of a platform on one machine, started in phases and stopped in reverse."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Self

import structlog

from ops.stack import view
from ops.stack.cleanstop import CleanStop
from ops.stack.home import Home, Lock
from ops.stack.orphans import end_orphans
from ops.stack.part import Part, PartView, State
from ops.stack.supervisor import STEADY_S, Supervisor
from tapehouse.errors import StackError, UsageError

_WRITE_AGAIN_S = 1.0
"""After a run.json that could not be written."""


class Stack:
    """The one run of a home: `async with Stack(home) as stack`, then `add` and `start`, phase by phase.

    Entering locks the home (HomeInUseError if another run has it) and ends processes that a killed run left;
    leaving stops every part. The caller handles signals (signals.py).
    """

    def __init__(self, home: Home, steady_s: float = STEADY_S) -> None:
        """`steady_s`: a part that was ready for longer starts a new count of crashes."""
        self.home = home
        self._steady_s = steady_s
        self._supervisors: dict[str, Supervisor] = {}
        self._phases: list[tuple[str, ...]] = []
        self._held = ExitStack()
        self._failed = asyncio.Event()
        self._changes = asyncio.Event()
        self._stopping = False
        self._writing_again: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger()

    async def __aenter__(self) -> Self:
        """Lock the home and end processes of an earlier run."""
        self._held.enter_context(Lock(self.home))
        try:
            await end_orphans(self.home.folder / "run")
        except BaseException:
            self._held.close()
            raise
        self._changed()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every part and unlock the home."""
        self._stopping = True
        self._changed()
        try:
            await self.stop()
        finally:
            if self._writing_again:
                self._writing_again.cancel()
            self._held.close()

    @property
    def _questdb(self) -> CleanStop | None:
        supervisor = self._supervisors.get("questdb")
        return supervisor.part.clean_stop if supervisor else None

    @property
    def questdb_was_clean(self) -> bool:
        """Whether the stop before QuestDB's last start was graceful, or that start its first."""
        return bool(self._questdb and self._questdb.was_clean)

    @property
    def questdb_unclean_ns(self) -> int:
        """When QuestDB was last started after a stop that was not graceful, ns UTC; 0 for never."""
        return self._questdb.unclean_ns if self._questdb else 0

    def add(self, part: Part) -> None:
        """Register `part`; `start` starts it."""
        if part.name in self._supervisors:
            raise UsageError(f"stack: there is a part {part.name!r} already")
        self._supervisors[part.name] = Supervisor(
            self.home, part, self._changed, self._until_ready, self._steady_s
        )
        self._changed()

    async def start(self, *names: str) -> None:
        """Start these parts side by side, as one phase; return when all are ready.

        Raises StackError as soon as one is given up; the others go on until `stop`.
        """
        supervisors = [self._supervisor(name) for name in names]
        self._phases.append(names)
        await asyncio.gather(*(supervisor.start() for supervisor in supervisors))

    async def stop(self, *names: str) -> None:
        """Stop these parts, or all: the last phase first, the parts of a phase side by side."""
        for phase in reversed(self._phases):
            stopping = [self._supervisors[name] for name in phase if not names or name in names]
            await asyncio.gather(*(supervisor.stop() for supervisor in stopping))
        self._phases = [
            rest for phase in self._phases if names and (rest := tuple(n for n in phase if n not in names))
        ]

    def kill(self) -> None:
        """Kill every part at once and start none again; `stop`, which may be waiting for them, then returns soon."""
        for supervisor in self._supervisors.values():
            supervisor.kill()

    async def failure(self) -> StackError:
        """Wait until a part is given up; why."""
        while True:
            for supervisor in self._supervisors.values():
                if supervisor.failure:
                    return supervisor.failure
            self._failed.clear()
            await self._failed.wait()

    async def changed(self) -> None:
        """Wait for the next change of `view`."""
        self._changes.clear()
        await self._changes.wait()

    def view(self) -> list[PartView]:
        """The parts in the order in which they were added."""
        return [supervisor.view() for supervisor in self._supervisors.values()]

    async def _until_ready(self, names: tuple[str, ...]) -> bool:
        waited = False
        while any(self._supervisor(name).state is not State.READY for name in names):
            waited = True
            await self.changed()
        return waited

    def _supervisor(self, name: str) -> Supervisor:
        if name not in self._supervisors:
            raise UsageError(f"stack: expected a part of {' '.join(self._supervisors)}, was {name!r}")
        return self._supervisors[name]

    def _write_again(self) -> None:
        self._writing_again = None
        self._changed()

    def _changed(self) -> None:
        self._changes.set()
        if any(supervisor.failure for supervisor in self._supervisors.values()):
            self._failed.set()
        try:
            view.write(
                self.home, self.questdb_was_clean, self.questdb_unclean_ns, self.view(), self._stopping
            )
        except OSError as reason:
            # A full disk must not end the supervision of the parts.
            self._log.warning("run.json not written", reason=str(reason))
            if self._writing_again is None:
                loop = asyncio.get_running_loop()
                self._writing_again = loop.call_later(_WRITE_AGAIN_S, self._write_again)
