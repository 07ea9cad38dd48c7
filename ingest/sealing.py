"""The seal that a shard's writer keeps to: rows of sealed days go to the late stream, not to the hot store.

What is asked for takes effect between two commits, never during one, and is confirmed after that. So whoever
finds it confirmed finds in the hot store all rows of sealed days that this shard will ever bring there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import structlog
from nats.js.errors import KeyWrongLastSequenceError

from ingest.marks import Day
from tapehouse.batch import Batch
from tapehouse.bus import State
from tapehouse.clock import parse_ns
from tapehouse.seal import SEAL, Seal, confirmed_key

_LOOK_S = 1.0
_log = structlog.get_logger()


class Sealing:
    """The seal of one shard. It outlives the writer's sessions and only ever moves on."""

    def __init__(self, state: State, shard: int) -> None:
        self._state = state
        self._shard = shard
        self._seal: Seal = {}
        self._starts: dict[str, int] = {}
        """By kind: where the first day begins that is not sealed, ns."""
        self.committing = asyncio.Lock()
        """To be held by the writer from the split of a group until it is committed."""

    async def begin(self) -> None:
        """At a session's start, with no commit under way: take up what was confirmed and what is asked for."""
        while not await self._look():
            pass

    async def run(self) -> None:
        """Follow what is asked for."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()

    def sealed(self, days: Iterable[Day]) -> set[Day]:
        """Those of `days` that are sealed; they stay so."""
        return {(kind, day) for kind, day in days if day < self._seal.get(kind, "")}

    def split(self, batches: Sequence[Batch]) -> tuple[list[Batch], list[tuple[int, Batch]]]:
        """What the hot store takes of batches, and the rows of sealed days with the place of their batch.

        Rows keep their order. To be asked while `committing` is held.
        """
        hot: list[Batch] = []
        late: list[tuple[int, Batch]] = []
        for place, batch in enumerate(batches):
            is_late = batch.array(batch.kind.time) < self._starts.get(batch.kind.name, 0)
            if not is_late.any():
                hot.append(batch)
                continue
            late.append((place, batch.take(is_late)))
            if not is_late.all():
                hot.append(batch.take(~is_late))
        return hot, late

    async def _look(self) -> bool:
        """Keep to what is asked for and confirm it; False when somebody else has changed what was confirmed."""
        key = confirmed_key(self._shard)
        confirmed, revision = await self._state.get_revised(key)
        asked: Seal = await self._state.get(SEAL) or {}
        seal = _latest(self._seal, confirmed or {}, asked)
        if seal != self._seal:
            starts = {kind: parse_ns(day) for kind, day in seal.items()}
            async with self.committing:
                self._seal, self._starts = seal, starts
        if seal != (confirmed or {}):
            try:
                await self._state.replace(key, seal, revision)
            except KeyWrongLastSequenceError:
                return False
            _log.info("days are sealed", shard=self._shard, before=seal)
        return True


def _latest(*seals: Seal) -> Seal:
    """By kind the latest day."""
    return {
        kind: max(seal.get(kind, "") for seal in seals) for kind in {kind for seal in seals for kind in seal}
    }
