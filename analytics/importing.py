"""Old history brought straight to the cold store: whole days merged, without a row doubled.

The rows wait in a table of their own until the source is read to its end; then each of their days is merged
and proven like one with late ticks. A run that was cut off leaves nothing but days that are merged as a whole,
and is repeated from the start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from analytics.coldstore import IMPORT, ColdStore
from analytics.days import takes_late
from analytics.handover import ask_seal, until_confirmed
from analytics.laterows import PLACE, LateRows
from analytics.mirror import Mirror
from analytics.survey import today
from tapehouse.batch import Batch
from tapehouse.bus import Bus
from tapehouse.errors import ConflictError, UsageError
from tapehouse.model import Kind
from tapehouse.settings import Settings
from tapehouse.tabular import as_frame

_SHOWN = 5
_CONFIRMED_S = 30


@dataclass
class Imported:
    """Rows by what became of them."""

    accepted: int = 0
    duplicate: int = 0
    corrected: int = 0
    days: int = 0


class Import:
    """One source; `run` once. The mirror's lease is taken when all is read."""

    def __init__(self, settings: Settings, bus: Bus, may_correct: Callable[[Kind], bool]) -> None:
        """`may_correct` tells whether rows of a kind may give stored keys other values."""
        self._settings = settings
        self._bus = bus
        self._may_correct = may_correct
        self._late: dict[Kind, LateRows] = {}
        self._place = 0

    async def run(self, batches: AsyncIterator[Batch]) -> Imported:
        """Merge all rows of `batches`, in their order.

        Raises UsageError where a day of theirs is open or the hot store's, ConflictError where rows would
        overwrite others that they must not; ProofError, ColdStoreError, ConnectError as a merge does.
        """
        done = Imported()
        cold = ColdStore(self._settings.clickhouse)
        try:
            async with AsyncExitStack() as tables:
                async for batch in batches:
                    await self._hold(batch, cold, tables)
                async with Mirror.leased(self._settings, self._bus) as mirror:
                    for kind, late in self._late.items():
                        await late.send()
                        await self._own(mirror, kind, sorted(late.fingerprints))
                    for late in self._late.values():
                        await self._merge(mirror, late, done)
        finally:
            cold.close()
        return done

    async def _hold(self, batch: Batch, cold: ColdStore, tables: AsyncExitStack) -> None:
        if batch.kind not in self._late:
            opened = LateRows.opened(cold, batch.kind, IMPORT)
            self._late[batch.kind] = await tables.enter_async_context(opened)
        places = pl.int_range(self._place, self._place + batch.rows, dtype=pl.UInt64, eager=True).alias(PLACE)
        self._place += batch.rows
        await self._late[batch.kind].hold(as_frame(batch).with_columns(places))

    async def _own(self, mirror: Mirror, kind: Kind, days: list[str]) -> None:
        """See to it that the cold store may take these days: no tick of them goes to the hot store any more."""
        if days[-1] >= today():
            raise UsageError(
                f"--cold: expected days that are closed, the last {kind.name} are of {days[-1]}",
                remedy="Bring the file in without --cold.",
            )
        before = (date.fromisoformat(days[-1]) + timedelta(days=1)).isoformat()
        await self._refuse_hot(mirror, kind, before)
        # Also where it was asked for before: it may not have been confirmed.
        await ask_seal(mirror.bus, kind.name, before)
        await until_confirmed(mirror.bus, {kind.name: before}, _CONFIRMED_S)
        # What came between the look and the seal.
        await self._refuse_hot(mirror, kind, before)

    async def _refuse_hot(self, mirror: Mirror, kind: Kind, before: str) -> None:
        ours = [day for day in (await mirror.days()).values() if day.kind == kind.name]
        seal = {kind.name: before}
        hot = sorted(
            day.day for day in ours if day.day < before and not takes_late(day, day.day, kind.name, seal)
        )
        if hot:
            raise UsageError(
                f"--cold: {kind.name} of {', '.join(hot[:_SHOWN])}{' ...' if len(hot) > _SHOWN else ''} are the hot "
                f"store's, and all days before {before} would have to be the cold store's",
                remedy="Bring the file in without --cold, or hand these days over first: `tapehouse mirror retain "
                "--hot-days N`.",
            )

    async def _merge(self, mirror: Mirror, late: LateRows, done: Imported) -> None:
        def check(day: str, rows: int) -> None:
            if not self._may_correct(late.kind):
                raise ConflictError(
                    f"{late.kind.name} of {day}: expected the rows stored there, was {rows:,} others under their keys",
                    remedy="Rows without ids are numbered by time. Another source needs a venue of its own.",
                )

        for day in sorted(late.fingerprints):
            merged = await mirror.merger.merge(day, late, check=check)
            done.accepted += merged.accepted
            done.duplicate += merged.duplicate
            done.corrected += merged.corrected
            done.days += 1
