"""A venue's REST answers, asked for within its limits."""

from __future__ import annotations

import asyncio

import aiohttp
import structlog

from ingest.feeds.venue import Ask
from tapehouse.errors import ConnectError

_ANSWER_S = 10
_BYTES = 32 * 2**20
_TOO_MANY = {418, 429}
_log = structlog.get_logger()


class Rest:
    """Requests to one venue, one after another with the pauses they name; a venue that asks for more gets it.

    `pace` is a factor of these pauses: 0 where the venue has no limits.
    """

    def __init__(self, session: aiohttp.ClientSession, address: str, pace: float = 1) -> None:
        self._session = session
        self._address = address.rstrip("/")
        self._pace = pace
        self._turn = asyncio.Lock()
        self._next = 0.0

    async def get(self, ask: Ask) -> bytes:
        """The body of a good answer.

        Raises ConnectError when the venue does not answer, refuses, or sends more than 32 MiB.
        """
        async with self._turn:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._next - loop.time()))
            try:
                return await self._answer(ask)
            except (aiohttp.ClientError, TimeoutError, OSError) as reason:
                raise ConnectError(f"{self._address}: no answer to {ask.path}: {reason!r}") from None
            finally:
                self._next = max(self._next, loop.time() + ask.pause_s * self._pace)

    async def _answer(self, ask: Ask) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        async with self._session.get(
            self._address + ask.path, headers=ask.headers, timeout=timeout
        ) as answer:
            if answer.status in _TOO_MANY:
                pause_s = _seconds(answer.headers.get("Retry-After"))
                self._next = asyncio.get_running_loop().time() + pause_s
                _log.warning("venue asks for a pause", address=self._address, seconds=pause_s)
            body = bytearray()
            async for part in answer.content.iter_chunked(2**16):
                body += part
                if len(body) > _BYTES:
                    raise ConnectError(f"{self._address}: expected at most {_BYTES} bytes from {ask.path}")
            if answer.status != 200:
                said = bytes(body[:200]).decode(errors="replace")
                raise ConnectError(f"{self._address}: {ask.path} was answered {answer.status}: {said}")
            return bytes(body)


def _seconds(retry_after: str | None) -> float:
    return min(float(retry_after), 600.0) if retry_after and retry_after.isdigit() else 30.0
