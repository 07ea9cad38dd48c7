"""Reads one source for the cold store: rows are numbered and validated, invalid ones go to quarantine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

from ingest.imports.row_sources import RowSource, origin_of
from ingest.imports.source_comparison import SourceComparison
from ingest.imports.stored_rows import StoredRows
from ingest.intake import quarantine_invalid, quarantine_shared_keys
from ingest.numbering import NumberingRegistry
from ingest.quarantine import Quarantine
from tapehouse.batch import Batch
from tapehouse.model import TICKS
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus

_ALL_DAYS = "2261-12-31"


class ColdFeed:
    """Reads one source once, from its start, one chunk at a time."""

    def __init__(
        self,
        source: RowSource,
        bus: Bus,
        settings: Settings,
        progress: Callable[[int, float], None] = lambda rows, fraction: None,
    ) -> None:
        """`progress` is called with rows read and the fraction done."""
        self._source = source
        self._bus = bus
        self._settings = settings
        self._progress = progress
        self._quarantine = Quarantine(bus)
        self.duplicate = 0
        """Rows so far that are not yielded: repeats of earlier rows, or stored at other times."""

    @property
    def quarantined(self) -> int:
        """Rows rejected so far."""
        return self._quarantine.count

    @property
    def reasons(self) -> Counter[str]:
        """The rejected rows by what was expected of them."""
        return self._quarantine.reasons

    async def batches(self) -> AsyncIterator[Batch]:
        """Yields the valid rows, in source order, or in order of time where they have no ids.

        Those that are stored are among them, as stored: a merge that was interrupted is completed by them.

        Raises SourceError where the file is damaged, NumberingError where another numbering is recorded for
        one of its symbols, ConnectError where a store does not answer.
        """
        numberings = NumberingRegistry(await self._bus.shared_state(), self._source.venue)
        stored = StoredRows(self._settings, {kind.name: _ALL_DAYS for kind in TICKS})
        comparison = SourceComparison(self._source, stored, numberings, {}, fills_duplicates=True)
        try:
            chunks = self._source.chunks()
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                for batch in chunk.batches:
                    good = await self._compared(batch, comparison)
                    if good.rows:
                        yield good
                if chunk.rejected:
                    await self._quarantine.put(origin_of(self._source), chunk.rejected)
                self._progress(chunk.rows_read, chunk.fraction)
        finally:
            stored.close()

    async def _compared(self, batch: Batch, comparison: SourceComparison) -> Batch:
        compared = await comparison.compare(batch)
        origin = origin_of(self._source, batch.kind.name)
        await quarantine_shared_keys(compared.batch, compared.rejected, origin, self._quarantine)
        self.duplicate += int(compared.repeats.sum())
        return await quarantine_invalid(compared.with_keys, origin, self._quarantine)
