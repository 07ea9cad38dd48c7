"""How much a packed file may hold: so much that files of ticks never come near, and no more than a disk can take.

Also how far its unpacking is told.
"""

from __future__ import annotations

from collections.abc import Callable

Unpacking = Callable[[float], None]
"""Receives the part of a packed file that was read, from 0 to 1, while it is unpacked before its first row."""

ALWAYS_BYTES = 2**30
"""What any packed file may hold."""
MOST_TIMES_LARGER = 200
"""Files of ticks are 3 to 30 times larger unpacked."""
TOO_LARGE_REMEDY = "If it is a file of ticks, unpack it yourself, and ingest what it holds."


def untold(fraction: float) -> None:
    """An `Unpacking` for those who do not show it."""


def most_unpacked(packed: int) -> int:
    """The most bytes that may come of so many packed ones."""
    return max(ALWAYS_BYTES, MOST_TIMES_LARGER * packed)


def too_large(packed: int) -> str:
    """What is wrong with a file of so many bytes that holds more."""
    return f"expected at most {most_unpacked(packed):,} bytes unpacked of {packed:,} packed ones, was more"
