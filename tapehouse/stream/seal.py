"""Seals: the days of a kind whose ticks go to the late stream instead of QuestDB.

One record in the shared state has, by kind, the first day that is not sealed. All days before it are sealed, also
days without rows in QuestDB. That day only ever increases. Once a writer has confirmed a seal, neither it nor any
later writer of its shard commits a row of a sealed day to QuestDB.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

SEAL = "seal"
"""The key of the requested seal."""
LATE_SUBJECTS = "late.>"

Seal: TypeAlias = dict[str, str]
"""By kind: the first day, YYYY-MM-DD, that is not sealed. A kind without an entry has no sealed days."""


def confirmed_key(shard: int | str) -> str:
    """The key of the seal that the writer of a shard has confirmed."""
    return f"sealed.{shard}"


def late_subject(kind: str, shard: int) -> str:
    """The subject to which a writer publishes rows of sealed days, as batches in the wire format."""
    return f"late.{kind}.{shard}"


def common_seal(confirmed: Iterable[Seal]) -> Seal:
    """The days that all of several writers have sealed: by kind the earliest of their first unsealed days."""
    seals = list(confirmed)
    kinds = set(seals[0]).intersection(*seals) if seals else set()
    return {kind: min(seal[kind] for seal in seals) for kind in kinds}


def seal_covers(confirmed: Seal, requested: Seal) -> bool:
    """Whether every day that `requested` seals is sealed by `confirmed`."""
    return all(confirmed.get(kind, "") >= day for kind, day in requested.items())
