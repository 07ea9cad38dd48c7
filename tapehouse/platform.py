"""Finds the platform that a command or a client is for: the one that is named, of this folder, or of one above."""

from __future__ import annotations

from pathlib import Path

from tapehouse.errors import ConnectError
from tapehouse.settings import CONNECTIONS, ClickHouse, Nats, QuestDB, Settings, load

_HOME = ".tapehouse"


def nearest_settings(home: Path | None) -> Settings:
    """The settings of `home`; without one those of the settings' own, or of the nearest folder above with a platform.

    Raises SettingsError if they are invalid.
    """
    settings = load(home)
    is_named = home is not None or settings.home != Path(_HOME).absolute()
    if is_named or _has_addresses(settings):
        return settings
    for folder in Path.cwd().parents:
        if (folder / _HOME / CONNECTIONS).exists():
            return load(folder / _HOME)
    return settings


def platform_settings(home: Path | None) -> Settings:
    """As `nearest_settings`, for a command that needs a platform.

    Raises ConnectError where there is none: at the default addresses there might be another's servers.
    """
    settings = nearest_settings(home)
    if not _has_addresses(settings):
        raise missing(settings, home)
    return settings


def missing(settings: Settings, home: Path | None) -> ConnectError:
    """The error where no platform runs in the home of the settings; `home` is that which was named."""
    return ConnectError(
        f"platform: expected one running in {settings.home}, was none",
        remedy=f"Start it with `{start_command(home)}`, or name another's home, or the url of a gateway.",
        home=str(settings.home),
    )


def start_command(home: Path | None) -> str:
    """The command that starts a platform in the home that was named, or in the usual one."""
    return "tapehouse up" if home is None else f"tapehouse up --home {home}"


def _has_addresses(settings: Settings) -> bool:
    """Whether a home or a setting says where the servers are."""
    return bool(
        settings.gateway.url
        or settings.nats.passwords
        or settings.nats.url != Nats().url
        or settings.questdb != QuestDB()
        or settings.clickhouse != ClickHouse()
    )
