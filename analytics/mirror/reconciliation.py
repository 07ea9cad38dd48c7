"""Compares all closed days, also proven ones; differences are reported, recorded in the ledger, and healed if possible.

A day that QuestDB owns is read from both stores. A day that ClickHouse owns is compared with the ledger, and copied
again from QuestDB when that still has it. Where TimescaleDB is set, its account trades and candles are compared last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from nats.errors import Error as NatsError

from analytics.mirror.copier import slice_fingerprint
from analytics.mirror.decisions import DayInfo
from analytics.mirror.fingerprint import Fingerprint
from analytics.mirror.hot_store import HotDayReader
from analytics.mirror.inventory import read_marks, today
from analytics.mirror.ledger import DayKey, LedgerEntry, MarksByShard
from analytics.mirror.merger import matches_ledger
from analytics.mirror.session import MirrorProgress, MirrorSession
from analytics.mirror.timescale_reconciliation import TimescaleReconciliation
from analytics.mirror.verification_report import Difference, VerificationReport
from tapehouse.errors import TapehouseError
from tapehouse.model import KINDS, Kind


class Reconciliation:
    """Compares and heals days. Requires the mirror's lease."""

    def __init__(self, mirror: MirrorSession) -> None:
        self._mirror = mirror

    async def run(self, progress: MirrorProgress) -> VerificationReport:
        """Copy the days that are not proven, compare all closed days, and copy again those that differ."""
        verdict = VerificationReport(failed=(await self._mirror.copy_all(progress)).failed)
        now = today()
        days = {key: day for key, day in (await self._mirror.read_days()).items() if day.day < now}
        progress.start(sum(max(day.hot_rows, day.cold_rows) for day in days.values()))
        for _, day in sorted(days.items()):
            try:
                await self._compare(day, verdict, progress)
            except (TapehouseError, NatsError) as reason:
                verdict.unknown[day.key] = str(reason)
        if verdict.differing:
            await self._heal(verdict, days, progress)
        if self._mirror.settings.timescale.dsn.get_secret_value():
            await TimescaleReconciliation(self._mirror).run(verdict, progress)
        return verdict

    async def _compare(self, day: DayInfo, verdict: VerificationReport, progress: MirrorProgress) -> None:
        kind = KINDS[day.kind]
        if day.is_cold:
            assert day.entry is not None
            difference = await self._compare_with_ledger(kind, day.entry)
        elif day.is_proven:
            difference = await self._compare_with_hot(kind, day, progress)
        else:
            verdict.unknown[day.key] = f"{day.state(today())}: the next run of the mirror copies it"
            return
        entry = await asyncio.to_thread(self._mirror.ledger.get, *day.key)
        fault = ""
        if difference is None:
            verdict.equal.append(day.key)
        else:
            verdict.differing.append(difference)
            fault = f"expected {difference.expected}, was {difference.found}"
        if fault == entry.fault:
            return
        confirmed_ns = await self._mirror.confirm_lease()
        await asyncio.to_thread(self._mirror.ledger.put, replace(entry, fault=fault), confirmed_ns)

    async def _compare_with_ledger(self, kind: Kind, entry: LedgerEntry) -> Difference | None:
        found = await asyncio.to_thread(self._mirror.cold.fingerprint, kind, kind.name, entry.day)
        if matches_ledger(entry, found):
            return None
        recorded = f"{entry.rows:,} rows with the fingerprint {entry.fingerprint}"
        return Difference(entry.key, recorded, f"{found.rows:,} with {found.digest}")

    async def _compare_with_hot(
        self, kind: Kind, day: DayInfo, progress: MirrorProgress
    ) -> Difference | None:
        """The difference between the stores, or between them and the ledger; None when all are equal."""
        assert day.entry is not None
        marks, hot = await self._read_hot(kind, day.day, progress)
        cold = await asyncio.to_thread(self._mirror.cold.fingerprint, kind, kind.name, day.day)
        if not marks == day.marks == await read_marks(self._mirror.bus, kind, day.day):
            raise TapehouseError("written to while it was compared: the next run of the mirror copies it")
        groups = hot.differing_groups(cold)
        if not groups and day.entry.rows == hot.rows and day.entry.fingerprint == hot.digest:
            return None
        found = (
            f"{cold.rows:,} other rows"
            if groups
            else f"another fingerprint in the ledger: {day.entry.fingerprint}"
        )
        return Difference(day.key, f"{hot.rows:,} rows as in QuestDB", found, tuple(groups))

    async def _read_hot(
        self, kind: Kind, day: str, progress: MirrorProgress
    ) -> tuple[MarksByShard, Fingerprint]:
        hot = HotDayReader(self._mirror.settings.questdb)
        try:
            visible = await self._mirror.copier.visibility.wait_until_visible(kind, day, hot)
            slices = await asyncio.to_thread(hot.slices, kind, day, self._mirror.settings.mirror.slice_rows)
            found = Fingerprint({})
            async for part, body in hot.export(kind, slices):
                found = Fingerprint.sum([found, await asyncio.to_thread(slice_fingerprint, kind, part, body)])
                progress.advance(part.rows)
            return visible.marks, found
        finally:
            hot.reader.close()

    async def _heal(
        self, verdict: VerificationReport, days: Mapping[DayKey, DayInfo], progress: MirrorProgress
    ) -> None:
        """Copy the days that differ again; a day owned by ClickHouse only when QuestDB still has it."""
        keys = {difference.key for difference in verdict.differing}
        report = await self._mirror.copy_all(progress, lambda day: day.key in keys)
        healed = {entry.key for entry in report.copied}
        for key in sorted(keys - healed):
            if days[key].is_cold and days[key].hot_rows:
                try:
                    await self._mirror.copier.copy(KINDS[key[0]], key[1], progress.advance)
                except (TapehouseError, NatsError) as reason:
                    verdict.failed[key] = str(reason)
                else:
                    healed.add(key)
        verdict.failed.update(report.failed)
        verdict.differing = [replace(one, healed=one.key in healed) for one in verdict.differing]
