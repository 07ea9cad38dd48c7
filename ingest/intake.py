"""The way of a feed's rows onto the stream: validated, split by shard, cut to size, published."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson

from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from ingest.validation import faults
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.bus import word
from tapehouse.clock import now_ns
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.sharding import Shards
from tapehouse.wire import pack

BATCH_ROWS = 5_000
BATCH_BYTES = 512 * 2**10


def split(batch: Batch, shards: Shards) -> Iterator[tuple[int, Batch]]:
    """(shard, rows of that shard in their order)."""
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


def messages(batch: Batch) -> Iterator[bytes]:
    """Packed batches of at most 5,000 rows and 512 KB, in order; a single larger row travels alone."""
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
    """Takes batches from one feed. `rows` counts what went on; what did not is in the quarantine."""

    def __init__(self, publisher: Publisher, quarantine: Quarantine, shards: Shards) -> None:
        self._publisher = publisher
        self._quarantine = quarantine
        self._shards = shards
        self.rows = 0

    async def put(self, batch: Batch, origin: Origin) -> int:
        """Publish the good rows and quarantine the others; returns the last ticket of the publisher, or -1.

        Waits for as long as the stream takes no more.
        """
        good = await sifted(batch, origin, self._quarantine)
        ticket = -1
        for shard, rows in split(good, self._shards) if good.rows else ():
            subject = f"ticks.{batch.kind.name}.{word(batch.venue)}.{shard}"
            for message in messages(rows):
                ticket = await self._publisher.publish(subject, message)
        self.rows += good.rows
        return ticket


async def sifted(batch: Batch, origin: Origin, quarantine: Quarantine) -> Batch:
    """The rows that may go on; the others are in the quarantine when this returns."""
    found = faults(batch, now_ns())
    if not found:
        return batch
    rejected = [Rejected(row_json(batch, row), reason, origin.source) for row, reason in found.items()]
    await quarantine.put(Origin(origin.kind, origin.venue, origin.source, ROW_READER), rejected)
    keep = np.ones(batch.rows, np.bool_)
    keep[list(found)] = False
    return batch.take(keep)


ROW_READER = {"format": "row"}
"""How to read a row again that was read well and refused for its values: JSON of the model's columns."""


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
