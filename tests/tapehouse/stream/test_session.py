from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tapehouse.errors import ConnectError, UsageError
from tapehouse.stream.session import run_sessions


class _Connected:
    """A bus that is always connected."""

    async def until_connected(self) -> None:
        return


class _Health:
    """What a role reports, kept; it never reports rows."""

    role, instance = "writer", "0"

    def __init__(self) -> None:
        self.details: list[str] = []

    def waiting(self, detail: str) -> None:
        self.details.append(detail)

    def moved(self) -> bool:
        return False


async def _fail(error: Exception) -> None:
    raise error


async def _run(session: Any, health: _Health) -> None:
    bus: Any = _Connected()
    reported: Any = health
    await run_sessions(session, bus, reported, retried=(ConnectError,), final=(UsageError,), pauses_s=(0.0,))


async def test_a_session_whose_task_group_failed_is_followed_by_the_next() -> None:
    health, sessions = _Health(), 0

    async def session() -> None:
        nonlocal sessions
        sessions += 1
        if sessions < 4:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_fail(ConnectError(f"outage {sessions}")))

    await _run(session, health)
    assert sessions == 4
    assert health.details == ["outage 1", "outage 2", "outage 3"]


async def test_a_final_error_of_a_task_group_is_raised_bare() -> None:
    async def session() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_fail(UsageError("misused")))

    with pytest.raises(UsageError, match="misused"):
        await _run(session, _Health())


async def test_a_cancellation_ends_the_session_and_is_not_hidden_by_an_error_of_it() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectError("broken while ending") from None

    async def session() -> None:
        begun.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(stubborn())
        finally:
            ended.set()

    running = asyncio.create_task(_run(session, _Health()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
