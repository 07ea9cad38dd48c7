"""A row that could not be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rejected:
    """The bytes as they came, why they were refused, and where they stood."""

    original: bytes
    reason: str
    where: str
