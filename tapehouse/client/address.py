"""Finds the gateway's URL and connects to it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tapehouse.client.database import Database
from tapehouse.client.transport import Transport
from tapehouse.identity import running_pid
from tapehouse.platform import missing, nearest_settings, start_command
from tapehouse.settings import CONNECTIONS, Settings


def connected(url: str | None, home: Path | None, venue: str | None = None) -> Database:
    """Connect to the gateway at `url`, by default that of the settings of `home`. `venue` is that of its queries.

    Raises ConnectError if no URL is known or the gateway does not answer, SettingsError if the settings are invalid.
    """
    transport = Transport(_find_url(home) if url is None else url, start_command(home))
    with transport.get("/healthz", accept="*/*") as answer:
        answer.read(2**16)  # to the end, so that the connection is reused
    return Database(transport, venue)


def known(settings: Settings) -> str:
    """The gateway's URL from the settings; empty if there is none, or if its platform has been stopped.

    The port of a stopped platform may be in use by another one.
    """
    url = settings.gateway.url
    return "" if url == _url_in_home(settings.home) and running_pid(settings.home) is None else url


def _find_url(home: Path | None) -> str:
    settings = nearest_settings(home)
    url = known(settings)
    if not url:
        raise missing(settings, home)
    return url


def _url_in_home(home: Path) -> str:
    """The URL that the stack runner has written to the home folder; empty if there is none."""
    try:
        connections = tomllib.loads((home / CONNECTIONS).read_text())
    except FileNotFoundError:
        return ""
    return str(connections.get("gateway", {}).get("url", ""))
