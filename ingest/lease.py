"""One owner at a time for a piece of work, by a key that its owner must keep moving.

No clocks are compared: a claimant watches the key and takes it over once it has not moved for the lease's
length on its own clock, or at once when the owner was a process of this machine that is gone.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from pathlib import Path
from typing import Any, Self

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyWrongLastSequenceError

from tapehouse.bus import State

_log = structlog.get_logger()


def _born(pid: int) -> str:
    """When a process of this machine was started (clock ticks since boot); empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _me() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "token": secrets.token_hex(8),
    }


class Lease:
    """`async with Lease(...)` waits until the lease is ours; `lost` is set when it no longer is."""

    def __init__(self, state: State, name: str, seconds: float) -> None:
        self._state = state
        self._key = f"lease.{name}"
        self._seconds = seconds
        self._revision = 0
        self._me = _me()
        self._renewal: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()
        self.owner: dict[str, Any] | None = None
        """Who holds the lease while we wait for it."""

    async def __aenter__(self) -> Self:
        while not await self._claim():
            pass
        self._renewal = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewal:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        if not self.lost.is_set():
            try:
                async with asyncio.timeout(2):
                    await self._state.replace(self._key, None, self._revision)
            except (NatsError, TimeoutError) as reason:
                _log.warning(
                    "lease not given back, it runs out by itself", key=self._key, reason=repr(reason)
                )

    async def _claim(self) -> bool:
        owner, revision = await self._state.get_revised(self._key)
        if owner and not _gone(owner):
            self.owner = owner
            _log.info("waiting for the lease", key=self._key, owner=owner)
            if await self._moves(revision):
                return False
        try:
            self._revision = await self._state.replace(self._key, self._me, revision)
        except KeyWrongLastSequenceError:
            return False
        self.owner = None
        return True

    async def _moves(self, revision: int) -> bool:
        """Whether the key changes within the lease's length."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, self._seconds / 10))
            if (await self._state.get_revised(self._key))[1] != revision:
                return True
        return False

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(self._seconds / 4)
            try:
                async with asyncio.timeout(self._seconds / 4):
                    self._revision = await self._state.replace(self._key, self._me, self._revision)
                renewed = loop.time()
            except KeyWrongLastSequenceError:
                # Ours still when it was our own renewal whose answer was lost.
                owner, self._revision = await self._state.get_revised(self._key)
                if owner != self._me:
                    _log.error("lease taken by another", key=self._key, owner=owner)
                    self.lost.set()
                    return
            except (NatsError, TimeoutError):
                if loop.time() - renewed > self._seconds:
                    _log.error("lease not renewed in time", key=self._key)
                    self.lost.set()
                    return


def _gone(owner: dict[str, Any]) -> bool:
    return bool(owner["host"] == socket.gethostname() and _born(owner["pid"]) != owner["born"])
