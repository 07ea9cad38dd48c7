"""The interface between the drill and its loads.

Another load is a class with the members of `LoadSource`, made in ops/drill/sources.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from tapehouse.model import TRADES


@dataclass(frozen=True)
class ExpectedRows:
    """The rows of a source, as frames with the columns of trades."""

    certain: pl.DataFrame
    """Rows that must be stored."""
    possible: pl.DataFrame
    """Rows that may be stored: sent, but not acknowledged when the source ended."""
    columns: tuple[str, ...] = TRADES.names
    """The columns to compare: all but those that depend on the faults."""


class FaultTarget(Protocol):
    """A process that faults are injected into."""

    async def pid(self) -> int:
        """The id of the current process; waits while there is none."""

    async def replaced(self, pid: int) -> None:
        """Return when a process other than `pid` is ready."""


class LoadSource(FaultTarget, Protocol):
    """Publishes the rows of one venue, once: start, then finish."""

    venue: str
    rows: int
    """Rows of a run; `PlannedFault.at` is a share of them."""
    endless: bool
    """Whether it publishes until `finish` is called."""
    notes: list[str]
    """What the report should mention, such as a run that ended with an error."""

    async def start(self) -> None:
        """Start it; returns when it runs."""

    async def ended(self) -> None:
        """Return when it has ended by itself; never for an endless source."""

    async def finish(self) -> None:
        """Return when it has ended by itself; an endless source is ended gracefully."""

    def expected(self) -> ExpectedRows:
        """Its rows, after `finish`. Blocking."""

    async def close(self) -> None:
        """End what still runs of it, also after an error."""
