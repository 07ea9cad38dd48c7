"""Proxies between the roles and the servers of a drill, one for each connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self
from urllib.parse import urlsplit

from ops.drill.proxy import Proxy
from tapehouse.settings import LOOPBACK, Settings

_PORTS = {"nats": ("nats",), "questdb": ("http", "pg")}


class RoleProxies:
    """One proxy for each role and server port; with empty `roles` none, and roles connect directly."""

    def __init__(self, settings: Settings, roles: Iterable[str]) -> None:
        targets = {
            "nats": urlsplit(settings.nats.url).port or 4222,
            "http": settings.questdb.http_port,
            "pg": settings.questdb.pg_port,
        }
        self._proxies = {
            (role, server, way): Proxy(targets[way])
            for role in roles
            for server, ways in _PORTS.items()
            for way in ways
        }

    async def __aenter__(self) -> Self:
        for proxy in self._proxies.values():
            await proxy.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        for proxy in self._proxies.values():
            await proxy.close()

    def of(self, part: str) -> list[Proxy]:
        """The proxies of a part: of a role, those to the servers; of a server, those from the roles."""
        return [proxy for (role, server, _), proxy in self._proxies.items() if part in (role, server)]

    def environment(self, role: str) -> Mapping[str, str]:
        """Environment variables that make `role` connect through its proxies."""
        ports = {way: proxy.port for (owner, _, way), proxy in self._proxies.items() if owner == role}
        if not ports:
            return {}
        return {
            "TAPEHOUSE_NATS__URL": f"nats://{LOOPBACK}:{ports['nats']}",
            "TAPEHOUSE_QUESTDB__HTTP_PORT": str(ports["http"]),
            "TAPEHOUSE_QUESTDB__PG_PORT": str(ports["pg"]),
        }
