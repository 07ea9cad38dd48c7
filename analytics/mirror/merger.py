"""Merges late rows into a day that ClickHouse owns: a late row replaces the row with its key.

The merged day is built in a staging table, proven, and replaces the old day atomically. Its expected fingerprint is
known beforehand: that of the old day minus the replaced rows, plus that of the late rows minus those that a later
row with the same key supersedes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace

from analytics.mirror.clickhouse_sql import insert_target, select_stored
from analytics.mirror.cold_store import ColdStore
from analytics.mirror.copier import LeaseCheck
from analytics.mirror.fingerprint import Fingerprint
from analytics.mirror.late_rows import PLACE, LateRowsTable
from analytics.mirror.ledger import LateStreamPosition, Ledger, LedgerEntry
from tapehouse.clock import now_ns
from tapehouse.errors import ProofError


@dataclass(frozen=True)
class MergeReport:
    """The late rows of one day, counted by key."""

    entry: LedgerEntry
    accepted: int
    """Keys that the day did not have."""
    duplicate: int
    """Keys whose row was the same, apart from ts_recv."""
    corrected: int
    """Keys whose row had other values."""


@dataclass
class _MergeTotals:
    """Totals over the spans of a day."""

    replaced: Fingerprint = field(default_factory=lambda: Fingerprint({}))
    """The rows of the day that late rows replace."""
    superseded: Fingerprint = field(default_factory=lambda: Fingerprint({}))
    """The late rows that a later one with the same key supersedes."""
    duplicate: int = 0
    corrected: int = 0


def matches_ledger(entry: LedgerEntry, found: Fingerprint) -> bool:
    """Whether a day in ClickHouse is as the ledger records it, or as the merge that was under way would leave it."""
    known = found.rows == entry.rows and (not entry.rows or found.digest == entry.fingerprint)
    return known or bool(entry.pending and found.digest == entry.pending)


class Merger:
    """Merges late rows into days of ClickHouse."""

    def __init__(self, cold: ColdStore, ledger: Ledger, confirm_lease: LeaseCheck, max_rows: int) -> None:
        """`max_rows` late rows are looked up at a time."""
        self._cold = cold
        self._ledger = ledger
        self._confirm_lease = confirm_lease
        self._max_rows = max_rows

    async def merge(
        self, day: str, late: LateRowsTable, until: LateStreamPosition | None = None
    ) -> MergeReport:
        """Merge the late rows of a day that ClickHouse owns or that neither store has; ClickHouse owns it after that.

        `until` is the last message of the late stream that the rows include, when they come from there.
        Raises ProofError when the day differs from the ledger, or the merged day from what it must be; the old
        day is not replaced then.
        """
        began = time.monotonic()
        kind = late.kind
        before = await asyncio.to_thread(self._ledger.get, kind.name, day)
        async with self._cold.staging_table(kind, day) as staging:
            totals, old, merged = await asyncio.to_thread(self._build, day, late, before, staging)
            confirmed_ns = await self._confirm_lease()
            # `pending` is recorded before the day is replaced, so that a merge that is killed between the two leaves
            # a day that still matches the ledger. The old digest is recorded too: it may come from such a merge.
            pending = replace(
                before, owner="cold", rows=old.rows, fingerprint=old.digest, pending=merged.digest
            )
            pending = await asyncio.to_thread(self._ledger.put, pending, confirmed_ns)
            await asyncio.to_thread(self._cold.replace_day, kind, day, staging)
        entry = replace(
            pending,
            rows=merged.rows,
            fingerprint=merged.digest,
            late_position=until or before.late_position,
            fault="",
            pending="",
            seconds=time.monotonic() - began,
            bytes=late.bytes[day],
            proven_ns=now_ns(),
        )
        entry = await asyncio.to_thread(self._ledger.put, entry, confirmed_ns)
        keys = late.fingerprints[day].rows - totals.superseded.rows
        return MergeReport(entry, keys - totals.replaced.rows, totals.duplicate, totals.corrected)

    def _build(
        self, day: str, late: LateRowsTable, before: LedgerEntry, staging: str
    ) -> tuple[_MergeTotals, Fingerprint, Fingerprint]:
        """Fill the staging table with the merged day and prove it; returns (totals, old day, merged day)."""
        kind = late.kind
        old = self._cold.fingerprint(kind, kind.name, day)
        if not matches_ledger(before, old):
            raise ProofError(
                f"{kind.name} of {day}: expected {before.rows:,} rows as the ledger records them, was {old.rows:,} "
                "different ones: the day is damaged, so nothing was merged into it",
                remedy="Run `tapehouse mirror verify` for details, and restore the day from a backup.",
            )
        sent = late.fingerprints[day]
        if groups := sent.differing_groups(self._cold.fingerprint(kind, late.table, day)):
            raise ProofError(
                f"{kind.name} of {day}: expected {sent.rows:,} late rows as sent, was other rows of {groups[:3]}"
            )
        totals = _MergeTotals()
        for start_ns, end_ns in late.split(day, self._max_rows):
            self._merge_span(late, staging, start_ns, end_ns, totals)
        expected = Fingerprint.sum([old, sent]).minus(totals.replaced).minus(totals.superseded)
        merged = self._cold.fingerprint(kind, staging)
        if groups := expected.differing_groups(merged):
            raise ProofError(
                f"{kind.name} of {day}: expected {expected.rows:,} rows after the merge, was {merged.rows:,} "
                f"that differ in {groups[:3]}",
                remedy="The old day was not replaced. The next run merges it again.",
            )
        return totals, old, merged

    def _merge_span(
        self, late: LateRowsTable, staging: str, start_ns: int, end_ns: int, totals: _MergeTotals
    ) -> None:
        """Insert the merged rows of one span into the staging table, and add to the totals."""
        kind = late.kind
        columns, key = ", ".join(kind.names), ", ".join(kind.key)
        span = (
            f"{kind.time} >= fromUnixTimestamp64Nano({start_ns}, 'UTC') "
            f"AND {kind.time} < fromUnixTimestamp64Nano({end_ns}, 'UTC')"
        )
        has_late_row = f"({key}) IN (SELECT {key} FROM {late.table} WHERE {span})"
        unchanged = f"(SELECT {columns} FROM {kind.name} WHERE {span} AND NOT ({has_late_row}))"
        newest = (
            f"(SELECT {columns} FROM {late.table} WHERE {span} ORDER BY {key}, {PLACE} DESC LIMIT 1 BY {key})"
        )
        superseded = (
            f"(SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {PLACE} DESC) AS age "
            f"FROM {late.table} WHERE {span}) WHERE age > 1"
        )
        for source in (unchanged, newest):
            self._cold.client.command(
                f"INSERT INTO {insert_target(kind, staging)} {select_stored(kind, source)}"
            )
        replaced = self._cold.fingerprint(kind, f"{kind.name} WHERE {span} AND {has_late_row}")
        totals.replaced = Fingerprint.sum([totals.replaced, replaced])
        totals.superseded = Fingerprint.sum([totals.superseded, self._cold.fingerprint(kind, superseded)])
        values = ", ".join(name for name in kind.names if name not in (*kind.key, "ts_recv"))
        select_values = f"SELECT {key}, toString(tuple({values})) AS row_values FROM"
        (duplicate, corrected), *_ = self._cold.client.fetch(
            f"SELECT countIf(a.row_values = b.row_values), countIf(a.row_values != b.row_values) "
            f"FROM ({select_values} {kind.name} WHERE {span} AND {has_late_row}) AS a "
            f"INNER JOIN ({select_values} {newest}) AS b USING ({key})"
        )
        totals.duplicate += int(duplicate)
        totals.corrected += int(corrected)
