"""Publishes a feed's rows: validated, split by shard, packed into messages of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson

from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from ingest.validation import invalid_rows
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import now_ns
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stream.bus import word
from tapehouse.stream.sharding import Shards
from tapehouse.stream.wire import pack

BATCH_ROWS = 5_000
BATCH_BYTES = 512 * 2**10


def split_by_shard(batch: Batch, shards: Shards) -> Iterator[tuple[int, Batch]]:
    """Yields (shard, the rows of that shard in row order)."""
    if shards.count == 1:
        yield shards.first, batch
        return
    if batch.kind is ACCOUNT_TRADES:
        row_shards = shards.first + batch.array("account_id") % shards.count
    else:
        symbols = batch.strings("symbol")
        by_code = np.array([shards.of(symbol) for symbol in symbols.values], np.int64)
        row_shards = by_code[symbols.codes]
    for shard in np.unique(row_shards).tolist():
        yield shard, batch.take(row_shards == shard)


def pack_messages(batch: Batch) -> Iterator[bytes]:
    """Packed batches of at most 5,000 rows and 512 KiB, in row order; a larger single row is a message alone."""
    for start in range(0, batch.rows, BATCH_ROWS):
        yield from _within_bytes(batch.slice(start, start + BATCH_ROWS))


def _within_bytes(batch: Batch) -> Iterator[bytes]:
    message = pack(batch)
    if len(message) <= BATCH_BYTES or batch.rows == 1:
        yield message
        return
    middle = batch.rows // 2
    yield from _within_bytes(batch.slice(0, middle))
    yield from _within_bytes(batch.slice(middle, batch.rows))


class Intake:
    """Validates and publishes the batches of one feed. `rows` counts published rows; the rest is in quarantine."""

    def __init__(self, publisher: Publisher, quarantine: Quarantine, shards: Shards) -> None:
        self._publisher = publisher
        self._quarantine = quarantine
        self._shards = shards
        self.rows = 0

    async def put(self, batch: Batch, origin: Origin, place: str = "") -> int:
        """Publish the valid rows and quarantine the others; returns the publisher's last ticket, or -1 for none.

        `place` is the batch's place in its source: see `Publisher.publish`.

        Waits for as long as the stream accepts no messages.
        """
        good = await quarantine_invalid(batch, origin, self._quarantine)
        ticket = -1
        for shard, rows in split_by_shard(good, self._shards) if good.rows else ():
            subject = f"ticks.{batch.kind.name}.{word(batch.venue)}.{shard}"
            for number, message in enumerate(pack_messages(rows)):
                at = f"{place}/{number}" if place else ""
                ticket = await self._publisher.publish(subject, message, at)
        self.rows += good.rows
        return ticket


async def quarantine_invalid(batch: Batch, origin: Origin, quarantine: Quarantine) -> Batch:
    """The valid rows; the others are in quarantine when this returns."""
    found = invalid_rows(batch, now_ns())
    if not found:
        return batch
    reader = {**ROW_READER, "number_by": origin.reader.get("number_by")}
    await _quarantine_rows(batch, found, origin, reader, quarantine)
    keep = np.ones(batch.rows, np.bool_)
    keep[list(found)] = False
    return batch.take(keep)


async def quarantine_shared_keys(
    batch: Batch, reasons: Mapping[int, str], origin: Origin, quarantine: Quarantine
) -> None:
    """Put the rows of a batch that `reasons` names, whose keys belong to other rows, in quarantine."""
    await _quarantine_rows(batch, reasons, origin, SHARED_KEY_READER, quarantine)


async def _quarantine_rows(
    batch: Batch, reasons: Mapping[int, str], origin: Origin, reader: dict[str, Any], quarantine: Quarantine
) -> None:
    rejected = [Rejected(row_json(batch, row), reason, origin.source) for row, reason in reasons.items()]
    if rejected:
        await quarantine.put(Origin(origin.kind, origin.venue, origin.source, reader), rejected)


ROW_READER = {"format": "row"}
"""The reader of rows that were rejected for their values: JSON of the model's columns."""
SHARED_KEY_READER = {"format": "row of a shared key"}
"""The reader of rows whose key an earlier row with other values has: a retry would overwrite that one."""


def row_json(batch: Batch, row: int) -> bytes:
    """One row as a JSON object of the model's columns; times in ns, decimals as text, absent values null."""
    values: dict[str, object] = {}
    for name, data in batch.columns.items():
        if isinstance(data, Strings):
            code = int(data.codes[row])
            values[name] = None if code < 0 else data.values[code]
        elif isinstance(data, Lists):
            values[name] = data.row(row).tolist()
        elif data.dtype.kind == "V":
            values[name] = str(int.from_bytes(data[row].tobytes(), "little", signed=True)) + "e-18"
        else:
            values[name] = data[row].item()
    return orjson.dumps(values)
