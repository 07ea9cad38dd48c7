"""Waiting for something to become true, with a deadline, and with the word what was waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

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
