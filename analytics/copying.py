"""One day's copy: from the hot store into a staging table, proven, put in its place, and recorded.

Any step may die and the whole be run again: nothing is seen of a copy before its day is replaced at once, and
a day that was replaced and not recorded is copied anew.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import polars as pl

from analytics import fingerprint
from analytics.coldstore import ColdStore
from analytics.fingerprint import Fingerprint
from analytics.hotdays import HotDays, Slice
from analytics.ledger import Entry, Ledger
from analytics.written import Written
from tapehouse.bus import Bus
from tapehouse.clock import now_ns
from tapehouse.errors import ProofError
from tapehouse.model import Kind
from tapehouse.settings import Settings

_SHOWN = 5

Progress = Callable[[int], None]
Held = Callable[[], Awaitable[int]]
"""Raises where the mirror's lease is lost; else when it was held, ns UTC."""


class Copier:
    """Copies days, several at a time if asked to."""

    def __init__(self, settings: Settings, bus: Bus, cold: ColdStore, ledger: Ledger, held: Held) -> None:
        self._settings = settings
        self._cold = cold
        self._ledger = ledger
        self._held = held
        self.written = Written(bus)
        self.accepts_loss = False
        """Whether a day may be copied that has fewer rows now than it was proven to have."""

    async def copy(self, kind: Kind, day: str, progress: Progress = lambda rows: None) -> Entry:
        """Copy a closed day; returns what the ledger says of it then.

        Raises ProofError where the day is being written, or its copy is not what it was copied from;
        ConnectError, ColdStoreError where a store does not answer or refuses. Then the cold store is as it was.
        """
        began = time.monotonic()
        hot = HotDays(self._settings.questdb)
        try:
            written = await self.written.until(kind, day, hot)
            slices = await asyncio.to_thread(hot.slices, kind, day, self._settings.mirror.slice_rows)
            async with self._cold.staged(kind, day) as staging:
                copied, size = await self._load(hot, kind, slices, staging, progress)
                await self._prove(kind, day, copied, staging)
                if await asyncio.to_thread(hot.reader.started_ns) != written.hot_start_ns:
                    raise ProofError(f"{kind.name} of {day}: questdb was started anew while it was copied")
                before = await asyncio.to_thread(self._ledger.get, kind.name, day)
                self._refuse_loss(before, copied)
                held_ns = await self._put(kind, day, staging, copied)
        finally:
            hot.reader.close()
        entry = replace(
            before,
            rows=copied.rows,
            fingerprint=copied.digest,
            marks=written.marks,
            fault="",
            pending="",
            seconds=time.monotonic() - began,
            bytes=size,
            proven_ns=now_ns(),
        )
        return await asyncio.to_thread(self._ledger.put, entry, held_ns)

    async def _load(
        self, hot: HotDays, kind: Kind, slices: list[Slice], staging: str, progress: Progress
    ) -> tuple[Fingerprint, int]:
        """Bring the slices into the staging table; (fingerprint of what was sent, bytes sent).

        While one slice is stored and taken into the fingerprint the next one is exported.
        """
        copied, size = Fingerprint({}), 0
        under_way: asyncio.Future[tuple[Fingerprint, None]] | None = None
        try:
            async for part, body in hot.export(kind, slices):
                if under_way:
                    copied = Fingerprint.sum([copied, (await under_way)[0]])
                under_way = asyncio.gather(
                    asyncio.to_thread(read_hot, kind, part, body),
                    asyncio.to_thread(self._cold.insert, kind, staging, body),
                )
                size += len(body)
                progress(part.rows)
            if under_way:
                copied = Fingerprint.sum([copied, (await under_way)[0]])
        finally:
            if under_way and not under_way.done():
                await asyncio.gather(under_way, return_exceptions=True)
        return copied, size

    async def _prove(self, kind: Kind, day: str, copied: Fingerprint, staging: str) -> None:
        stored = await asyncio.to_thread(self._cold.fingerprint, kind, staging)
        if names := copied.differs(stored):
            shown = "; ".join(" ".join(map(str, group)) for group in names[:_SHOWN])
            raise ProofError(
                f"{kind.name} of {day}: expected {copied.rows:,} rows as they were sent, "
                f"was {stored.rows:,} in the cold store, other in {shown or 'all'}",
                remedy="The day was left as it was. The next run copies it again.",
            )

    def _refuse_loss(self, before: Entry, copied: Fingerprint) -> None:
        """A day never has fewer rows than it had: if it does, the cold copy is what is left of them."""
        if before.owner == "cold" and copied.digest != before.fingerprint:
            raise ProofError(
                f"{before.kind} of {before.day}: the hot store has other rows than the ledger says"
            )
        if copied.rows < before.rows and not self.accepts_loss:
            raise ProofError(
                f"{before.kind} of {before.day}: expected at least the {before.rows:,} rows that were proven, was "
                f"{copied.rows:,} in the hot store: it has lost rows, and the cold copy stays as it was",
                remedy="Bring the hot store back; or, to lose them in the cold store too, `tapehouse mirror run "
                "--accept-loss`.",
            )

    async def _put(self, kind: Kind, day: str, staging: str, copied: Fingerprint) -> int:
        held_ns = await self._held()
        if copied.rows:
            await asyncio.to_thread(self._cold.replace, kind, day, staging)
        elif self.accepts_loss:
            # There is nothing to put in its place.
            await asyncio.to_thread(self._cold.drop_day, kind, day)
        return held_ns


def read_hot(kind: Kind, part: Slice, body: bytes) -> Fingerprint:
    """The fingerprint of a slice, if it is whole."""
    try:
        frame = pl.read_parquet(io.BytesIO(body))
    except pl.exceptions.PolarsError as reason:
        raise ProofError(
            f"{kind.name}: expected a whole Parquet file of {part.rows:,} rows, was none: {reason}",
            remedy="Look at QuestDB's log. The next run copies the day again.",
        ) from reason
    if frame.height != part.rows:
        raise ProofError(
            f"{kind.name}: expected {part.rows:,} rows in a slice, was {frame.height:,}: the day is being written",
            remedy="The next run copies it again.",
        )
    return fingerprint.of_frame(kind, frame)
