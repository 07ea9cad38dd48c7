"""A TCP proxy between a role and a server, whose connections can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from tapehouse.settings import LOOPBACK

_CHUNK = 2**18


class Proxy:
    """Forwards each connection to `target`, a port of 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._silent = False
        self.port = 0
        """The port it listens on once opened; a cut does not change it."""

    async def open(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(
            self._accepted, LOOPBACK, self.port, limit=_CHUNK, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse new connections and reset the open ones."""
        if self._server:
            self._server.close()
            self._server = None
        self._reset()
        await asyncio.gather(*self._forwarding, return_exceptions=True)

    async def cut(self, *, silent: bool) -> None:
        """Refuse and reset connections; with `silent`, keep them open and drop all bytes."""
        self._silent = silent
        if not silent:
            await self.close()

    async def mend(self) -> None:
        """Forward again. Connections that were open during a silent cut are reset, since bytes were dropped."""
        if self._silent:
            self._silent = False
            self._reset()
        if self._server is None:
            await self.open()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._forwarding)

    def _reset(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._forwarding.add(task)
        self._open.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._target, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
        else:
            self._open.add(server_writer)
            await asyncio.gather(self._forward(reader, server_writer), self._forward(server_reader, writer))
            self._open.discard(server_writer)
        finally:
            self._open.discard(writer)
            self._forwarding.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward bytes in one direction until one end closes, then close the other."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if not self._silent:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def cut(proxies: Iterable[Proxy], *, silent: bool) -> AsyncIterator[None]:
    """Cut these connections while the context lasts."""
    chosen = list(proxies)
    try:
        for proxy in chosen:
            await proxy.cut(silent=silent)
        yield
    finally:
        for proxy in chosen:
            await proxy.mend()
