"""Tapehouse: a market data platform with one truth at every seam."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tapehouse.client.database import Database

__all__ = ["connect"]


def connect(url: str | None = None, *, home: Path | str | None = None) -> Database:
    """The database of a platform that runs: `url` is its gateway's, by default that of the platform in `home`.

    Without either: that of the settings, as the command line finds it, or of the nearest `.tapehouse` above.

    Raises ConnectError, with the command that starts the platform, where no gateway answers.
    """
    from pathlib import Path

    from tapehouse.client.address import connected

    return connected(url, None if home is None else Path(home))
