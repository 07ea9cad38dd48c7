"""Sockets with messages that are not written yet: what is sent to one within a turn of the loop is one write."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

_TOGETHER = 256
"""Sockets that are written before other work of the gateway has its turn."""


class Writer(Protocol):
    """A socket."""

    def flush(self) -> None:
        """Write the messages that wait."""


class Outbox:
    """The sockets in the order in which messages for them came. Only for the thread of one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Writer] = deque()
        self._is_scheduled = False

    def add(self, writer: Writer) -> None:
        """Have a socket flushed, once the work that sends messages now has ended."""
        self._waiting.append(writer)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush_some)

    def _flush_some(self) -> None:
        for _ in range(min(len(self._waiting), _TOGETHER)):
            self._waiting.popleft().flush()
        self._is_scheduled = bool(self._waiting)
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._flush_some)
