"""Imports history straight into ClickHouse (`tapehouse ingest --cold`), without duplicating rows.

The rows are collected in a temporary table until the source has been read to its end; each of their days is then
merged and proven like a day with late ticks. An import that is interrupted leaves only days that are merged
completely, and can be repeated from the start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from analytics.mirror.cold_store import IMPORT_PREFIX, ColdStore
from analytics.mirror.decisions import accepts_late_rows
from analytics.mirror.handover import request_seal, wait_until_confirmed
from analytics.mirror.inventory import today
from analytics.mirror.late_rows import PLACE, LateRowsTable
from analytics.mirror.session import MirrorSession
from tapehouse.batch import Batch
from tapehouse.errors import UsageError
from tapehouse.model import Kind
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus
from tapehouse.tabular import as_frame

_SHOWN = 5
_CONFIRM_TIMEOUT_S = 30


@dataclass
class ImportReport:
    """How many rows of the import were new, stored already, or gave a stored key other values."""

    accepted: int = 0
    duplicate: int = 0
    corrected: int = 0
    days: int = 0


class ColdImport:
    """Imports one source; call `run` once. Takes the mirror's lease once the source has been read."""

    def __init__(self, settings: Settings, bus: Bus) -> None:
        self._settings = settings
        self._bus = bus
        self._late: dict[Kind, LateRowsTable] = {}
        self._next_place = 0

    async def run(self, batches: AsyncIterator[Batch]) -> ImportReport:
        """Merge all rows of `batches`, in their order.

        Raises UsageError when one of their days is not closed or QuestDB owns it; ProofError, ColdStoreError,
        ConnectError as a merge does.
        """
        report = ImportReport()
        cold = ColdStore(self._settings.clickhouse)
        try:
            async with AsyncExitStack() as tables:
                async for batch in batches:
                    await self._collect(batch, cold, tables)
                async with MirrorSession.leased(self._settings, self._bus) as mirror:
                    for kind, late in self._late.items():
                        await late.flush()
                        await self._take_ownership(mirror, kind, sorted(late.fingerprints))
                    for late in self._late.values():
                        await self._merge(mirror, late, report)
        finally:
            cold.close()
        return report

    async def _collect(self, batch: Batch, cold: ColdStore, tables: AsyncExitStack) -> None:
        if batch.kind not in self._late:
            opened = LateRowsTable.opened(cold, batch.kind, IMPORT_PREFIX)
            self._late[batch.kind] = await tables.enter_async_context(opened)
        places = pl.int_range(
            self._next_place, self._next_place + batch.rows, dtype=pl.UInt64, eager=True
        ).alias(PLACE)
        self._next_place += batch.rows
        await self._late[batch.kind].append(as_frame(batch).with_columns(places))

    async def _take_ownership(self, mirror: MirrorSession, kind: Kind, days: list[str]) -> None:
        """Seal these days and all before them, so that QuestDB gets no more of their ticks.

        Raises UsageError, ProofError.
        """
        if days[-1] >= today():
            raise UsageError(
                f"--cold: expected closed days, was {kind.name} of {days[-1]}",
                remedy="Ingest the file without --cold.",
            )
        before = (date.fromisoformat(days[-1]) + timedelta(days=1)).isoformat()
        await self._refuse_hot(mirror, kind, before)
        # Also when it was requested before: it may not have been confirmed.
        await request_seal(mirror.bus, kind.name, before)
        await wait_until_confirmed(mirror.bus, {kind.name: before}, _CONFIRM_TIMEOUT_S)
        # Days may have been written to between the first check and the seal.
        await self._refuse_hot(mirror, kind, before)

    async def _refuse_hot(self, mirror: MirrorSession, kind: Kind, before: str) -> None:
        of_kind = [day for day in (await mirror.read_days()).values() if day.kind == kind.name]
        seal = {kind.name: before}
        hot = sorted(
            day.day
            for day in of_kind
            if day.day < before and not accepts_late_rows(day, day.day, kind.name, seal)
        )
        if hot:
            raise UsageError(
                f"--cold: {kind.name} of {', '.join(hot[:_SHOWN])}{' ...' if len(hot) > _SHOWN else ''} are owned by "
                f"QuestDB, but ClickHouse must own all days before {before}",
                remedy="Ingest the file without --cold, or hand these days over first: `tapehouse mirror retain "
                "--hot-days N`.",
            )

    async def _merge(self, mirror: MirrorSession, late: LateRowsTable, report: ImportReport) -> None:
        for day in sorted(late.fingerprints):
            merged = await mirror.merger.merge(day, late)
            report.accepted += merged.accepted
            report.duplicate += merged.duplicate
            report.corrected += merged.corrected
            report.days += 1
