"""The messages of an Arrow stream as they come, without Arrow's own library: enough to count, and to know the end.

A message is 0xFFFFFFFF, the length of its head (int32), the head (a flatbuffer), and a body whose length the head
gives; a length of 0 ends the stream. What the bytes of the columns mean is polars' to read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from tapehouse.client.problems import error_of
from tapehouse.errors import ConnectError, TapehouseError

END: Final = b"\xff\xff\xff\xff\0\0\0\0"
_MARK: Final = END[:4]
_SCHEMA: Final = 1
_BATCH: Final = 3
_PIECE: Final = 2**18
"""Bytes read at a time: larger ones would be new memory each time."""
_MOST_HEAD: Final = 2**24
_MOST_BODY: Final = 2**31


class ArrowStream:
    """An Arrow stream that is read once.

    `read(n)` gives the next n bytes, fewer only at the end. `schema` is the first message, to be put before batches
    to make a stream of them. `segments` is what the last, empty batch tells of the stores that served the rows; it
    is known once the batches are read.

    Raises ConnectError where the stream ends without its mark; the error that it tells of where it broke off;
    TapehouseError for bytes that are no Arrow stream.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.segments: list[dict[str, Any]] = []
        head, body = self._message()
        if head is None or head.type != _SCHEMA:
            raise TapehouseError("gateway: expected an Arrow stream, was one without a schema")
        self.schema = b"".join([head.raw, *body])

    def batches(self) -> Iterator[tuple[int, list[bytes]]]:
        """How many rows a batch has, and its message in pieces; empty batches are left out."""
        while True:
            head, body = self._message()
            if head is None:
                break
            if head.type != _BATCH:
                raise TapehouseError(f"gateway: expected a batch of rows, was Arrow's message {head.type}")
            self._hear(head.metadata())
            if rows := head.rows():
                yield rows, [head.raw, *body]
        if self._read(1):
            raise TapehouseError("gateway: expected the end of an Arrow stream, was more behind it")

    def _hear(self, told: dict[str, str]) -> None:
        try:
            said = {name: json.loads(told[name]) for name in ("error", "segments") if name in told}
        except ValueError:
            raise _foreign() from None
        if isinstance(said.get("error"), dict):
            # It broke off in the middle: whatever the problem, the answer is not there.
            raise error_of(said["error"], 503)
        self.segments = said.get("segments", self.segments)

    def _message(self) -> tuple[_Head | None, list[bytes]]:
        """The next message's head and its body in pieces; no head at the end of the stream."""
        mark = self._exactly(8)
        if mark == END:
            return None, []
        length = int.from_bytes(mark[4:], "little")
        if mark[:4] != _MARK or length > _MOST_HEAD:
            raise _foreign()
        head = _Head(mark, self._exactly(length))
        whole, rest = divmod(head.body_length, _PIECE)
        return head, [self._exactly(size) for size in (*(_PIECE,) * whole, rest)]

    def _exactly(self, size: int) -> bytes:
        piece = self._read(size) if size else b""
        if len(piece) < size:
            raise ConnectError(
                "gateway: the answer was cut before its end",
                remedy="Nothing of it is returned. Ask again, or see `tapehouse status`.",
            )
        return piece


class _Head:
    """The flatbuffer `Message` of Arrow's format: version, type, header, length of the body, metadata."""

    def __init__(self, mark: bytes, buffer: bytes) -> None:
        self.raw = mark + buffer
        self._buffer = buffer
        try:
            self._table = self._target(0)
            self.type = self._number(self._table, 1, "<B")
            self.body_length = self._number(self._table, 3, "<q")
        except struct.error:
            raise _foreign() from None
        if not 0 <= self.body_length <= _MOST_BODY:
            raise _foreign()

    def rows(self) -> int:
        """Of a batch: the first field of its `RecordBatch`."""
        try:
            place = self._field(self._table, 2)
            return self._number(self._target(place), 0, "<q") if place else 0
        except struct.error:
            raise _foreign() from None

    def metadata(self) -> dict[str, str]:
        """The pairs of text that were sent with the message."""
        try:
            place = self._field(self._table, 4)
            if not place:
                return {}
            vector = self._target(place)
            count = self._unpack("<I", vector)
            pairs = (self._target(vector + 4 + 4 * number) for number in range(count))
            return {self._text(pair, 0): self._text(pair, 1) for pair in pairs}
        except (struct.error, UnicodeDecodeError):
            raise _foreign() from None

    def _text(self, table: int, number: int) -> str:
        place = self._field(table, number)
        if not place:
            return ""
        length = self._target(place)
        return self._buffer[length + 4 : length + 4 + self._unpack("<I", length)].decode()

    def _number(self, table: int, number: int, form: str) -> int:
        place = self._field(table, number)
        return self._unpack(form, place) if place else 0

    def _field(self, table: int, number: int) -> int:
        """Where a table's field is, 0 where it is left out for its default."""
        vtable = table - self._unpack("<i", table)
        slot = 4 + 2 * number
        if vtable < 0 or slot >= self._unpack("<H", vtable):
            return 0
        offset = self._unpack("<H", vtable + slot)
        return table + offset if offset else 0

    def _target(self, place: int) -> int:
        """Where the offset at a place leads to."""
        return place + self._unpack("<I", place)

    def _unpack(self, form: str, place: int) -> int:
        return int(struct.unpack_from(form, self._buffer, place)[0])


def _foreign() -> TapehouseError:
    return TapehouseError("gateway: expected an Arrow stream, was something else")
