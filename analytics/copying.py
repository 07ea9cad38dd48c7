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
from analytics.days import is_written
from analytics.fingerprint import Fingerprint
from analytics.hotdays import HotDays, Slice
from analytics.ledger import Entry, Ledger, Marks
from analytics.survey import marks_of
from tapehouse import sharding
from tapehouse.bus import Bus
from tapehouse.clock import now_ns
from tapehouse.errors import ProofError
from tapehouse.floor import Floor, floor_key
from tapehouse.model import Kind
from tapehouse.settings import Settings

_PATIENCE_S = 20
_LOOK_S = 0.05
_SHOWN = 5

Progress = Callable[[int], None]
Held = Callable[[], Awaitable[int]]
"""Raises where the mirror's lease is lost; else when it was held, ns UTC."""


class Copier:
    """Copies days, several at a time if asked to."""

    def __init__(self, settings: Settings, bus: Bus, cold: ColdStore, ledger: Ledger, held: Held) -> None:
        self._settings = settings
        self._bus = bus
        self._cold = cold
        self._ledger = ledger
        self._held = held

    async def copy(self, kind: Kind, day: str, progress: Progress = lambda rows: None) -> Entry:
        """Copy a closed day; returns what the ledger says of it then.

        Raises ProofError where the day is being written, or its copy is not what it was copied from;
        ConnectError, ColdStoreError where a store does not answer or refuses. Then the cold store is as it was.
        """
        began = time.monotonic()
        hot = HotDays(self._settings.questdb)
        try:
            marks = await marks_of(self._bus, kind, day)
            started_ns = await asyncio.to_thread(hot.reader.started_ns)
            await self._until_written(kind, day, marks, started_ns)
            await asyncio.to_thread(hot.reader.wait_applied, kind.name)
            most = self._settings.mirror.slice_rows
            slices = await asyncio.to_thread(hot.slices, kind, day, most)
            async with self._cold.staged(kind, day) as staging:
                copied, size = await self._load(hot, kind, slices, staging, progress)
                await self._prove(kind, day, copied, staging)
                if await asyncio.to_thread(hot.reader.started_ns) != started_ns:
                    raise ProofError(f"{kind.name} of {day}: questdb was started anew while it was copied")
                before = await asyncio.to_thread(self._ledger.get, kind.name, day)
                held_ns = await self._put(kind, day, staging, copied)
        finally:
            hot.reader.close()
        entry = replace(
            before,
            rows=copied.rows,
            fingerprint=copied.digest,
            marks=marks,
            fault="",
            pending="",
            seconds=time.monotonic() - began,
            bytes=size,
            proven_ns=now_ns(),
        )
        return await asyncio.to_thread(self._ledger.put, entry, held_ns)

    async def _until_written(self, kind: Kind, day: str, marks: Marks, hot_start_ns: int) -> None:
        """Wait until all that the marks stand for is committed to the QuestDB that runs."""
        state = await self._bus.state()
        present = {*(await sharding.read(state)).numbers}
        created_ns = sharding.created_ns(await self._bus.js.stream_info("TICKS"))
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            floors = {shard: Floor.read(await state.get(floor_key(shard)), created_ns) for shard in marks}
            if is_written(marks, floors, present, hot_start_ns):
                return
            if time.monotonic() > deadline or any(mark.is_open for mark in marks.values()):
                raise ProofError(
                    f"{kind.name} of {day}: the writers have not committed all that is marked",
                    remedy="The next run tries again. `tapehouse status` shows whether the writers run.",
                )
            await asyncio.sleep(_LOOK_S)

    async def _load(
        self, hot: HotDays, kind: Kind, slices: list[Slice], staging: str, progress: Progress
    ) -> tuple[Fingerprint, int]:
        """Bring the slices into the staging table; (fingerprint of what was sent, bytes sent).

        While one slice is stored and taken into the fingerprint the next one is exported.
        """
        parts: list[Fingerprint] = []
        size = 0
        under_way: asyncio.Future[tuple[Fingerprint, None]] | None = None
        try:
            async for part, body in hot.export(kind, slices):
                if under_way:
                    parts.append((await under_way)[0])
                under_way = asyncio.gather(
                    asyncio.to_thread(read_hot, kind, part, body),
                    asyncio.to_thread(self._cold.insert, kind, staging, body),
                )
                size += len(body)
                progress(part.rows)
            if under_way:
                parts.append((await under_way)[0])
        finally:
            if under_way and not under_way.done():
                await asyncio.gather(under_way, return_exceptions=True)
        return Fingerprint.sum(parts), size

    async def _prove(self, kind: Kind, day: str, copied: Fingerprint, staging: str) -> None:
        stored = await asyncio.to_thread(self._cold.fingerprint, kind, staging)
        if names := copied.differs(stored):
            shown = "; ".join(" ".join(map(str, group)) for group in names[:_SHOWN])
            raise ProofError(
                f"{kind.name} of {day}: expected {copied.rows:,} rows as they were sent, "
                f"was {stored.rows:,} in the cold store, other in {shown or 'all'}",
                remedy="The day was left as it was. The next run copies it again.",
            )

    async def _put(self, kind: Kind, day: str, staging: str, copied: Fingerprint) -> int:
        held_ns = await self._held()
        if copied.rows:
            await asyncio.to_thread(self._cold.replace, kind, day, staging)
        else:
            # There is nothing to put in its place.
            await asyncio.to_thread(self._cold.drop_day, kind, day)
        return held_ns


def read_hot(kind: Kind, part: Slice, body: bytes) -> Fingerprint:
    """The fingerprint of a slice, if it is whole."""
    frame = pl.read_parquet(io.BytesIO(body))
    if frame.height != part.rows:
        raise ProofError(
            f"{kind.name}: expected {part.rows:,} rows in a slice, was {frame.height:,}: the day is being written",
            remedy="The next run copies it again.",
        )
    return fingerprint.of_frame(kind, frame)
