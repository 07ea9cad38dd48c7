"""A record that was not accepted, as received."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rejected:
    """Input that is not a valid record; it goes to quarantine."""

    original: bytes
    """The line without its line end (its beginning where it is too long), or the row as JSON."""
    reason: str
    """"price: expected a number, was 'abc'"."""
    where: str
    """"ticks.csv line 17", counted from 1 with the header, or "ticks.parquet row 17", counted from 1."""
