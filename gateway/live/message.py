"""What is sent to sockets: each message is encoded once, however many sockets take it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import msgpack
import orjson

_TEXT, _BINARY = 0x81, 0x82
"""First byte of a frame: the last of its message, with its opcode (RFC 6455, 5.2)."""
_SHORT, _MEDIUM = 126, 2**16
PING = bytes((0x89, 0))
"""The frame of a ping without anything in it."""


class Message:
    """A message in both formats, each encoded when it is first sent."""

    def __init__(self, items: Sequence[Any], named: Callable[[], dict[str, Any]]) -> None:
        """`items` by position, and a function that gives the same with names."""
        self._items = items
        self._named = named

    @cached_property
    def binary(self) -> bytes:
        """The WebSocket frame with the items as a msgpack array."""
        return _frame(_BINARY, msgpack.packb(self._items))

    @cached_property
    def text(self) -> bytes:
        """The WebSocket frame with a JSON object."""
        return _frame(_TEXT, orjson.dumps(self._named()))


def _frame(first: int, payload: bytes) -> bytes:
    """A frame as a server sends it, without a mask."""
    size = len(payload)
    if size < _SHORT:
        return bytes((first, size)) + payload
    if size < _MEDIUM:
        return struct.pack(">BBH", first, 126, size) + payload
    return struct.pack(">BBQ", first, 127, size) + payload
