"""A home of the test's own, and parts made of a few lines of Python."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ops.stack.home import Home
from ops.stack.part import Part
from tapehouse.errors import ConnectError

DEADLINE_S = 60.0
_SERVE = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("here I am", flush=True)
pathlib.Path(sys.argv[1]).touch()
signal.sigwait({signal.SIGTERM})
"""

Until = Callable[[Callable[[], bool], str], Awaitable[None]]
MakePart = Callable[..., Part]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def until() -> Until:
    """Waits until something is true; says what it waited for where that never comes."""

    async def wait(true: Callable[[], bool], what: str) -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not true():
            assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def make_part(tmp_path: Path) -> MakePart:
    """A part that is ready once its process has touched the file named to it, and ends gracefully."""

    def make(name: str, code: str = _SERVE, **others: Any) -> Part:
        sign = tmp_path / f"{name}.sign"

        async def answers() -> None:
            if not sign.exists():
                raise ConnectError(f"{name} gave no sign")

        return Part(
            name=name,
            command=(sys.executable, "-I", "-S", "-c", code, str(sign)),
            prepare=lambda: sign.unlink(missing_ok=True),
            **{"answers": answers, **others},
        )

    return make
