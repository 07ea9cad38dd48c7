"""Proxies that break off in the middle of what a server says, or close idle connections."""

from __future__ import annotations

import asyncio
from typing import Any

from ops.drill.proxy import Proxy


class Cutting(Proxy):
    """Cuts every connection once so many bytes have come from the server."""

    def __init__(self, target: int, after: int) -> None:
        super().__init__(target)
        self.after = after
        self.passed = 0

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = writer.write

        def write(data: Any) -> None:
            if writer.get_extra_info("peername")[1] != self._target:
                data = bytes(data)[: max(0, self.after - self.passed)]
                self.passed += len(data)
            inner(data)
            if self.passed >= self.after:
                self._reset()

        writer.write = write  # type: ignore[method-assign]
        await super()._forward(reader, writer)


class Forgetful(Proxy):
    """Closes connections as a server does that has waited long enough for a request."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._forgotten = 0

    def close_idle(self) -> None:
        """Close the open connections now: clients can notice before they ask."""
        self._reset()

    def forget(self) -> None:
        """Close each of the open connections when it is next used: clients notice only then."""
        self._forgotten += 1

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, opened = writer.write, self._forgotten

        def write(data: Any) -> None:
            if self._forgotten == opened:
                inner(data)
            else:
                writer.transport.abort()

        writer.write = write  # type: ignore[method-assign]
        await super()._forward(reader, writer)
