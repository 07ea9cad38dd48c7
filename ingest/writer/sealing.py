"""The seal of a shard's writer: rows of sealed days go to the late stream instead of QuestDB.

A requested seal takes effect between two commits, never during one, and is confirmed after that. So once a seal is
confirmed, QuestDB has all rows of the sealed days that this shard will ever commit there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import structlog
from nats.js.errors import KeyWrongLastSequenceError

from ingest.writer.marks import DayKey
from tapehouse.batch import Batch
from tapehouse.clock import parse_ns
from tapehouse.stream.bus import State
from tapehouse.stream.seal import SEAL, Seal, confirmed_key

_POLL_S = 1.0
_log = structlog.get_logger()


class ShardSeal:
    """The seal of one shard. It persists over the writer's sessions, and sealed days stay sealed."""

    def __init__(self, state: State, shard: int) -> None:
        self._state = state
        self._shard = shard
        self._seal: Seal = {}
        self._starts: dict[str, int] = {}
        """By kind: the start of the first day that is not sealed, ns UTC."""
        self.committing = asyncio.Lock()
        """The writer acquires this lock before it splits a group and releases it when the group is committed."""

    async def begin(self) -> None:
        """At the start of a session, while no commit is running: apply the confirmed and the requested seal."""
        while not await self._apply_requested():
            pass

    async def run(self) -> None:
        """Apply requested seals until cancelled."""
        while True:
            await asyncio.sleep(_POLL_S)
            await self._apply_requested()

    def sealed(self, days: Iterable[DayKey]) -> set[DayKey]:
        """Those of `days` that are sealed."""
        return {(kind, day) for kind, day in days if day < self._seal.get(kind, "")}

    def split(self, batches: Sequence[Batch]) -> tuple[list[Batch], list[tuple[int, Batch]]]:
        """Batches of rows for QuestDB, and (index of the batch, its rows of sealed days).

        Rows keep their order. Call it only while holding `committing`.
        """
        hot: list[Batch] = []
        late: list[tuple[int, Batch]] = []
        for index, batch in enumerate(batches):
            is_late = batch.array(batch.kind.time) < self._starts.get(batch.kind.name, 0)
            if not is_late.any():
                hot.append(batch)
                continue
            late.append((index, batch.take(is_late)))
            if not is_late.all():
                hot.append(batch.take(~is_late))
        return hot, late

    async def _apply_requested(self) -> bool:
        """Apply and confirm the requested seal; False when another process has changed the confirmed one."""
        key = confirmed_key(self._shard)
        confirmed, revision = await self._state.get_revised(key)
        requested: Seal = await self._state.get(SEAL) or {}
        seal = _latest(self._seal, confirmed or {}, requested)
        if seal != self._seal:
            starts = {kind: parse_ns(day) for kind, day in seal.items()}
            async with self.committing:
                self._seal, self._starts = seal, starts
        if seal != (confirmed or {}):
            try:
                await self._state.replace(key, seal, revision)
            except KeyWrongLastSequenceError:
                return False
            _log.info("days sealed", shard=self._shard, before=seal)
        return True


def _latest(*seals: Seal) -> Seal:
    """The seal with the latest day of each kind."""
    return {
        kind: max(seal.get(kind, "") for seal in seals) for kind in {kind for seal in seals for kind in seal}
    }
