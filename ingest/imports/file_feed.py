"""The feed of one file: numbers its rows, compares them with the stored ones and publishes the rest.

The checkpoint in the shared state moves only after the broker's acknowledgements, so a killed run continues
there and publishes at most the unacknowledged batches twice; the tables' keys deduplicate them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ingest.files.blocks import Position
from ingest.imports.row_sources import RowSource, origin_of
from ingest.imports.source_comparison import SourceComparison, query_store
from ingest.imports.stored_rows import StoredRows
from ingest.intake import Intake, quarantine_shared_keys
from ingest.numbering import NumberingRegistry
from ingest.publisher import Publisher
from ingest.quarantine import Quarantine
from tapehouse.batch import Batch
from tapehouse.errors import SourceError
from tapehouse.model import Kind
from tapehouse.settings import Settings
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus, State
from tapehouse.stream.progress import wait_until_written
from tapehouse.stream.seal import SEAL

_CHECKPOINT_EVERY_S = 0.5
_PACE_NS = 10_000_000
_COUNTS = ("accepted", "duplicate", "corrected", "quarantined", "late")


@dataclass
class ImportSummary:
    """Counts of the rows of one source by outcome."""

    accepted: int = 0
    """Published; were not stored."""
    duplicate: int = 0
    """Stored already with equal values; not published."""
    corrected: int = 0
    """Stored already under the source's id with other values; published, and the last write wins."""
    quarantined: int = 0
    resumed: bool = False
    """Whether this run continues an interrupted one, whose rows are counted too."""
    late: int = 0
    """Of those accepted and corrected, the rows of days that ClickHouse owns: they wait to be merged into it."""
    notes: tuple[str, ...] = ()
    """What was found while the rows were read."""
    reasons: Counter[str] = field(default_factory=Counter)
    """The rows that this run put in quarantine, by what was expected of them."""

    @property
    def rows(self) -> int:
        """All rows read."""
        return self.accepted + self.duplicate + self.corrected + self.quarantined


@dataclass
class _Checkpoint:
    """What the checkpoint holds."""

    position: Position | None = None
    numbered: dict[str, dict[str, int]] = field(default_factory=dict)
    """By kind, for rows without ids: the last seq of each symbol."""
    counts: dict[str, int] = field(default_factory=dict)
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    """Of this import alone: its messages are no repeats of those of another import of the same file."""
    done: bool = False

    @classmethod
    def of_record(cls, record: dict[str, Any] | None) -> _Checkpoint:
        """That of the source's record in the shared state; a new one where the source was not begun, or was done."""
        known = {item.name for item in fields(cls)}
        found = cls(**{name: value for name, value in (record or {}).items() if name in known})
        return cls() if found.done else found

    def record(self, position: Position | None, summary: ImportSummary) -> dict[str, Any]:
        """The record once the rows before `position` are acknowledged."""
        counts = {name: getattr(summary, name) for name in _COUNTS}
        return {
            "position": position,
            "numbered": deepcopy(self.numbered),
            "counts": counts,
            "run": self.run,
            "done": False,
        }


class FileFeed:
    """Imports one source; call `run` once."""

    def __init__(
        self,
        source: RowSource,
        bus: Bus,
        settings: Settings,
        *,
        speed: float | None = None,
        waits: bool = True,
        progress: Callable[[int, float], None] = lambda rows, fraction: None,
    ) -> None:
        """With `waits`, `run` returns when the rows can be queried, else when NATS has them. `speed` is a multiple of
        real time, None for as fast as possible; `progress` is called with rows read and the fraction done."""
        self._source = source
        self._bus = bus
        self._speed = speed
        self._waits = waits
        self._progress = progress
        self._settings = settings
        self.summary = ImportSummary()
        """Counts of the rows so far."""
        self._paced_from: tuple[int, float] | None = None

    async def run(self) -> ImportSummary:
        """Import the source.

        Raises SourceError where it is damaged (the rows before are imported), NumberingError where another numbering
        is recorded for one of its symbols, ConnectError where a part does not answer.
        """
        state = await self._bus.shared_state()
        key = f"checkpoint.{self._source.identity}"
        checkpoint = _Checkpoint.of_record(await state.get(key))
        if checkpoint.position is not None:
            self.summary = ImportSummary(resumed=True)
            for name in _COUNTS:
                setattr(self.summary, name, checkpoint.counts.get(name, 0))
        await state.put(key, checkpoint.record(checkpoint.position, self.summary))
        # What earlier runs published must be visible before rows are compared with it.
        last = (await self._bus.js.stream_info(TICKS)).state.last_seq
        await wait_until_written(self._bus, state, last)
        kinds: set[Kind] = set()
        damage: SourceError | None = None
        stored = StoredRows(self._settings, await state.get(SEAL) or {})
        numberings = NumberingRegistry(state, self._source.venue)
        comparison = SourceComparison(self._source, stored, numberings, checkpoint.numbered)
        try:
            async with Publisher(self._bus) as publisher:
                try:
                    await self._publish(publisher, state, key, checkpoint, comparison, kinds)
                except SourceError as reason:
                    damage = reason
                await publisher.drain()
                if self._waits:
                    await wait_until_written(self._bus, state, publisher.last_seq)
            if self._waits:
                for kind in kinds:
                    await query_store(stored.wait_applied, kind)
        finally:
            stored.close()
        self.summary.notes = self._source.reading_notes + comparison.notes
        if damage is not None:
            raise damage
        return self.summary

    async def _publish(
        self,
        publisher: Publisher,
        state: State,
        key: str,
        checkpoint: _Checkpoint,
        comparison: SourceComparison,
        kinds: set[Kind],
    ) -> None:
        quarantine = Quarantine(self._bus)
        self.summary.reasons = quarantine.reasons
        intake = Intake(publisher, quarantine, await sharding.current(state))
        unacknowledged: deque[tuple[int, dict[str, Any]]] = deque()
        saved_at = time.monotonic()

        async def until_written() -> None:
            await publisher.drain()
            await wait_until_written(self._bus, state, publisher.last_seq)

        chunks = self._source.chunks(checkpoint.position)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            ticket = -1
            for number, batch in enumerate(chunk.batches):
                kinds.add(batch.kind)
                compared = await comparison.compare(batch, until_written)
                origin = origin_of(self._source, batch.kind.name)
                await quarantine_shared_keys(compared.batch, compared.rejected, origin, quarantine)
                before = intake.rows
                place = f"{checkpoint.run}/{chunk.rows_read}/{chunk.position}/{number}"
                published = compared.published
                async for rows in self._pace(published):
                    ticket = max(ticket, await intake.put(rows, origin, place))
                corrected = int(compared.corrected.sum())
                self.summary.duplicate += int(compared.duplicate.sum())
                self.summary.corrected += corrected
                self.summary.accepted += intake.rows - before - corrected
                self.summary.late += comparison.late_rows(published)
            if chunk.rejected:
                await quarantine.put(origin_of(self._source), chunk.rejected)
            self.summary.quarantined = checkpoint.counts.get("quarantined", 0) + quarantine.count
            if chunk.position is not None:
                unacknowledged.append((ticket, checkpoint.record(chunk.position, self.summary)))
            self._progress(chunk.rows_read, chunk.fraction)
            if time.monotonic() - saved_at >= _CHECKPOINT_EVERY_S:
                saved_at = time.monotonic()
                await _save_acknowledged(state, key, unacknowledged, publisher.first_pending)
        await publisher.drain()
        await state.put(key, {**checkpoint.record(None, self.summary), "done": True})

    async def _pace(self, batch: Batch) -> AsyncIterator[Batch]:
        """Yields the rows as they fall due at the requested speed, up to 10 ms of them at a time."""
        if self._speed is None or not batch.rows:
            yield batch
            return
        times = np.maximum.accumulate(batch.array("ts_event"))
        if self._paced_from is None:
            self._paced_from = (int(times[0]), time.monotonic())
        first_ts, began = self._paced_from
        start = 0
        while start < batch.rows:
            until = int(times[start]) + int(_PACE_NS * self._speed)
            stop = int(np.searchsorted(times, until))
            wait = began + (int(times[stop - 1]) - first_ts) / self._speed / 1e9 - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            yield batch.slice(start, stop)
            start = stop


async def _save_acknowledged(
    state: State, key: str, unacknowledged: deque[tuple[int, dict[str, Any]]], first_pending: int
) -> None:
    """Save the newest checkpoint up to which all batches are acknowledged."""
    latest = None
    while unacknowledged and unacknowledged[0][0] < first_pending:
        latest = unacknowledged.popleft()[1]
    if latest is not None:
        await state.put(key, latest)
