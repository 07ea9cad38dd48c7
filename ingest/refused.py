"""Rows that QuestDB refused: into quarantine, and word of trades to the bar makers, which have them in bars."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import structlog

from ingest.hotstore import BadRow
from ingest.intake import ROW_READER, row_json
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from tapehouse.batch import Batch
from tapehouse.bus import Bus
from tapehouse.floor import refused_key
from tapehouse.model import TRADES

_log = structlog.get_logger()


class Refused:
    """What the writer of one shard does with refused rows."""

    def __init__(self, bus: Bus, shard: int, quarantine: Quarantine) -> None:
        self._bus = bus
        self._shard = shard
        self._quarantine = quarantine

    async def put(self, batches: Sequence[Batch], refused: Sequence[BadRow], seq: int) -> None:
        """Put aside the rows at the places in `refused` among those of `batches`, which are of one kind.

        `seq` is the last message of the stream that any of the batches is of.
        """
        if not refused:
            return
        kind = batches[0].kind
        _log.warning("questdb refused rows", kind=kind.name, rows=len(refused), reason=refused[0].reason)
        ends = np.cumsum([batch.rows for batch in batches])
        for bad in refused:
            place = int(np.searchsorted(ends, bad.row, side="right"))
            batch, row = batches[place], bad.row - int(ends[place] - batches[place].rows)
            origin = Origin(kind.name, batch.venue, "the writer", ROW_READER)
            await self._quarantine.put(origin, [Rejected(row_json(batch, row), bad.reason, "the writer")])
            if kind is TRADES:
                symbol = batch.strings("symbol").slice(row, row + 1).to_list()[0]
                told = [seq, batch.venue, symbol, int(batch.array("ts_event")[row])]
                await self._bus.client.publish("bars.refused", json.dumps(told).encode())
                # For bar makers that were away when it was told.
                await (await self._bus.state()).put(refused_key(self._shard), seq)
