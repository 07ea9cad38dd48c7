"""What came for sealed days: read from the late stream, merged into the cold store, and let go of."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import structlog
from nats.errors import Error as NatsError

from analytics.coldstore import ColdStore
from analytics.days import Day, takes_late
from analytics.laterows import PLACE, LateRows
from analytics.ledger import Key, Late
from analytics.merging import Merged, Merger
from tapehouse import direct, sharding
from tapehouse.bus import LATE, Bus
from tapehouse.errors import TapehouseError, WireError
from tapehouse.model import KINDS, Kind
from tapehouse.seal import Seal
from tapehouse.tabular import as_frame
from tapehouse.wire import ROWS_MAX, unpack

_MESSAGES = 256
_BYTES = 8 * 2**20
_ROWS = 200_000
"""Sent to the cold store at a time."""
_log = structlog.get_logger()


@dataclass
class LateReport:
    """What one run did with the late stream."""

    merged: list[Merged] = field(default_factory=list)
    failed: dict[Key, str] = field(default_factory=dict)
    waiting: set[Key] = field(default_factory=set)
    """Days that are not the cold store's yet: their rows stay in the stream."""


class LateStream:
    """Merges what the late stream holds. For whoever holds the mirror's lease."""

    def __init__(self, bus: Bus, cold: ColdStore, merger: Merger) -> None:
        self._bus = bus
        self._cold = cold
        self._merger = merger

    async def merge_all(self, days: Mapping[Key, Day], seal: Seal) -> LateReport:
        """Merge what is there now, one kind after another; then the stream is freed below what must stay.

        `seal` is what all writers keep to, and was read before `days` were.
        A day that fails, and days that are still the hot store's, keep their messages; what of a message is
        merged already is known by the ledger and not merged again.
        """
        info = await self._bus.js.stream_info(LATE)
        last = Late(sharding.created_ns(info), info.state.last_seq)
        report = LateReport()
        if info.state.messages:
            kept = last.seq + 1
            for kind in sorted({subject.split(".")[1] for subject in await self._subjects()}):
                kept = min(kept, await self._merge(KINDS[kind], last, days, seal, report))
            await self._bus.js.purge_stream(LATE, seq=kept)
        return report

    async def _subjects(self) -> set[str]:
        info = await self._bus.js.stream_info(LATE, subjects_filter=">")
        return {*(info.state.subjects or ())}

    async def _merge(
        self, kind: Kind, last: Late, days: Mapping[Key, Day], seal: Seal, report: LateReport
    ) -> int:
        """Merge one kind; returns the first message that must stay, or the one behind the last."""
        first_of: dict[str, int] = {}
        async with LateRows.opened(self._cold, kind) as late:
            await self._load(late, last, days, seal, first_of, report)
            kept = last.seq + 1
            for day, first in sorted(first_of.items()):
                if day in late.fingerprints:
                    try:
                        report.merged.append(await self._merger.merge(day, late, last))
                    except (TapehouseError, NatsError) as reason:
                        report.failed[kind.name, day] = str(reason)
                        _log.warning("late ticks not merged", kind=kind.name, day=day, reason=str(reason))
                        kept = min(kept, first)
                else:
                    kept = min(kept, first)
        return kept

    async def _load(
        self,
        late: LateRows,
        last: Late,
        days: Mapping[Key, Day],
        seal: Seal,
        first_of: dict[str, int],
        report: LateReport,
    ) -> None:
        """Bring the rows that are to be merged into the table; the first message of each day is noted."""
        frames: list[pl.DataFrame] = []
        seq = 1
        while seq <= last.seq:
            messages = await direct.following(self._bus, LATE, seq, _MESSAGES, _BYTES)
            if not messages:
                break
            for at, subject, data in messages:
                seq = at + 1
                if at > last.seq or subject.split(".")[1] != late.kind.name:
                    continue
                for day, rows in _by_day(late.kind, at, data):
                    key = late.kind.name, day
                    known = days.get(key)
                    entry = known.entry if known else None
                    if entry and entry.late.created_ns == last.created_ns and at <= entry.late.seq:
                        continue
                    first_of.setdefault(day, at)
                    if takes_late(known, day, late.kind.name, seal):
                        frames.append(rows)
                    else:
                        report.waiting.add(key)
            if sum(frame.height for frame in frames) >= _ROWS:
                await asyncio.to_thread(late.add, pl.concat(frames))
                frames.clear()
        if frames:
            await asyncio.to_thread(late.add, pl.concat(frames))


def _by_day(kind: Kind, seq: int, data: bytes) -> list[tuple[str, pl.DataFrame]]:
    """The rows of a message by day, with their places."""
    try:
        batch = unpack(data)
    except WireError as reason:
        # It was read well by the writer that put it there.
        raise WireError(f"late stream, message {seq}: {reason.message}", seq=seq) from reason
    frame = as_frame(batch).with_columns(
        pl.int_range(pl.len(), dtype=pl.UInt64).add(seq * ROWS_MAX).alias(PLACE),
        day=pl.col(kind.time).dt.date().dt.to_string(),
    )
    return [(str(day), rows.drop("day")) for (day,), rows in frame.group_by("day", maintain_order=True)]
