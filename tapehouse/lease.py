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
from tapehouse.errors import ConnectError

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
        self._asked = 0.0
        """When the last move that succeeded was asked for."""
        self._me = _me()
        self._replacing: asyncio.Future[int] | None = None
        """The last write of the key: it may arrive though nobody waits for its answer any more."""
        self._renewal: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()
        self.owner: dict[str, Any] | None = None
        """Who holds the lease while we wait for it."""

    async def __aenter__(self) -> Self:
        try:
            while not await self._claimed():
                pass
        except asyncio.CancelledError:
            await self._give_back()
            raise
        self._renewal = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewal:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        if not self.lost.is_set():
            await self._give_back()

    async def hold(self) -> None:
        """Move the key now: whoever returns from this had the lease when it was called.

        Raises ConnectError where it is lost.
        """
        if self.lost.is_set() or not await self._move():
            self.lost.set()
            raise ConnectError(
                f"{self._key}: the lease was lost",
                remedy="NATS was away for the length of the lease, or another has it. Try again.",
            )

    async def _give_back(self) -> None:
        """So that the next owner need not wait for our lease to run out; also what was claimed while cut off."""
        if self._replacing is None:
            return
        try:
            async with asyncio.timeout(2):
                await asyncio.gather(self._replacing, return_exceptions=True)
                owner, revision = await self._state.get_revised(self._key)
                if owner == self._me:
                    await self._state.replace(self._key, None, revision)
        except (NatsError, TimeoutError) as reason:
            _log.warning("lease not given back, it runs out by itself", key=self._key, reason=repr(reason))

    async def _replace(self, revision: int) -> int:
        self._replacing = asyncio.ensure_future(self._state.replace(self._key, self._me, revision))
        # A write that fails when nobody waits for it any more is no news.
        self._replacing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._replacing)

    async def _claimed(self) -> bool:
        try:
            return await self._claim()
        except (NatsError, TimeoutError) as reason:
            # While the broker is away nobody takes it either.
            _log.warning("no answer about the lease, asking again", key=self._key, reason=repr(reason))
            await asyncio.sleep(self._seconds / 10)
            return False

    async def _claim(self) -> bool:
        owner, revision = await self._state.get_revised(self._key)
        if owner and not _gone(owner):
            if owner != self.owner:
                _log.info("waiting for the lease", key=self._key, owner=owner)
            self.owner = owner
            if await self._moves(revision):
                return False
        self._asked = asyncio.get_running_loop().time()
        try:
            self._revision = await self._replace(revision)
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
        """Move the key until another has it, or it was not moved for so long that another may have it."""
        loop = asyncio.get_running_loop()
        while True:
            ends = self._asked + self._seconds
            await asyncio.sleep(min(self._seconds / 4, ends - loop.time()))
            asked = loop.time()
            try:
                async with asyncio.timeout_at(min(asked + self._seconds / 4, ends)):
                    if not await self._move():
                        _log.error("lease taken by another", key=self._key)
                        break
                self._asked = asked
            except (NatsError, TimeoutError):
                if loop.time() >= ends:
                    _log.error("lease not renewed in time", key=self._key)
                    break
        self.lost.set()

    async def _move(self) -> bool:
        """Move the key, and whether it is still ours."""
        try:
            self._revision = await self._replace(self._revision)
        except KeyWrongLastSequenceError:
            # Ours still when it was our own renewal whose answer was lost.
            owner, self._revision = await self._state.get_revised(self._key)
            return owner == self._me and await self._move()
        return True


def _gone(owner: dict[str, Any]) -> bool:
    return bool(owner["host"] == socket.gethostname() and _born(owner["pid"]) != owner["born"])
