"""The message that carries a batch over the stream: a short msgpack header, then raw columns.

    offset  bytes
    0       3      magic "TPH"
    3       1      version (1)
    4       4      length of the header, little endian
    8       h      header: msgpack [kind, venue, rows, [[column, buffer sizes..., strings?]...]]
    ...            buffers, little endian, each starting on a multiple of 8

Buffers by logical type: numbers, times, flags, decimals: the values. Symbols and texts: codes of 1, 2 or 4
bytes (the width is size / rows), all ones for null; the header holds the values. Lists: ends, then values.
A column whose rows are all the same bytes is sent once. Reading copies nothing: arrays are views, read-only.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from tapehouse.batch import Batch, ColumnData, Lists, Strings
from tapehouse.errors import WireError
from tapehouse.model import KINDS, Column

MAGIC = b"TPH"
VERSION = 1
_PREFIX = struct.Struct("<3sBI")


def pack(batch: Batch) -> bytes:
    """The message for a batch of at least one row. Equal batches give equal bytes."""
    described: list[list[Any]] = []
    buffers: list[bytes | memoryview] = []
    for column in batch.kind.columns:
        if column.name == "venue":
            continue
        sizes: list[Any] = [column.name]
        for buffer in _buffers(batch.columns[column.name], batch.rows, sizes):
            buffers.append(buffer)
            padding = -len(buffer) % 8
            if padding:
                buffers.append(bytes(padding))
        described.append(sizes)
    header = msgpack.packb([batch.kind.name, batch.venue, batch.rows, described])
    header_padding = bytes(-(_PREFIX.size + len(header)) % 8)
    return b"".join((_PREFIX.pack(MAGIC, VERSION, len(header)), header, header_padding, *buffers))


def _buffers(data: ColumnData, rows: int, sizes: list[Any]) -> list[memoryview]:
    """The buffers of a column; appends their sizes, and for strings the values, to `sizes`."""
    if isinstance(data, Strings):
        data = data.compact()
        count = len(data.values)
        width = np.uint8 if count < 0xFF else np.uint16 if count < 0xFFFF else np.uint32
        parts: list[NDArray[Any]] = [_once(data.codes.astype(width))]
    elif isinstance(data, Lists):
        parts = [data.ends, data.values]
    else:
        parts = [_once(data)]
    views = [np.ascontiguousarray(part).view(np.uint8).data for part in parts]
    sizes.extend(len(view) for view in views)
    if isinstance(data, Strings):
        sizes.append(data.values)
    return views


def _once(values: NDArray[Any]) -> NDArray[Any]:
    """The first value alone when all are the same, bit for bit; else all."""
    if len(values) > 1 and values.dtype.itemsize <= 8:
        bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
        if bits[0] == bits[-1] and (bits == bits[0]).all():
            return values[:1]
    return values


def unpack(data: bytes) -> Batch:
    """The batch in a message, as read-only views of `data`; WireError says what is wrong with other bytes."""
    if len(data) < _PREFIX.size:
        raise WireError(f"batch: expected at least {_PREFIX.size} bytes, was {len(data)}", size=len(data))
    magic, version, header_size = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise WireError(
            f"batch: expected the magic {MAGIC!r}, was {magic!r}", remedy="Only batches go to ticks.*."
        )
    if version != VERSION:
        raise WireError(
            f"batch: expected version {VERSION}, was {version}",
            remedy="Bring every role to the same release of Tapehouse.",
            version=version,
        )
    start = _PREFIX.size + header_size
    if start > len(data):
        raise WireError(f"batch: truncated in its header: expected {start} bytes, was {len(data)}")
    try:
        kind_name, venue, rows, described = msgpack.unpackb(memoryview(data)[_PREFIX.size : start])
        kind = KINDS[kind_name]
        reader = _Reader(data, start, rows)
        found = {entry[0]: reader.read(kind.column(entry[0]), entry[1:]) for entry in described}
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException) as reason:
        raise WireError(f"batch: unreadable header: {reason!r}") from reason
    missing = [name for name in kind.names if name not in found and name != "venue"]
    if missing or reader.offset < len(data) or not isinstance(venue, str):
        raise WireError(
            f"batch: expected the columns of {kind.name} and nothing after them, "
            f"missing {missing}, {len(data) - reader.offset} bytes left"
        )
    return Batch(kind, venue, rows, found)


class _Reader:
    """Walks the buffers of one message; every size is checked before it is used."""

    def __init__(self, data: bytes, offset: int, rows: int) -> None:
        if not isinstance(rows, int) or rows < 1:
            raise WireError(f"batch: expected one row or more, was {rows!r}")
        self.data = data
        self.offset = offset
        self.rows = rows

    def read(self, column: Column, sizes: list[Any]) -> ColumnData:
        if column.type in ("symbol", "text"):
            return self._strings(*sizes)
        if column.type == "doubles":
            ends_size, values_size = sizes
            return self._lists(column, self._buffer(ends_size, "<i8"), self._buffer(values_size, "<f8"))
        (size,) = sizes
        return self._spread(self._buffer(size, column.types.numpy), column.name)

    def _buffer(self, size: int, dtype: str) -> NDArray[Any]:
        start = self.offset + -self.offset % 8
        end = start + size
        if not isinstance(size, int) or size < 0 or end > len(self.data):
            raise WireError(f"batch: truncated: expected {end} bytes, was {len(self.data)}", expected=end)
        self.offset = min(end + -end % 8, len(self.data))
        return np.frombuffer(self.data, dtype, size // np.dtype(dtype).itemsize, start)

    def _spread(self, values: NDArray[Any], name: str) -> NDArray[Any]:
        if len(values) == self.rows:
            return values
        if len(values) == 1:
            return np.broadcast_to(values, (self.rows,))
        raise WireError(f"batch: {name}: expected {self.rows} values, was {len(values)}")

    def _strings(self, size: int, values: list[str]) -> Strings:
        count = len(values)
        width = 1 if count < 0xFF else 2 if count < 0xFFFF else 4
        codes = self._spread(self._buffer(size, f"<u{width}"), "codes")
        signed = codes.astype(np.int32)
        if width < 4:
            signed[codes == 256**width - 1] = -1
        if signed.max() >= count or signed.min() < -1 or not all(isinstance(value, str) for value in values):
            raise WireError("batch: a code points outside the column's values")
        return Strings(tuple(values), signed)

    def _lists(self, column: Column, ends: NDArray[Any], values: NDArray[Any]) -> Lists:
        steps = np.diff(ends, prepend=0)
        if len(ends) != self.rows or (steps < 0).any() or ends[-1] != len(values):
            raise WireError(
                f"batch: {column.name}: list ends do not fit {self.rows} rows and {len(values)} values"
            )
        return Lists(values, ends)
