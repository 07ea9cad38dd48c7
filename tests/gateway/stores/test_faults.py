"""A store that is gone, stands still, or breaks off in the middle: an error in time, never a short answer."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateway.query import Query
from gateway.stores.clickhouse import ClickHouseStore
from gateway.stores.contract import Store
from gateway.stores.questdb import QuestDBStore
from tapehouse.batch import Strings
from tapehouse.clock import MAX_TS, MINUTE, SECOND, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import TRADES
from tests.batches import batch
from tests.cutting import Cutting, Forgetful
from tests.gateway.stores.stored_rows import Stores, rows_of

STORE_NAMES = ("hot", "cold")
VENUE = f"T{secrets.token_hex(4).upper()}"
START = parse_ns("2024-02-28T22:00:00Z")
ROWS = 20_000
TRADES_OF = Query("trades", VENUE, ("S",), 0, MAX_TS)
BARS_OF = Query("bars", VENUE, ("S",), START, START + ROWS * SECOND, "15s")
CALLS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read(TRADES_OF, 0, MAX_TS, None, 100),
    "bars": lambda store: store.bars(BARS_OF, START, START + 10 * MINUTE),
    "newest": lambda store: store.count_newest(TRADES_OF, 0, MAX_TS, 3),
    "last_bar": lambda store: store.last_bar_time(BARS_OF, "S", 0, MAX_TS),
    "latest": lambda store: store.latest(VENUE, ["S"]),
    "coverage": lambda store: store.day_sizes(TRADES),
    "oldest": lambda store: store.oldest_time(TRADES),
    "health": lambda store: store.check_health(),
}


def _at(
    stores: Stores, store_name: str, http: int, pg: int, timeout_s: int = 20
) -> QuestDBStore | ClickHouseStore:
    """A store whose server is at other ports."""
    if store_name == "cold":
        cold = stores.settings.clickhouse.model_copy(update={"http_port": http})
        return ClickHouseStore(cold, timeout_s=timeout_s)
    hot = stores.settings.questdb.model_copy(update={"http_port": http, "pg_port": pg})
    return QuestDBStore(hot, timeout_s=timeout_s)


@pytest.fixture
def mute() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("store_name", STORE_NAMES)
def test_a_server_that_is_gone(stores: Stores, store_name: str, call: str) -> None:
    store = _at(stores, store_name, 1, 1)
    with pytest.raises(ConnectError, match="no answer") as told:
        CALLS[call](store)
    assert "tapehouse up" in told.value.remedy
    store.close()


@pytest.mark.parametrize("call", ["read", "oldest"])
@pytest.mark.parametrize("store_name", STORE_NAMES)
def test_a_server_that_says_nothing(stores: Stores, store_name: str, call: str, mute: int) -> None:
    store = _at(stores, store_name, mute, mute, timeout_s=1)
    with pytest.raises(ConnectError, match="no answer"):
        CALLS[call](store)
    store.close()


@pytest.fixture(scope="module")
def stored(stores: Stores) -> pl.DataFrame:
    """Enough rows for a long answer."""
    rows = batch(TRADES, ROWS, 1, venue=VENUE)
    rows.columns.update(
        ts_event=START + np.arange(ROWS) * SECOND,
        seq=np.arange(ROWS),
        symbol=Strings.constant("S", ROWS),
        conditions=Strings.constant(None, ROWS),
        price=np.random.default_rng(1).uniform(1, 2, ROWS),
        flags=np.zeros(ROWS, np.int16),
    )
    return stores.put(rows)


@asynccontextmanager
async def _cut(stores: Stores, store_name: str, after: int) -> AsyncIterator[tuple[Store, list[Cutting]]]:
    """A store whose connections break off once so many bytes have come over one of its ports."""
    if store_name == "hot":
        ports = [stores.settings.questdb.http_port, stores.settings.questdb.pg_port]
    else:
        ports = [stores.settings.clickhouse.http_port]
    proxies = [Cutting(port, after) for port in ports]
    for proxy in proxies:
        await proxy.open()
    store = _at(stores, store_name, proxies[0].port, proxies[-1].port)
    try:
        yield store, proxies
    finally:
        store.close()
        for proxy in proxies:
            await proxy.close()


@pytest.mark.parametrize("store_name", STORE_NAMES)
async def test_rows_that_break_off_in_the_middle(
    stores: Stores, store_name: str, stored: pl.DataFrame
) -> None:
    def read(store: Store) -> pl.DataFrame:
        return rows_of(store, TRADES, TRADES_OF)

    async with _cut(stores, store_name, 2**60) as (store, proxies):
        assert (await asyncio.to_thread(read, store)).height == ROWS
        length = proxies[0].passed
    assert length > 100_000
    chance = np.random.default_rng(2)
    for after in [1, 700, *chance.integers(length // 20, length - 4_000, 5).tolist()]:
        async with _cut(stores, store_name, after) as (store, proxies):
            with pytest.raises(ConnectError):
                await asyncio.to_thread(read, store)
            assert proxies[0].passed == after


@pytest.mark.parametrize("store_name", STORE_NAMES)
async def test_bars_that_break_off_in_the_middle(
    stores: Stores, store_name: str, stored: pl.DataFrame
) -> None:
    def read(store: Store) -> Any:
        return store.bars(BARS_OF, BARS_OF.start_ns, BARS_OF.end_ns)[0].num_rows

    async with _cut(stores, store_name, 2**60) as (store, proxies):
        bars = await asyncio.to_thread(read, store)
        lengths = [proxy.passed for proxy in proxies]
    place = int(np.argmax(lengths))
    assert bars == ROWS // 15 + 1
    for part in (0.3, 0.6, 0.9):
        async with _cut(stores, store_name, int(lengths[place] * part)) as (store, _):
            with pytest.raises(ConnectError):
                await asyncio.to_thread(read, store)


@pytest.mark.parametrize("store_name", STORE_NAMES)
async def test_connections_that_the_server_has_closed_are_replaced(
    stores: Stores, store_name: str, stored: pl.DataFrame
) -> None:
    ports = stores.settings.questdb if store_name == "hot" else stores.settings.clickhouse
    proxies = [Forgetful(ports.http_port), Forgetful(getattr(ports, "pg_port", ports.http_port))]
    for proxy in proxies:
        await proxy.open()
    store = _at(stores, store_name, proxies[0].port, proxies[1].port)
    try:
        for name, call in CALLS.items():
            expected = await asyncio.to_thread(call, store)
            for lose in (Forgetful.close_idle, Forgetful.forget):
                for proxy in proxies:
                    lose(proxy)
                again = await asyncio.to_thread(call, store)
                assert type(again) is type(expected), name
    finally:
        store.close()
        for proxy in proxies:
            await proxy.close()


@pytest.mark.parametrize("store_name", STORE_NAMES)
async def test_a_server_that_falls_silent_and_then_is_there_again(
    stores: Stores, store_name: str, stored: pl.DataFrame
) -> None:
    async with _cut(stores, store_name, 2**60) as (_, proxies):
        store = _at(stores, store_name, proxies[0].port, proxies[-1].port, timeout_s=1)
        assert await asyncio.to_thread(store.oldest_time, TRADES) <= START
        for proxy in proxies:
            await proxy.cut(silent=True)
        for call in (CALLS["oldest"], CALLS["read"]):
            with pytest.raises(ConnectError):
                await asyncio.to_thread(call, store)
        for proxy in proxies:
            await proxy.mend()
        assert await asyncio.to_thread(store.oldest_time, TRADES) <= START
        page = await asyncio.to_thread(store.read, TRADES_OF, 0, MAX_TS, None, 7)
        assert page.batch.num_rows >= 7
        store.close()
