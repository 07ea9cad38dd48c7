"""Connections that can be cut: between a role and a server stands a proxy that passes bytes, until told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from tapehouse.stack.ports import LOOPBACK

_CHUNK = 2**18


class Proxy:
    """Passes each connection to its port on to `target`, a port of 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._silent = False
        self.port = 0
        """Where it listens, once opened; the same through cuts."""

    async def open(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(
            self._accepted, LOOPBACK, self.port, limit=_CHUNK, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections, and reset those there are."""
        if self._server:
            self._server.close()
            self._server = None
        self._reset()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def cut(self, *, silent: bool) -> None:
        """Refuse and reset, or, `silent`, take what is sent and pass nothing on."""
        self._silent = silent
        if not silent:
            await self.close()

    async def mend(self) -> None:
        """Work again. What was open in silence is reset: bytes of it are gone."""
        if self._silent:
            self._silent = False
            self._reset()
        if self._server is None:
            await self.open()

    @property
    def connections(self) -> int:
        """Connections that stand now."""
        return len(self._passing)

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._passing.add(task)
        self._open.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._target, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
        else:
            self._open.add(server_writer)
            await asyncio.gather(self._pass(reader, server_writer), self._pass(server_reader, writer))
            self._open.discard(server_writer)
        finally:
            self._open.discard(writer)
            self._passing.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes one way until an end closes, then close the other."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not self._silent:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def cut(proxies: Iterable[Proxy], *, silent: bool) -> AsyncIterator[None]:
    """Cut these connections for the length of the context."""
    chosen = list(proxies)
    try:
        for proxy in chosen:
            await proxy.cut(silent=silent)
        yield
    finally:
        for proxy in chosen:
            await proxy.mend()
