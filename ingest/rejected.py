"""A record that cannot be taken in, as it came."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rejected:
    """What a source held where a record was expected; it goes to quarantine."""

    original: bytes
    """The line without its line end (of one beyond the limit its beginning), or the row as JSON."""
    reason: str
    """"price: expected a number, was 'abc'"."""
    where: str
    """"ticks.csv line 17", counted from 1 with the header, or "ticks.parquet row 17", counted from 1."""
