"""Keeps one part running: starts it, checks that it responds, restarts it when it ends, or gives it up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import structlog

from ops.stack.home import Home
from ops.stack.listeners import holder, is_free
from ops.stack.output import Output
from ops.stack.part import Part, PartView, State
from ops.stack.process import Process, describe_exit, spawn
from tapehouse.errors import ConnectError, StackError, TapehouseError

CHECK_S = 5.0
"""Interval of the health checks of a part that is ready."""
ANSWER_S = 5.0
ASK_AGAIN_S = 0.1
STARTED_S = 10.0
FAILED_STARTS = 3
"""Consecutive starts without becoming ready, after which a part is given up. One that was ready before, and whose
port another process has, waits for the port instead."""
CRASHES = 20
"""Consecutive exits, each within STEADY_S of becoming ready, after which a part is given up."""
STEADY_S = 30.0
"""A part that was ready for longer starts a new count of crashes."""
LONGEST_DELAY_S = 5.0
_TAKEN = "Stop that process, or start again: another port is chosen then, unless a setting names this one."
_INHERITED_BY_ALL = ("HOME", "PATH", "TMPDIR")


class _NotReadyError(Exception):
    """The part did not become ready; the text says why."""


class Supervisor:
    """One part of a stack. `changed` is called after each change of `view`.

    `until_ready` waits until the named parts are ready; returns whether it had to wait.
    """

    def __init__(
        self,
        home: Home,
        part: Part,
        changed: Callable[[], None],
        until_ready: Callable[[tuple[str, ...]], Awaitable[bool]],
        steady_s: float = STEADY_S,
    ) -> None:
        self.part = part
        self.state = State.WAITING
        self.restarts = 0
        self.detail = ""
        self.failure: StackError | None = None
        self._home = home
        self._changed = changed
        self._until_ready_are = until_ready
        self._steady_s = steady_s
        self._output = Output(home.log(part.name))
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._log = structlog.get_logger().bind(part=part.name)

    def view(self) -> PartView:
        """The part as seen from outside."""
        pid = self._process.pid if self._process else None
        part = self.part
        return PartView(part.name, self.state, pid, part.address, self.restarts, self.detail, part.health)

    async def start(self) -> None:
        """Start the part if it does not run, and return when it is ready.

        Raises StackError when it is given up.
        """
        if self._first is None or self._task is None or self._task.done():
            self.failure = None
            self._first = asyncio.get_running_loop().create_future()
            # If the caller was cancelled, nobody retrieves the exception; asyncio would warn.
            self._first.add_done_callback(lambda first: first.cancelled() or first.exception())
            self._task = asyncio.create_task(self._keep(), name=f"keep {self.part.name}")
            self._task.add_done_callback(self._ended)
        await asyncio.shield(self._first)

    async def stop(self) -> None:
        """End the part: by SIGTERM, or by SIGKILL after `stop_within`, which is logged. A failed part stays failed."""
        if self.state in (State.WAITING, State.STOPPED):
            return
        if not self.failure:
            self._set(State.STOPPING)
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        graceful = await self._end()
        if graceful is False:
            self._log.warning("unclean stop", within_s=self.part.stop_within)
        elif graceful and self.part.clean_stop:
            await asyncio.to_thread(self.part.clean_stop.stopped)
        if not self.failure:
            self._set(State.STOPPED)

    def kill(self) -> None:
        """Kill the process and start none again; `stop` then returns as soon as it has ended."""
        if self._task:
            self._task.cancel()
        if self._process:
            self._process.kill()

    def _ended(self, task: asyncio.Task[None]) -> None:
        reason = None if task.cancelled() else task.exception()
        if reason is None:
            if self._first and not self._first.done():
                self._first.set_exception(StackError(f"{self.part.name}: stopped before it was ready"))
            return
        if not isinstance(reason, StackError):
            reason = StackError(f"{self.part.name}: {reason!r}", part=self.part.name)
        self.failure = reason
        self._log.error("given up", reason=reason.message)
        self._set(State.FAILED, reason.message)
        if self._first and not self._first.done():
            self._first.set_exception(reason)

    async def _keep(self) -> None:
        await self._end()
        failed = crashes = 0
        while True:
            try:
                why, ready_for = await self._run_once()
            except (_NotReadyError, OSError) as reason:
                await self._end()
                taken = self._taken_port()
                why = taken or str(reason)
                self._set(State.RESTARTING, why)
                if taken and self._was_ready:
                    await self._until_ports_are_free()
                elif not await self._until_ready_are(self.part.needs):
                    failed += 1
                if failed == FAILED_STARTS and taken:
                    raise StackError(f"{self.part.name}: {taken}", remedy=_TAKEN) from None
                if failed == FAILED_STARTS:
                    raise self._given_up(f"{why}, {failed} starts in a row") from None
            except TapehouseError as reason:
                await self._end()
                raise self._given_up(reason.message, reason.remedy) from reason
            else:
                failed, crashes = 0, 1 if ready_for > self._steady_s else crashes + 1
                if crashes == CRASHES:
                    raise self._given_up(f"{why}, {crashes} times in a row within {self._steady_s:g} s")
            self.restarts += 1
            self._log.warning("restarting", reason=why, restarts=self.restarts)
            self._set(State.RESTARTING, why)
            row = failed + crashes
            await asyncio.sleep(min(0.25 * 2 ** (row - 1), LONGEST_DELAY_S) if row > 1 else 0)

    async def _run_once(self) -> tuple[str, float]:
        """Start the part and watch it until it exits; returns why it exited and for how many seconds it was ready."""
        if self.state is not State.RESTARTING:
            self._set(State.STARTING)
        if taken := self._taken_port():
            raise _NotReadyError(taken)
        await self._spawn()
        assert self._process is not None
        exited = asyncio.create_task(self._process.wait())
        clock = asyncio.get_running_loop().time
        try:
            await self._until_ready(exited)
            since = clock()
            await self._tell_started()
            self._set(State.READY, self.part.note)
            self._log.info("ready", pid=self._process.pid, address=self.part.address)
            if self._first and not self._first.done():
                self._first.set_result(None)
            await self._watch(exited)
        finally:
            exited.cancel()
        self._home.pid_file(self.part.name).unlink(missing_ok=True)
        self._process = None
        return describe_exit(exited.result()), clock() - since

    async def _spawn(self) -> None:
        part = self.part
        if part.prepare:
            part.prepare()
        if part.clean_stop:
            part.clean_stop.starting()
        inherited = os.environ if part.inherits else _some(_INHERITED_BY_ALL)
        with self._output.open() as output:
            self._process = await spawn(
                part.command,
                pid_file=self._home.pid_file(part.name),
                output=output,
                environment={**inherited, **part.environment},
            )
        self._changed()

    async def _until_ready(self, exited: asyncio.Task[int]) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.part.start_within
        while silent := await self._ask(exited, min(ANSWER_S, max(0.0, deadline - clock()))):
            if not exited.done() and clock() >= deadline:
                raise _NotReadyError(f"was not ready within {self.part.start_within:g} s: {silent}")
            await asyncio.wait({exited}, timeout=ASK_AGAIN_S)
            if exited.done():
                raise _NotReadyError(f"{describe_exit(exited.result())} before it was ready")

    async def _tell_started(self) -> None:
        if self.part.started is None:
            return
        try:
            async with asyncio.timeout(STARTED_S):
                await self.part.started()
        except (TapehouseError, TimeoutError) as reason:
            self._log.warning("the action after the start failed", reason=repr(reason))

    async def _watch(self, exited: asyncio.Task[int]) -> None:
        while not exited.done():
            await asyncio.wait({exited}, timeout=CHECK_S)
            if exited.done():
                return
            self._output.bound()
            silent = await self._ask(exited, ANSWER_S)
            if not exited.done():
                self._set(State.SILENT if silent else State.READY, silent or self.part.note)

    async def _ask(self, exited: asyncio.Task[int], within: float) -> str:
        """Check the part once; returns the error, or an empty text if it responded."""
        asked = asyncio.ensure_future(self.part.answers())
        try:
            await asyncio.wait({asked, exited}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                return f"no answer within {within:g} s"
            asked.result()
        except ConnectError as reason:
            return reason.message
        finally:
            asked.cancel()
            await asyncio.wait({asked})
        return ""

    async def _end(self) -> bool | None:
        """End the process if one runs; returns whether it ended gracefully, None if none ran."""
        if self._process is None:
            return None
        graceful = await self._process.end(self.part.stop_within)
        self._process = None
        self._changed()
        return graceful

    @property
    def _was_ready(self) -> bool:
        return self._first is not None and self._first.done()

    async def _until_ports_are_free(self) -> None:
        """Wait for the ports of a part that was ready before: other parts know it by them."""
        told, delay = "", 0.25
        while taken := self._taken_port():
            if taken != told:
                self._log.warning("waiting for a port", reason=taken)
                self._set(State.RESTARTING, taken)
            told = taken
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)

    def _taken_port(self) -> str:
        """Which port of the part another process has, and which process; call it while the part does not run."""
        taken = (port for port in self.part.ports if not is_free(port))
        return next((f"port {port} is taken by {holder(port)}" for port in taken), "")

    def _given_up(self, why: str, remedy: str = "") -> StackError:
        tail = self._output.tail()
        shown = "\n".join(f"  | {line}" for line in tail.splitlines())
        return StackError(
            f"{self.part.name}: {why}" + (f"\n{shown}" if shown else ""),
            remedy=remedy or f"Its log: {self._output.path}",
            part=self.part.name,
            log=str(self._output.path),
            tail=tail,
        )

    def _set(self, state: State, detail: str = "") -> None:
        if (state, detail) != (self.state, self.detail):
            self.state, self.detail = state, detail
            self._changed()


def _some(names: tuple[str, ...]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
