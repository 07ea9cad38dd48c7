"""The stack: the parts of a platform on one machine, started in phases and stopped in reverse."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Self

import structlog

from tapehouse.errors import StackError, UsageError
from tapehouse.stack import view
from tapehouse.stack.cleanstop import CleanStop
from tapehouse.stack.home import Home, Lock
from tapehouse.stack.keeper import STEADY_S, Keeper
from tapehouse.stack.part import Part, PartView, State
from tapehouse.stack.process import end_orphans


class Stack:
    """The one run of a home: `async with Stack(home) as stack`, then `add` and `start`, phase by phase.

    Entering takes the home (HomeInUseError where another run has it) and ends what a killed run left behind;
    leaving stops every part. Signals are the caller's business.
    """

    def __init__(self, home: Home, steady_s: float = STEADY_S) -> None:
        """`steady_s` is how long a part has to be ready for its end not to count as one of many in a row."""
        self.home = home
        self._steady_s = steady_s
        self._keepers: dict[str, Keeper] = {}
        self._phases: list[tuple[str, ...]] = []
        self._held = ExitStack()
        self._failed = asyncio.Event()
        self._changes = asyncio.Event()
        self._log = structlog.get_logger()

    async def __aenter__(self) -> Self:
        """Take the home and end what an earlier run left in it."""
        self._held.enter_context(Lock(self.home))
        try:
            await end_orphans(self.home.folder / "run")
        except BaseException:
            self._held.close()
            raise
        self._changed()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop every part and give the home back."""
        try:
            await self.stop()
        finally:
            self._held.close()

    @property
    def _questdb(self) -> CleanStop | None:
        keeper = self._keepers.get("questdb")
        return keeper.part.clean_stop if keeper else None

    @property
    def questdb_was_clean(self) -> bool:
        """Whether the stop before QuestDB's last start was graceful, or that start its first."""
        return bool(self._questdb and self._questdb.was_clean)

    @property
    def questdb_unclean_ns(self) -> int:
        """When QuestDB was last started after a stop that was not graceful, ns UTC; 0 for never."""
        return self._questdb.unclean_ns if self._questdb else 0

    def add(self, part: Part) -> None:
        """Make `part` known; `start` starts it."""
        if part.name in self._keepers:
            raise UsageError(f"stack: there is a part {part.name!r} already")
        self._keepers[part.name] = Keeper(self.home, part, self._changed, self._until_ready, self._steady_s)
        self._changed()

    async def start(self, *names: str) -> None:
        """Start these parts side by side, as one phase; return when all are ready.

        Raises StackError as soon as one is given up; the others go on until `stop`.
        """
        keepers = [self._keeper(name) for name in names]
        self._phases.append(names)
        await asyncio.gather(*(keeper.start() for keeper in keepers))

    async def stop(self, *names: str) -> None:
        """Stop these parts, or all: the last phase first, the parts of a phase side by side."""
        for phase in reversed(self._phases):
            stopping = [self._keepers[name] for name in phase if not names or name in names]
            await asyncio.gather(*(keeper.stop() for keeper in stopping))
        self._phases = [
            rest for phase in self._phases if names and (rest := tuple(n for n in phase if n not in names))
        ]

    async def failure(self) -> StackError:
        """Wait until a part is given up; why."""
        while True:
            for keeper in self._keepers.values():
                if keeper.failure:
                    return keeper.failure
            self._failed.clear()
            await self._failed.wait()

    async def changed(self) -> None:
        """Wait for the next change of what `view` tells."""
        self._changes.clear()
        await self._changes.wait()

    def view(self) -> list[PartView]:
        """The parts in the order in which they were added."""
        return [keeper.view() for keeper in self._keepers.values()]

    async def _until_ready(self, names: tuple[str, ...]) -> bool:
        waited = False
        while any(self._keeper(name).state is not State.READY for name in names):
            waited = True
            await self.changed()
        return waited

    def _keeper(self, name: str) -> Keeper:
        if name not in self._keepers:
            raise UsageError(f"stack: expected a part of {' '.join(self._keepers)}, was {name!r}")
        return self._keepers[name]

    def _changed(self) -> None:
        self._changes.set()
        if any(keeper.failure for keeper in self._keepers.values()):
            self._failed.set()
        try:
            view.write(self.home, self.questdb_was_clean, self.questdb_unclean_ns, self.view())
        except OSError as reason:
            # A full disk must not end the watch over the parts.
            self._log.warning("run.json not written", reason=str(reason))
