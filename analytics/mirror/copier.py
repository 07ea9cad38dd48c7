"""Copies one day from QuestDB to ClickHouse: exports it to a staging table, proves it, replaces the day, records it.

Every step may be interrupted and the whole run again: a copy is invisible until it replaces its day atomically, and a
day that was replaced but not recorded is copied again.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import polars as pl

from analytics.mirror import fingerprint
from analytics.mirror.cold_store import ColdStore
from analytics.mirror.fingerprint import Fingerprint
from analytics.mirror.hot_store import HotDayReader, TimeSlice
from analytics.mirror.ledger import Ledger, LedgerEntry
from analytics.mirror.visibility import VisibilityWaiter
from tapehouse.clock import now_ns
from tapehouse.errors import ProofError
from tapehouse.model import Kind
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus

_SHOWN = 5

OnRows = Callable[[int], None]
"""Called with the number of rows that were just copied."""
LeaseCheck = Callable[[], Awaitable[int]]
"""Confirms the mirror's lease and returns when, ns UTC; raises ConnectError when it is lost."""


class Copier:
    """Copies days; `copy` may run for several days at a time."""

    def __init__(
        self, settings: Settings, bus: Bus, cold: ColdStore, ledger: Ledger, confirm_lease: LeaseCheck
    ) -> None:
        self._settings = settings
        self._cold = cold
        self._ledger = ledger
        self._confirm_lease = confirm_lease
        self.visibility = VisibilityWaiter(bus)
        self.accepts_loss = False
        """Whether to copy a day that has fewer rows in QuestDB now than its proven copy."""

    async def copy(self, kind: Kind, day: str, on_rows: OnRows = lambda rows: None) -> LedgerEntry:
        """Copy a closed day; returns its new ledger entry.

        Raises ProofError when the day is being written, or the copy differs from what was exported; ConnectError
        or ColdStoreError when a store does not answer or rejects a statement. ClickHouse is unchanged then.
        """
        began = time.monotonic()
        hot = HotDayReader(self._settings.questdb)
        try:
            visible = await self.visibility.wait_until_visible(kind, day, hot)
            slices = await asyncio.to_thread(hot.slices, kind, day, self._settings.mirror.slice_rows)
            async with self._cold.staging_table(kind, day) as staging:
                copied, size = await self._load(hot, kind, slices, staging, on_rows)
                await self._prove(kind, day, copied, staging)
                if await asyncio.to_thread(hot.reader.started_ns) != visible.hot_start_ns:
                    raise ProofError(f"{kind.name} of {day}: questdb was restarted while the day was copied")
                before = await asyncio.to_thread(self._ledger.get, kind.name, day)
                self._refuse_loss(before, copied)
                confirmed_ns = await self._replace(kind, day, staging, copied)
        finally:
            hot.reader.close()
        entry = replace(
            before,
            rows=copied.rows,
            fingerprint=copied.digest,
            marks=visible.marks,
            fault="",
            pending="",
            seconds=time.monotonic() - began,
            bytes=size,
            proven_ns=now_ns(),
        )
        return await asyncio.to_thread(self._ledger.put, entry, confirmed_ns)

    async def _load(
        self, hot: HotDayReader, kind: Kind, slices: list[TimeSlice], staging: str, on_rows: OnRows
    ) -> tuple[Fingerprint, int]:
        """Copy slices to the staging table; returns (fingerprint of the exported rows, bytes sent).

        The next slice is exported while the one before it is inserted and fingerprinted.
        """
        copied, size = Fingerprint({}), 0
        pending: asyncio.Future[tuple[Fingerprint, None]] | None = None
        try:
            async for part, body in hot.export(kind, slices):
                if pending:
                    copied = Fingerprint.sum([copied, (await pending)[0]])
                pending = asyncio.gather(
                    asyncio.to_thread(slice_fingerprint, kind, part, body),
                    asyncio.to_thread(self._cold.insert, kind, staging, body),
                )
                size += len(body)
                on_rows(part.rows)
            if pending:
                copied = Fingerprint.sum([copied, (await pending)[0]])
        finally:
            if pending and not pending.done():
                await asyncio.gather(pending, return_exceptions=True)
        return copied, size

    async def _prove(self, kind: Kind, day: str, copied: Fingerprint, staging: str) -> None:
        stored = await asyncio.to_thread(self._cold.fingerprint, kind, staging)
        if groups := copied.differing_groups(stored):
            shown = "; ".join(" ".join(map(str, group)) for group in groups[:_SHOWN])
            raise ProofError(
                f"{kind.name} of {day}: expected the {copied.rows:,} rows that were exported, "
                f"was {stored.rows:,} rows in ClickHouse that differ in {shown or 'all symbols'}",
                remedy="The old copy was not replaced. The next run copies the day again.",
            )

    def _refuse_loss(self, before: LedgerEntry, copied: Fingerprint) -> None:
        """Raise ProofError when QuestDB has lost rows of the day: the copy may be all that is left of them."""
        if before.owner == "cold" and copied.digest != before.fingerprint:
            raise ProofError(
                f"{before.kind} of {before.day}: expected the rows recorded in the ledger, was other rows in QuestDB"
            )
        if copied.rows < before.rows and not self.accepts_loss:
            raise ProofError(
                f"{before.kind} of {before.day}: expected at least the {before.rows:,} rows that were proven, was "
                f"{copied.rows:,} in QuestDB: it has lost rows, and the copy in ClickHouse was kept",
                remedy="Restore QuestDB; or, to replace the copy and lose these rows there too, run `tapehouse mirror "
                "run --accept-loss`.",
            )

    async def _replace(self, kind: Kind, day: str, staging: str, copied: Fingerprint) -> int:
        confirmed_ns = await self._confirm_lease()
        if copied.rows:
            await asyncio.to_thread(self._cold.replace_day, kind, day, staging)
        elif self.accepts_loss:
            # REPLACE PARTITION with an empty table would do nothing.
            await asyncio.to_thread(self._cold.drop_day, kind, day)
        return confirmed_ns


def slice_fingerprint(kind: Kind, part: TimeSlice, body: bytes) -> Fingerprint:
    """The fingerprint of an exported slice. Raises ProofError when the file is damaged or lacks rows."""
    try:
        frame = pl.read_parquet(io.BytesIO(body))
    except pl.exceptions.PolarsError as reason:
        raise ProofError(
            f"{kind.name}: expected a Parquet file of {part.rows:,} rows, was not readable: {reason}",
            remedy="Look at QuestDB's log. The next run copies the day again.",
        ) from reason
    if frame.height != part.rows:
        raise ProofError(
            f"{kind.name}: expected {part.rows:,} rows in a slice, was {frame.height:,}: the day is being written to",
            remedy="The next run copies it again.",
        )
    return fingerprint.of_frame(kind, frame)
