"""A proxy between a client and a server, through its cuts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ops.drill.proxy import Proxy, cut
from tapehouse.settings import LOOPBACK
from tests.waiting import until

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def heard() -> bytearray:
    """What the server has got."""
    return bytearray()


@pytest.fixture
async def proxy(heard: bytearray) -> AsyncIterator[Proxy]:
    """Before a server that gives back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            heard.extend(data)
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, LOOPBACK, 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.open()
    yield proxy
    await proxy.close()
    server.close()


async def connect(proxy: Proxy) -> Ends:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def answer(ends: Ends, said: bytes) -> bytes:
    ends[1].write(said)
    return await ends[0].readexactly(len(said))


async def is_reset(ends: Ends) -> bool:
    try:
        async with asyncio.timeout(60):
            return await ends[0].read(1) == b""
    except ConnectionResetError:
        return True


async def test_what_is_said_passes_both_ways(proxy: Proxy) -> None:
    one, other = await connect(proxy), await connect(proxy)
    assert await answer(one, b"one") == b"one"
    assert await answer(other, b"x" * 1_000_000) == b"x" * 1_000_000
    for _, writer in (one, other):
        writer.close()


async def test_a_cut_resets_and_refuses_and_then_the_same_port_works_again(proxy: Proxy) -> None:
    before = await connect(proxy)
    assert await answer(before, b"before") == b"before"
    port = proxy.port
    async with cut([proxy], silent=False):
        assert await is_reset(before)
        with pytest.raises(ConnectionRefusedError):
            await connect(proxy)
    assert proxy.port == port
    after = await connect(proxy)
    assert await answer(after, b"after") == b"after"
    for _, writer in (before, after):
        writer.close()


async def test_a_silent_cut_swallows_and_then_resets_for_bytes_are_gone(
    proxy: Proxy, heard: bytearray
) -> None:
    before = await connect(proxy)
    assert await answer(before, b"before") == b"before"
    async with cut([proxy], silent=True):
        before[1].write(b"lost")
        during = await connect(proxy)
        during[1].write(b"lost too")
        await before[1].drain()
    assert await is_reset(before)
    assert await is_reset(during)
    after = await connect(proxy)
    assert await answer(after, b"after") == b"after"
    assert bytes(heard) == b"beforeafter"
    for _, writer in (before, during, after):
        writer.close()


async def test_a_server_that_is_gone_is_no_answer_from_the_proxy(proxy: Proxy) -> None:
    gone = Proxy(1)
    await gone.open()
    ends = await connect(gone)
    assert await is_reset(ends)
    ends[1].close()
    await gone.close()


async def test_a_server_that_ends_a_connection_ends_it_for_the_client(heard: bytearray) -> None:
    async def brief(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()

    server = await asyncio.start_server(brief, LOOPBACK, 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.open()
    ends = await connect(proxy)
    assert await ends[0].read() == b"bye"
    ends[1].close()
    await until(lambda: not proxy.connections, "the proxy to forget the connection")
    await proxy.close()
    server.close()
