"""Seals: the days of a kind whose ticks go to the late stream instead of the hot store.

The shared state holds one record: by kind the first day that is not sealed. All days before it are, those too
that the hot store never saw. A seal only ever moves on. A writer that has confirmed a seal commits no row of a
sealed day to the hot store, nor does any later writer of its shard.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

SEAL = "seal"
"""The key of the record that is asked for."""
LATE_SUBJECTS = "late.>"

Seal: TypeAlias = dict[str, str]
"""By kind: the first day, YYYY-MM-DD, that is not sealed. Kinds without an entry have no sealed day."""


def confirmed_key(shard: int | str) -> str:
    """The key of the seal that the writer of a shard keeps to."""
    return f"sealed.{shard}"


def late_subject(kind: str, shard: int) -> str:
    """Where a writer publishes rows of sealed days, as batches of the wire format."""
    return f"late.{kind}.{shard}"


def kept(confirmed: Iterable[Seal]) -> Seal:
    """What all of several writers keep to."""
    seals = list(confirmed)
    kinds = set(seals[0]).intersection(*seals) if seals else set()
    return {kind: min(seal[kind] for seal in seals) for kind in kinds}


def covers(confirmed: Seal, asked: Seal) -> bool:
    """Whether who keeps to `confirmed` keeps to `asked` too."""
    return all(confirmed.get(kind, "") >= day for kind, day in asked.items())
