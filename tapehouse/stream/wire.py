"""The message format of batches on the stream: a short msgpack header, then raw columns.

    offset  bytes
    0       3      magic "TPH"
    3       1      version (1)
    4       4      length of the header, little endian
    8       h      header: msgpack [kind, venue, rows, [[column, buffer sizes..., strings?]...]]
    ...            buffers, little endian, each starting on a multiple of 8

Buffers by logical type: numbers, times, flags, decimals: the values. Symbols and texts: codes of 1, 2 or 4
bytes (by the number of values), all ones for null; the values are in the header. Lists: ends, then values.
A column whose rows are all equal is sent as one row; an optional one that is null in all rows is left out. Decoding
copies only codes; all other arrays are read-only views. The columns are those of the kind, in its order. A message
ends with the padding of its last buffer.
"""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from tapehouse.batch import Batch, ColumnData, Lists, Strings
from tapehouse.clock import MAX_TS
from tapehouse.errors import WireError
from tapehouse.model import KINDS, TICKS, Column

MAGIC = b"TPH"
VERSION = 1
ROWS_MAX = 65_536
"""Maximum of rows in a message; it bounds the size of a column that was sent as one row."""
_PREFIX = struct.Struct("<3sBI")


def pack(batch: Batch) -> bytes:
    """Encode a batch of 1 to ROWS_MAX rows. Equal rows with equal dictionaries give equal bytes.

    Raises WireError for columns that do not match the model.
    """
    if not 1 <= batch.rows <= ROWS_MAX:
        raise WireError(f"batch: expected 1 to {ROWS_MAX:,} rows, was {batch.rows:,}")
    described: list[list[Any]] = []
    buffers: list[bytes | memoryview] = []
    for column in batch.kind.columns:
        if column.name == "venue" or (column.name in batch.kind.optional and _is_null(batch, column)):
            continue
        sizes: list[Any] = [column.name]
        for buffer in _buffers(column, batch.columns[column.name], batch.rows, sizes):
            buffers.append(buffer)
            padding = -len(buffer) % 8
            if padding:
                buffers.append(bytes(padding))
        described.append(sizes)
    header = msgpack.packb([batch.kind.name, batch.venue, batch.rows, described])
    header_padding = bytes(-(_PREFIX.size + len(header)) % 8)
    return b"".join((_PREFIX.pack(MAGIC, VERSION, len(header)), header, header_padding, *buffers))


def _is_null(batch: Batch, column: Column) -> bool:
    data = batch.strings(column.name)
    return not data.values or bool((data.codes < 0).all())


def _buffers(column: Column, data: ColumnData, rows: int, sizes: list[Any]) -> list[memoryview]:
    """The buffers of a column. Appends their sizes, and for strings the values, to `sizes`."""
    # The buffers are raw bytes: another dtype would be decoded as wrong numbers without an error.
    if isinstance(data, np.ndarray) and (data.dtype != column.types.numpy or data.shape != (rows,)):
        raise WireError(
            f"batch: {column.name}: expected {rows} of {column.types.numpy}, was {data.shape} of {data.dtype.str}"
        )
    if isinstance(data, Strings):
        data = data.compact()
        count = len(data.values)
        width = np.uint8 if count < 0xFF else np.uint16 if count < 0xFFFF else np.uint32
        parts: list[NDArray[Any]] = [_collapse(data.codes.astype(width))]
    elif isinstance(data, Lists):
        parts = [data.ends, data.values]
    else:
        parts = [_collapse(data)]
    views = [np.ascontiguousarray(part).view(np.uint8).data for part in parts]
    sizes.extend(len(view) for view in views)
    if isinstance(data, Strings):
        sizes.append(data.values)
    return views


def _collapse(values: NDArray[Any]) -> NDArray[Any]:
    """Only the first value when all are equal, bit for bit; else all values."""
    if len(values) > 1 and values.dtype.itemsize <= 8:
        bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
        if bits[0] == bits[-1] and (bits == bits[0]).all():
            return values[:1]
    return values


def unpack(data: bytes) -> Batch:
    """Decode a batch; its arrays are read-only views of `data`. Raises WireError for any other bytes."""
    if len(data) < _PREFIX.size:
        raise WireError(f"batch: expected at least {_PREFIX.size} bytes, was {len(data)}", size=len(data))
    magic, version, header_size = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise WireError(
            f"batch: expected the magic {MAGIC!r}, was {magic!r}", remedy="Publish only batches to ticks.*."
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
        names = [name for name, *_ in described]
        left_out = {"venue", *(name for name in kind.optional if name not in names)}
        columns = [column for column in kind.columns if column.name not in left_out]
        if kind not in TICKS or names != [column.name for column in columns]:
            raise WireError(f"batch: expected the columns of {kind.name}, was {names!r:.200}")
        if not isinstance(venue, str) or not venue:
            raise WireError(f"batch: expected a venue, was {venue!r:.200}")
        reader = _Reader(data, start, rows)
        found = {
            column.name: reader.read(column, sizes)
            for column, (_, *sizes) in zip(columns, described, strict=True)
        }
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as reason:
        raise WireError(f"batch: unreadable header: {reason!r:.200}") from reason
    if reader.offset != len(data):
        raise WireError(f"batch: expected {reader.offset} bytes, was {len(data)}")
    return Batch(kind, venue, rows, found)


class _Reader:
    """Reads the buffers of one message in order and checks every size before using it."""

    def __init__(self, data: bytes, offset: int, rows: int) -> None:
        if type(rows) is not int or not 1 <= rows <= ROWS_MAX:
            raise WireError(f"batch: expected 1 to {ROWS_MAX:,} rows, was {rows!r:.200}")
        self.data = data
        self.offset = offset + -offset % 8
        self.rows = rows

    def read(self, column: Column, sizes: list[Any]) -> ColumnData:
        if column.type in ("symbol", "text"):
            return self._strings(column, *sizes)
        if column.type == "doubles":
            ends_size, values_size = sizes
            return self._lists(column, self._buffer(ends_size, "<i8"), self._buffer(values_size, "<f8"))
        (size,) = sizes
        values = self._buffer(size, column.types.numpy)
        if column.type == "flag" and (values.view(np.uint8) > 1).any():
            raise WireError(f"batch: {column.name}: expected only 0 and 1")
        if column.type == "time" and ((values < 0) | (values >= MAX_TS)).any():
            # QuestDB would reject the whole transaction of such a row, again and again.
            raise WireError(f"batch: {column.name}: expected 1970 to 2261")
        return self._spread(values, column)

    def _buffer(self, size: int, dtype: str) -> NDArray[Any]:
        item = np.dtype(dtype).itemsize
        if type(size) is not int or size < 0 or size % item:
            raise WireError(f"batch: expected a size in items of {item} bytes, was {size!r:.200}")
        start, end = self.offset, self.offset + size
        self.offset = end + -end % 8
        if self.offset > len(self.data):
            raise WireError(f"batch: truncated: expected {self.offset} bytes, was {len(self.data)}")
        return np.frombuffer(self.data, dtype, size // item, start)

    def _spread(self, values: NDArray[Any], column: Column) -> NDArray[Any]:
        if len(values) == self.rows:
            return values
        if len(values) == 1:
            return np.broadcast_to(values, (self.rows,))
        raise WireError(f"batch: {column.name}: expected {self.rows} values, was {len(values)}")

    def _strings(self, column: Column, size: int, values: list[str]) -> Strings:
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise WireError(f"batch: {column.name}: expected a list of strings, was {values!r:.200}")
        count = len(values)
        width = 1 if count < 0xFF else 2 if count < 0xFFFF else 4
        codes = self._spread(self._buffer(size, f"<u{width}"), column)
        signed = codes.astype(np.int32)
        if width < 4:
            signed[codes == 256**width - 1] = -1
        if signed.max() >= count or signed.min() < -1:
            raise WireError(f"batch: {column.name}: a code is outside the column's values")
        if len(set(values)) < count:
            raise WireError(f"batch: {column.name}: expected distinct values")
        return Strings(tuple(values), signed)

    def _lists(self, column: Column, ends: NDArray[Any], values: NDArray[Any]) -> Lists:
        # Compared, not subtracted: a difference can overflow.
        rising = len(ends) == self.rows and ends[0] >= 0 and bool((ends[1:] >= ends[:-1]).all())
        if not rising or ends[-1] != len(values):
            raise WireError(
                f"batch: {column.name}: list ends do not fit {self.rows} rows and {len(values)} values"
            )
        return Lists(values, ends)
