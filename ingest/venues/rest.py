"""REST requests to a venue, within its rate limits."""

from __future__ import annotations

import asyncio

import aiohttp
import structlog

from ingest.venues.venue import RestRequest
from tapehouse.errors import ConnectError

_TIMEOUT_S = 10
_MAX_BYTES = 32 * 2**20
_RATE_LIMITED = {418, 429}
_RETRY_AFTER_S = 30.0
_RETRY_AFTER_MAX_S = 600.0
_log = structlog.get_logger()


class RestClient:
    """Sends requests to one venue one at a time, with the pauses that they name or that the venue demands.

    `pace` is a factor of these pauses: 0 where the venue has no limits.
    """

    def __init__(self, session: aiohttp.ClientSession, address: str, pace: float = 1) -> None:
        self._session = session
        self._address = address.rstrip("/")
        self._pace = pace
        self._lock = asyncio.Lock()
        self._next_at = 0.0

    async def get(self, request: RestRequest) -> bytes:
        """The body of an answer with status 200.

        Raises ConnectError when the venue does not answer within 10 s, with another status, or with over 32 MiB.
        """
        async with self._lock:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(max(0.0, self._next_at - loop.time()))
            try:
                return await self._send(request)
            except (aiohttp.ClientError, TimeoutError, OSError) as reason:
                raise ConnectError(f"{self._address}: no answer to {request.path}: {reason!r}") from None
            finally:
                self._next_at = max(self._next_at, loop.time() + request.pause_s * self._pace)

    async def _send(self, request: RestRequest) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with self._session.get(
            self._address + request.path, headers=request.headers, timeout=timeout
        ) as response:
            if response.status in _RATE_LIMITED:
                pause_s = _retry_after_s(response.headers.get("Retry-After"))
                self._next_at = asyncio.get_running_loop().time() + pause_s
                _log.warning("venue rate limit reached", address=self._address, pause_s=pause_s)
            body = bytearray()
            async for chunk in response.content.iter_chunked(2**16):
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ConnectError(
                        f"{self._address}: expected at most {_MAX_BYTES} bytes from {request.path}, was more"
                    )
            if response.status != 200:
                shown = bytes(body[:200]).decode(errors="replace")
                raise ConnectError(
                    f"{self._address}: {request.path}: expected status 200, was {response.status}: {shown}"
                )
            return bytes(body)


def _retry_after_s(header: str | None) -> float:
    return min(float(header), _RETRY_AFTER_MAX_S) if header and header.isdigit() else _RETRY_AFTER_S
