"""Rows that QuestDB rejected: puts them into quarantine, and notifies bar makers of trades, which they already used."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import structlog

from ingest.intake import ROW_READER, row_json
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from ingest.writer.store import RejectedRow
from tapehouse.batch import Batch
from tapehouse.model import TRADES
from tapehouse.stream.bus import Bus
from tapehouse.stream.floor import refused_key

_log = structlog.get_logger()


class RejectedRows:
    """Handles the rejected rows of one shard's writer."""

    def __init__(self, bus: Bus, shard: int, quarantine: Quarantine) -> None:
        self._bus = bus
        self._shard = shard
        self._quarantine = quarantine

    async def put(self, batches: Sequence[Batch], rejected: Sequence[RejectedRow], seq: int) -> None:
        """Quarantine rejected rows of `batches`, which have one kind; row indices count over all batches.

        `seq` is the sequence of the last message that any of the batches is from.
        """
        if not rejected:
            return
        kind = batches[0].kind
        _log.warning("QuestDB rejected rows", kind=kind.name, rows=len(rejected), reason=rejected[0].reason)
        ends = np.cumsum([batch.rows for batch in batches])
        for bad in rejected:
            index = int(np.searchsorted(ends, bad.row, side="right"))
            batch, row = batches[index], bad.row - int(ends[index] - batches[index].rows)
            origin = Origin(kind.name, batch.venue, "the writer", ROW_READER)
            await self._quarantine.put(origin, [Rejected(row_json(batch, row), bad.reason, "the writer")])
            if kind is TRADES:
                symbol = batch.strings("symbol").slice(row, row + 1).to_list()[0]
                notice = [seq, batch.venue, symbol, int(batch.array("ts_event")[row])]
                await self._bus.client.publish("bars.refused", json.dumps(notice).encode())
                # For bar makers that were not connected when it was published.
                await (await self._bus.shared_state()).put(refused_key(self._shard), seq)
