"""Splits an Arrow IPC stream into messages without pyarrow: counts rows and checks that the stream is complete.

A message is 0xFFFFFFFF, the length of its metadata (int32), the metadata (a flatbuffer), and a body whose length is in
the metadata; a length of 0 ends the stream. The columns are decoded by polars.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from tapehouse.client.problems import error_of
from tapehouse.client.transport import truncated
from tapehouse.errors import TapehouseError

END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_CONTINUATION: Final = END[:4]
_SCHEMA: Final = 1
_BATCH: Final = 3
_PIECE: Final = 2**18
"""Bytes per read: larger buffers would be allocated anew each time."""
_MAX_METADATA: Final = 2**24
_MAX_BODY: Final = 2**31


class ArrowStream:
    """An Arrow IPC stream, for one pass.

    read: returns the next n bytes, fewer only at the end.
    schema: the first message; prepended to batches it makes a stream.
    segments: which store served which span, from the metadata of the last, empty batch; set once all batches are read.

    Raises ConnectError if the end-of-stream marker is missing, the error in the stream if the gateway aborted the
    answer, TapehouseError for bytes that are not an Arrow stream.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.segments: list[dict[str, Any]] = []
        message, body = self._message()
        if message is None or message.type != _SCHEMA:
            raise TapehouseError("gateway: expected an Arrow stream, was one without a schema")
        self.schema = b"".join([message.raw, *body])

    def batches(self) -> Iterator[tuple[int, list[bytes]]]:
        """(number of rows, message as a list of pieces) of each batch; empty batches are left out."""
        while True:
            message, body = self._message()
            if message is None:
                break
            if message.type != _BATCH:
                raise TapehouseError(
                    f"gateway: expected a batch of rows, was an Arrow message of type {message.type}"
                )
            self._take_metadata(message.metadata())
            if rows := message.rows():
                yield rows, [message.raw, *body]
        if self._read(1):
            raise TapehouseError("the gateway's answer: expected the end of its Arrow stream, was more data")

    def _take_metadata(self, metadata: dict[str, str]) -> None:
        try:
            values = {name: json.loads(metadata[name]) for name in ("error", "segments") if name in metadata}
        except ValueError:
            raise _not_arrow() from None
        if isinstance(values.get("error"), dict):
            # Any error within a stream means that the answer is incomplete.
            raise error_of(values["error"], 503)
        self.segments = values.get("segments", self.segments)

    def _message(self) -> tuple[_Metadata | None, list[bytes]]:
        """The metadata and the body, in pieces, of the next message; None and no body at the end of the stream."""
        prefix = self._read_exactly(8)
        if prefix == END:
            return None, []
        length = int.from_bytes(prefix[4:], "little")
        if prefix[:4] != _CONTINUATION or length > _MAX_METADATA:
            raise _not_arrow()
        message = _Metadata(prefix, self._read_exactly(length))
        count, rest = divmod(message.body_length, _PIECE)
        return message, [self._read_exactly(size) for size in (*(_PIECE,) * count, rest)]

    def _read_exactly(self, size: int) -> bytes:
        piece = self._read(size) if size else b""
        if len(piece) < size:
            raise truncated("its end is missing")
        return piece


class _Metadata:
    """The flatbuffer `Message` of the Arrow format; fields: version, type, header, body length, custom metadata."""

    def __init__(self, prefix: bytes, buffer: bytes) -> None:
        self.raw = prefix + buffer
        self._buffer = buffer
        try:
            self._table = self._target(0)
            self.type = self._number(self._table, 1, "<B")
            self.body_length = self._number(self._table, 3, "<q")
        except struct.error:
            raise _not_arrow() from None
        if not 0 <= self.body_length <= _MAX_BODY:
            raise _not_arrow()

    def rows(self) -> int:
        """The number of rows of a batch: the first field of its `RecordBatch`."""
        try:
            position = self._field(self._table, 2)
            return self._number(self._target(position), 0, "<q") if position else 0
        except struct.error:
            raise _not_arrow() from None

    def metadata(self) -> dict[str, str]:
        """The custom metadata of the message."""
        try:
            position = self._field(self._table, 4)
            if not position:
                return {}
            vector = self._target(position)
            count = self._unpack("<I", vector)
            pairs = (self._target(vector + 4 + 4 * number) for number in range(count))
            return {self._text(pair, 0): self._text(pair, 1) for pair in pairs}
        except (struct.error, UnicodeDecodeError):
            raise _not_arrow() from None

    def _text(self, table: int, number: int) -> str:
        position = self._field(table, number)
        if not position:
            return ""
        length = self._target(position)
        return self._buffer[length + 4 : length + 4 + self._unpack("<I", length)].decode()

    def _number(self, table: int, number: int, form: str) -> int:
        position = self._field(table, number)
        return self._unpack(form, position) if position else 0

    def _field(self, table: int, number: int) -> int:
        """The position of a table's field; 0 if it is absent."""
        vtable = table - self._unpack("<i", table)
        slot = 4 + 2 * number
        if vtable < 0 or slot >= self._unpack("<H", vtable):
            return 0
        offset = self._unpack("<H", vtable + slot)
        return table + offset if offset else 0

    def _target(self, position: int) -> int:
        """The position that the offset at `position` points to."""
        return position + self._unpack("<I", position)

    def _unpack(self, form: str, position: int) -> int:
        return int(struct.unpack_from(form, self._buffer, position)[0])


def _not_arrow() -> TapehouseError:
    return TapehouseError("gateway: expected an Arrow stream, was something else")
