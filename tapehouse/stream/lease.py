"""Leases: at most one owner of a piece of work, by a key that the owner renews regularly.

Clocks are not compared: a claimant watches the key and takes it over once it has not been renewed for the lease's
duration on the claimant's own clock, or at once when the owner was a process of this machine that has ended.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyWrongLastSequenceError

from tapehouse.errors import ConnectError
from tapehouse.stream.bus import State

_PREFIX = "lease."
_log = structlog.get_logger()


def _process_start(pid: int) -> str:
    """When a process of this machine was started (clock ticks since boot); empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _new_identity() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "born": _process_start(os.getpid()),
        "token": secrets.token_hex(8),
    }


class Lease:
    """`async with Lease(...)` waits until it owns the lease; the event `lost` is set when it no longer does."""

    def __init__(self, state: State, name: str, seconds: float) -> None:
        self._state = state
        self._key = _PREFIX + name
        self._seconds = seconds
        self._revision = 0
        self._renewed_at = 0.0
        """When the last successful renewal was requested (loop time)."""
        self._identity = _new_identity()
        self._replacing: asyncio.Future[int] | None = None
        """The last write of the key; it may still succeed after its caller was cancelled."""
        self._renewal: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()
        self.owner: dict[str, Any] | None = None
        """The owner of the lease while we wait for it."""

    async def __aenter__(self) -> Self:
        try:
            while not await self._try_claim():
                pass
        except asyncio.CancelledError:
            await self._release()
            raise
        self._renewal = asyncio.create_task(self._keep_renewing())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewal:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        if not self.lost.is_set():
            await self._release()

    async def hold(self) -> None:
        """Renew the lease now: after this returns, it is certain that we owned it at the time of the call.

        Raises ConnectError when it is lost.
        """
        if self.lost.is_set() or not await self._renew_once():
            self.lost.set()
            raise self._lost_error()

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Cancel the body of the context when the lease is lost, and raise ConnectError once it has ended."""
        limit = asyncio.timeout(None)

        async def watch() -> None:
            await self.lost.wait()
            limit.reschedule(asyncio.get_running_loop().time())

        watching = asyncio.create_task(watch())
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._lost_error() from None
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    def _lost_error(self) -> ConnectError:
        return ConnectError(
            f"{self._key.removeprefix(_PREFIX)}: the lease was lost",
            remedy="NATS did not answer for the duration of the lease, or another process took it over. Try again.",
        )

    async def _release(self) -> None:
        """Free the key, so that the next owner need not wait for it to expire; also after an interrupted claim."""
        if self._replacing is None:
            return
        try:
            async with asyncio.timeout(2):
                await asyncio.gather(self._replacing, return_exceptions=True)
                owner, revision = await self._state.get_revised(self._key)
                if owner == self._identity:
                    await self._state.replace(self._key, None, revision)
        except (NatsError, TimeoutError) as reason:
            _log.warning("lease not released, it will expire", key=self._key, reason=repr(reason))

    async def _replace(self, revision: int) -> int:
        self._replacing = asyncio.ensure_future(self._state.replace(self._key, self._identity, revision))
        # Retrieves the error of a write that nobody awaits any more, so that asyncio does not log it.
        self._replacing.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._replacing)

    async def _try_claim(self) -> bool:
        try:
            return await self._claim()
        except (NatsError, TimeoutError) as reason:
            # While NATS is away no other process can claim it either.
            _log.warning("lease not claimed, retrying", key=self._key, reason=repr(reason))
            await asyncio.sleep(self._seconds / 10)
            return False

    async def _claim(self) -> bool:
        owner, revision = await self._state.get_revised(self._key)
        if owner and not _has_ended(owner):
            if owner != self.owner:
                _log.info("waiting for the lease", key=self._key, owner=owner)
            self.owner = owner
            if await self._is_renewed(revision):
                return False
        self._renewed_at = asyncio.get_running_loop().time()
        try:
            self._revision = await self._replace(revision)
        except KeyWrongLastSequenceError:
            return False
        self.owner = None
        return True

    async def _is_renewed(self, revision: int) -> bool:
        """Whether the owner renews the key within the lease's duration."""
        deadline = asyncio.get_running_loop().time() + self._seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, self._seconds / 10))
            if (await self._state.get_revised(self._key))[1] != revision:
                return True
        return False

    async def _keep_renewing(self) -> None:
        """Renew the key until another process owns it, or may own it because no renewal succeeded in time."""
        loop = asyncio.get_running_loop()
        while True:
            ends = self._renewed_at + self._seconds
            await asyncio.sleep(min(self._seconds / 4, ends - loop.time()))
            requested_at = loop.time()
            try:
                async with asyncio.timeout_at(min(requested_at + self._seconds / 4, ends)):
                    if not await self._renew_once():
                        _log.error("lease taken over by another process", key=self._key)
                        break
                self._renewed_at = requested_at
            except (NatsError, TimeoutError):
                if loop.time() >= ends:
                    _log.error("lease not renewed in time", key=self._key)
                    break
        self.lost.set()

    async def _renew_once(self) -> bool:
        """Write the key; False when another process owns it."""
        try:
            self._revision = await self._replace(self._revision)
        except KeyWrongLastSequenceError:
            # It is still ours if the response to our own last renewal was lost.
            owner, self._revision = await self._state.get_revised(self._key)
            return owner == self._identity and await self._renew_once()
        return True


def _has_ended(owner: dict[str, Any]) -> bool:
    return bool(owner["host"] == socket.gethostname() and _process_start(owner["pid"]) != owner["born"])
