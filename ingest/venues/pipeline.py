"""From parsed rows to the stream: numbered, each row once, validated, published; rejected ones to quarantine."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from statistics import median

import numpy as np

from ingest.intake import ROW_READER, Intake, row_json
from ingest.numbering import BY_TIME, NumberingRegistry, number_by_time
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from ingest.venues.books import Books
from ingest.venues.context import FeedContext, FeedResources
from ingest.venues.continuity import Continuity
from ingest.venues.parse_result import ParseResult
from tapehouse.batch import Batch
from tapehouse.clock import SECOND, now_ns
from tapehouse.model import DEPTH, GAPS, Flags

_SKEW_BATCHES = 101
"""Batches whose clock skews the reported one is the median of."""


class RowPipeline:
    """Takes the rows of sockets and of REST answers."""

    def __init__(self, context: FeedContext, resources: FeedResources, continuity: Continuity) -> None:
        self._context = context
        self._health = resources.health
        self._quarantine = Quarantine(resources.bus)
        self._intake = Intake(resources.publisher, self._quarantine, resources.shards)
        self._numberings = NumberingRegistry(resources.state, context.name)
        self._skews: deque[int] = deque(maxlen=_SKEW_BATCHES)
        self._rejected_reader = context.venue.rejected_reader(context.kinds)
        self.continuity = continuity
        self.books = Books(context.settings.snapshot_every_s * SECOND)
        self.lock = asyncio.Lock()
        """Held while rows are between `continuity` and the publisher."""

    @property
    def skew_ns(self) -> int | None:
        """The receive clock minus the venue's; None before a row that the venue dated."""
        return int(median(self._skews)) if self._skews else None

    async def accept(self, parsed: ParseResult) -> None:
        """Publish the rows not seen before and quarantine what was rejected."""
        async with self.lock:
            for batch in parsed.batches:
                await self._accept_batch(batch)
            if parsed.rejected:
                venue = self._context.venue.name
                origin = Origin("messages", self._context.name, venue, self._rejected_reader)
                await self._quarantine.put(origin, parsed.rejected)

    async def publish(self, batch: Batch) -> None:
        """Validate and publish rows as they are."""
        await self._intake.put(batch, self._origin(batch))
        if batch.kind is not GAPS:
            self._health.wrote(batch.rows, int(batch.array("ts_recv")[-1]), self._quarantine.count)

    async def _accept_batch(self, batch: Batch) -> None:
        filtered = self.continuity.filter_new(self._numbered(batch), now_ns())
        if filtered.regressed.rows:
            await self._quarantine_regressed(filtered.regressed)
        new = filtered.new
        if not new.rows:
            return
        await self._numberings.claim(new, self._context.venue.numbering[new.kind.name])
        await self.publish(new)
        self._measure_skew(new)
        if new.kind is DEPTH:
            snapshots = self.books.apply(new, time.monotonic())
            if snapshots is not None:
                await self.publish(snapshots)

    def _numbered(self, batch: Batch) -> Batch:
        """Rows without ids, numbered by time."""
        if self._context.venue.numbering[batch.kind.name] != BY_TIME:
            return batch
        return number_by_time(batch, self.continuity.last_ids(batch.kind.name))

    async def _quarantine_regressed(self, batch: Batch) -> None:
        reason = "seq: expected ids that rise with the time, was below one seen a minute or more before"
        where = self._context.venue.name
        rows = [Rejected(row_json(batch, row), reason, where) for row in range(batch.rows)]
        await self._quarantine.put(self._origin(batch), rows)

    def _origin(self, batch: Batch) -> Origin:
        return Origin(batch.kind.name, self._context.name, self._context.venue.name, ROW_READER)

    def _measure_skew(self, batch: Batch) -> None:
        dated = batch.array("flags") & Flags.ESTIMATED_TIME == 0
        if dated.any():
            late = batch.array("ts_recv")[dated] - batch.array("ts_event")[dated]
            self._skews.append(int(np.median(late)))
