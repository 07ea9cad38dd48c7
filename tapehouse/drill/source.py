"""The seam between the drill and what brings rows in: a file's ingest, the simulator, or another feed.

A source of another kind is a class with these members, made in tapehouse/cli/drill_sources.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from tapehouse.model import TRADES


@dataclass(frozen=True)
class Expected:
    """The rows of a source, as frames of the columns of trades."""

    certain: pl.DataFrame
    """Must be there."""
    possible: pl.DataFrame
    """May be there: under way when the source ended, and not acknowledged to it."""
    columns: tuple[str, ...] = TRADES.names
    """What is compared: all, but for what the faults themselves decide."""


class Victim(Protocol):
    """A process that can be struck."""

    async def pid(self) -> int:
        """The process that does the work now; waits where there is none."""

    async def replaced(self, pid: int) -> None:
        """Return when another process than `pid` does the work and is ready."""


class Source(Victim, Protocol):
    """Brings the rows of one venue in, once: start, then finish."""

    venue: str
    rows: int
    """Rows of a run, among which the moments are chosen."""
    endless: bool
    """Whether it goes on publishing until it is told to finish."""
    notes: list[str]
    """What a user should know of how it went, such as a run that ended with an error."""

    async def start(self) -> None:
        """Begin; returns when it runs."""

    async def ended(self) -> None:
        """Return when it has ended by itself; of a feed without an end never."""

    async def finish(self) -> None:
        """Return when it has ended by itself, or, of a feed without an end, end it gracefully."""

    def expected(self) -> Expected:
        """Its rows, once it is finished. Blocking."""

    async def close(self) -> None:
        """End what still runs of it, however it went."""
