"""The rows of one source on their way past the hot store: read, numbered, validated; the bad ones in quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from ingest.filefeed import Readable
from ingest.intake import sifted
from ingest.numbering import BY_TIME, Numberings, by_time
from ingest.quarantine import Origin, Quarantine
from tapehouse.batch import Batch
from tapehouse.bus import Bus
from tapehouse.model import Kind


class ColdFeed:
    """Reads one source from its start, once. Holds one piece of it at a time."""

    def __init__(
        self, source: Readable, bus: Bus, progress: Callable[[int, float], None] = lambda rows, fraction: None
    ) -> None:
        """`progress` is told rows read and the fraction done."""
        self._source = source
        self._bus = bus
        self._progress = progress
        self._numberings: dict[Kind, Numberings] = {}
        self._previous: dict[str, int] = {}
        self._quarantine = Quarantine(bus)

    @property
    def quarantined(self) -> int:
        """Rows that were refused so far."""
        return self._quarantine.count

    def may_correct(self, kind: Kind) -> bool:
        """Whether a row with a stored key and other values is a correction: the key is the source's own."""
        return self._source.numbering(kind) != BY_TIME

    async def batches(self) -> AsyncIterator[Batch]:
        """The good rows in the source's order.

        Raises SourceError where it is damaged, NumberingError where its rows are numbered otherwise than those
        of their symbols that are known.
        """
        pieces = self._source.pieces()
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            for batch in piece.batches:
                origin = Origin(batch.kind.name, self._source.venue, self._source.name, self._source.reader)
                good = await sifted(await self._numbered(batch), origin, self._quarantine)
                if good.rows:
                    yield good
            if piece.rejected:
                kind = self._source.reader.get("kind", "rows")
                origin = Origin(kind, self._source.venue, self._source.name, self._source.reader)
                await self._quarantine.put(origin, piece.rejected)
            self._progress(piece.rows_read, piece.fraction)

    async def _numbered(self, batch: Batch) -> Batch:
        numbering = self._source.numbering(batch.kind)
        if "symbol" in batch.columns:
            if batch.kind not in self._numberings:
                self._numberings[batch.kind] = Numberings(
                    await self._bus.state(), batch.kind, batch.venue, numbering
                )
            await self._numberings[batch.kind].hold(batch.strings("symbol").compact().values)
        return by_time(batch, self._previous) if numbering == BY_TIME else batch
