"""Waiting for something to become true, with a deadline, and with the word what was waited for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

DEADLINE_S = 60.0
_LOOK_S = 0.01


async def until(true: Callable[[], bool | Awaitable[bool]], what: str | Callable[[], str]) -> None:
    """Return when `true` is."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_S
    while True:
        answer = true()
        if answer if isinstance(answer, bool) else await answer:
            return
        if loop.time() > deadline:
            pytest.fail(f"waited in vain for {what if isinstance(what, str) else what()}")
        await asyncio.sleep(_LOOK_S)


async def assert_cancelled_at_any_moment(
    work: Callable[[], Coroutine[Any, Any, None]], times: int, begun_s: float, steps: int, within_s: float
) -> None:
    """Start endless work again and again, and cancel it some steps of the loop (drawn, below `steps`) after `begun_s`:
    it ends each time `within_s`."""
    chance = random.Random(1)
    for _ in range(times):
        task = asyncio.create_task(work())
        await asyncio.sleep(begun_s)
        for _ in range(chance.randrange(steps)):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=within_s)
        assert done, f"waited {within_s} s for the task to end"
