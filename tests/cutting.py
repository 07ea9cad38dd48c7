"""A proxy that breaks off in the middle of what a server says."""

from __future__ import annotations

import asyncio
from typing import Any

from tapehouse.drill.proxy import Proxy


class Cutting(Proxy):
    """Cuts every connection once so many bytes have come from the server."""

    def __init__(self, target: int, after: int) -> None:
        super().__init__(target)
        self.after = after
        self.passed = 0

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = writer.write

        def write(data: Any) -> None:
            if writer.get_extra_info("peername")[1] != self._target:
                data = bytes(data)[: max(0, self.after - self.passed)]
                self.passed += len(data)
            inner(data)
            if self.passed >= self.after:
                self._reset()

        writer.write = write  # type: ignore[method-assign]
        await super()._pass(reader, writer)
