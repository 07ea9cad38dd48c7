"""One HTTP request to a part on loopback, to see whether it answers."""

from __future__ import annotations

import asyncio
import base64
import http.client
from collections.abc import Mapping

from tapehouse.errors import ConnectError
from tapehouse.settings import LOOPBACK

_TIMEOUT_S = 3.0


async def http_text(part: str, port: int, path: str, headers: Mapping[str, str]) -> str:
    """The body of a GET.

    Raises ConnectError where there is no answer in 3 seconds or one that is not 200.
    """
    return await asyncio.to_thread(_get, part, port, path, headers)


def basic(user: str, password: str) -> dict[str, str]:
    """The header that names a user."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _get(part: str, port: int, path: str, headers: Mapping[str, str]) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as reason:
        raise ConnectError(f"{part}: no answer on port {port}: {reason!r}", part=part, port=port) from None
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ConnectError(
            f"{part}: port {port} answered {answer.status}: {body[:200]}", part=part, port=port
        )
    return body
