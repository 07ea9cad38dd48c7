"""Where the gateway is."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tapehouse.client.database import Database
from tapehouse.client.transport import Transport
from tapehouse.errors import ConnectError
from tapehouse.settings import CONNECTIONS, Settings, load
from tapehouse.stack.home import holder

_HOME = ".tapehouse"


def connected(url: str | None, home: Path | None) -> Database:
    """The database behind a gateway that answers; without `url` that of the settings.

    Raises ConnectError where none is known or it does not answer, SettingsError where the settings are unreadable.
    """
    start = "tapehouse up" if home is None else f"tapehouse up --home {home}"
    transport = Transport(_found(home, start) if url is None else url, start)
    with transport.get("/healthz", accept="*/*") as answer:
        answer.read(2**16)  # to its end, so that the connection is used again
    return Database(transport)


def known(settings: Settings) -> str:
    """The gateway's address; empty where none is known, or it is that of a platform that was stopped.

    Its port may be another platform's by now.
    """
    url = settings.gateway.url
    return "" if url == _written(settings.home) and holder(settings.home) is None else url


def _found(home: Path | None, start: str) -> str:
    settings = load(home)
    if not settings.gateway.url and home is None:
        settings = _above() or settings
    url = known(settings)
    if not url:
        raise ConnectError(
            f"gateway: expected a platform that runs in {settings.home}, was none",
            remedy=f"Start it with `{start}`, or give connect() the url of a gateway.",
            home=str(settings.home),
        )
    return url


def _written(home: Path) -> str:
    """The address that the runner of a home has written down."""
    try:
        connections = tomllib.loads((home / CONNECTIONS).read_text())
    except FileNotFoundError:
        return ""
    return str(connections.get("gateway", {}).get("url", ""))


def _above() -> Settings | None:
    """The settings of the nearest folder above that has a platform's home, as a notebook's has."""
    for folder in Path.cwd().parents:
        if (folder / _HOME / CONNECTIONS).exists():
            return load(folder / _HOME)
    return None
