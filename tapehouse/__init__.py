"""Tapehouse: a market data platform. `connect` returns the client of a running platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tapehouse.client.database import Database

__all__ = ["__version__", "connect"]


def connect(url: str | None = None, *, home: Path | str | None = None, venue: str | None = None) -> Database:
    """Connect to the gateway of a running platform, at `url` or of the platform in the folder `home`.

    venue: the venue of queries that name none.

    Without either, uses the settings like the command line, or the nearest `.tapehouse` in the working directory or
    its parents.

    Raises ConnectError, with the command that starts the platform, when no gateway answers.
    """
    from pathlib import Path

    from tapehouse.client.address import connected

    return connected(url, None if home is None else Path(home), venue)


def __getattr__(name: str) -> str:
    """`__version__`, read only when it is asked for: an import of this package imports nothing."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version(__name__)


def __dir__() -> list[str]:
    return [*__all__, "errors"]
