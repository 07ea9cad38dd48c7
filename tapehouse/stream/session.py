"""Sessions of a role: work that depends on connections, restarted with a back-off after each interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import structlog

from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health

Errors = tuple[type[Exception], ...]
Session = Callable[[], Coroutine[Any, Any, None]]
_log = structlog.get_logger()


async def run_sessions(
    session: Session,
    bus: Bus,
    health: Health,
    *,
    retried: Errors,
    final: Errors,
    pauses_s: Sequence[float],
) -> None:
    """Run `session()` repeatedly until it returns.

    An error of a type in `final` is raised, unwrapped if it is in an ExceptionGroup. After an error of a type in
    `retried` (and not in `final`) the next session starts once NATS is connected and after a pause: `pauses_s[n]`
    for the n-th consecutive session that reported no rows to `health`; the last pause repeats. All other errors
    are raised.
    """
    failures = 0
    while True:
        ended: Exception | None = None
        reason = ""
        try:
            await _own_task(session)
        except* final as group:
            ended = _leaves(group)[0]
        except* retried as group:
            reason = "; ".join(str(error) or repr(error) for error in _leaves(group))
        else:
            return
        if ended is not None:
            raise ended
        failures += 1
        _log.warning(
            "session interrupted, restarting", role=health.role, instance=health.instance, reason=reason
        )
        health.waiting(reason.splitlines()[0])
        await bus.until_connected()
        if health.moved():
            failures = 0
        await asyncio.sleep(pauses_s[min(failures, len(pauses_s) - 1)])


async def _own_task(session: Session) -> None:
    """Await `session()` in a task of its own.

    Before Python 3.13 a TaskGroup whose child fails leaves its task marked as being cancelled, and one that is
    cancelled while a child fails hides the cancellation: here neither reaches the caller's task.
    """
    task = asyncio.create_task(session())
    try:
        await asyncio.wait({task})
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    task.result()


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The errors of a group and of its nested groups."""
    errors: list[Exception] = []
    for error in group.exceptions:
        errors += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return errors
