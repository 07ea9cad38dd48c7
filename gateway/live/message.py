"""What is sent to sockets: each message is encoded once, however many sockets take it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import orjson

_TEXT, _BINARY = 0x81, 0x82
"""First byte of a frame: the last of its message, with its opcode (RFC 6455, 5.2)."""
_SHORT, _MEDIUM = 126, 2**16


class Message:
    """A message in both formats, each encoded when it is first sent."""

    def __init__(self, items: Sequence[Any], named: Callable[[], dict[str, Any]]) -> None:
        """`items` by position, and a function that gives the same with names."""
        self._items = items
        self._named = named
        self._binary: bytes | None = None
        self._text: bytes | None = None

    @property
    def binary(self) -> bytes:
        """The WebSocket frame with the items as a msgpack array."""
        if self._binary is None:
            self._binary = _frame(_BINARY, msgpack.packb(self._items))
        return self._binary

    @property
    def text(self) -> bytes:
        """The WebSocket frame with a JSON object."""
        if self._text is None:
            self._text = _frame(_TEXT, orjson.dumps(self._named()))
        return self._text


def _frame(first: int, payload: bytes) -> bytes:
    """A frame as a server sends it, without a mask."""
    size = len(payload)
    if size < _SHORT:
        return bytes((first, size)) + payload
    if size < _MEDIUM:
        return struct.pack(">BBH", first, 126, size) + payload
    return struct.pack(">BBQ", first, 127, size) + payload
