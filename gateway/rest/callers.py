"""Who may call: by the name a request came to (Host), and by the page that sent it (Origin, Sec-Fetch-Site).

A browser sends what a foreign page tells it to, also to 127.0.0.1. A page whose name was made to resolve to
127.0.0.1 (DNS rebinding) could read the answers; its requests carry that name as their Host. Any other page can only
cause work; its requests carry its Origin, or Sec-Fetch-Site: cross-site. Programs send neither.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.rest.problems import FOREIGN_PAGE, UNKNOWN_HOST, USAGE, Problem

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class Callers:
    """ASGI middleware: requests of allowed callers go on to `app`, others are answered with a problem."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        """`hosts` are allowed names besides those of the loopback interface; ports are not compared."""
        self._app = app
        self._configured = frozenset(name.lower() for name in hosts)
        self._allowed = LOOPBACK_NAMES | self._configured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on, one request."""
        problem = self.refusal(scope["headers"]) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)

    def refusal(self, headers: Collection[tuple[bytes, bytes]]) -> Problem | None:
        """The problem with the caller that these headers (names in lower case) show; None if it is allowed."""
        found = {name: value.decode("latin-1") for name, value in headers}
        hosts = [name for name, _ in headers].count(b"host")
        if hosts != 1:
            return Problem(USAGE, f"host: expected one Host header, was {hosts}")
        host = found[b"host"].lower()
        if _name(host) not in self._allowed:
            return Problem(
                UNKNOWN_HOST,
                f"host: expected {', '.join(sorted(self._allowed))}, was {host[:200]!r}",
                "Use one of those names, or add this one to the setting gateway.hosts.",
            )
        origin = found.get(b"origin")
        if origin is not None and not self._is_own(origin.lower(), host):
            return Problem(
                FOREIGN_PAGE,
                f"origin: expected a page of {host[:200]}, was one of {origin[:200]!r}",
                "Send the request from a program, or add the page's host to the setting gateway.hosts.",
            )
        if found.get(b"sec-fetch-site") == "cross-site" and found.get(b"sec-fetch-mode") != "navigate":
            return Problem(
                FOREIGN_PAGE,
                "sec-fetch-site: expected a request of the gateway's own page, was cross-site",
                "Send the request from a program, or open the address in the browser.",
            )
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether an Origin is the server itself by the name it was called, or a configured name."""
        _, _, address = origin.partition("://")
        return bool(address) and (address == host or _name(address) in self._configured)


def _name(host: str) -> str:
    """The name in `name:port`, `[::1]:port` or without a port; empty where it is neither."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return parts.hostname or "" if parts.netloc == host and "@" not in host else ""
