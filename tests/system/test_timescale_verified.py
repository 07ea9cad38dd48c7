"""Account trades and candles in TimescaleDB damaged by hand: `mirror verify` finds, names and heals them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pydantic import SecretStr

from gateway.query import Query
from gateway.stores.contract import Store
from gateway.stores.questdb import QuestDBStore
from gateway.stores.timescale import TimescaleStore
from ingest.timescale.role import TimescaleRole
from tapehouse.clock import DAY, HOUR, parse_ns
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.settings import Settings
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.health import Health
from tapehouse.stream.progress import last_seq_of
from tapehouse.stream.topology import provision
from tests.gateway import oracle
from tests.system.mirrored import Mirrored
from tests.system.pouring import Pouring, ago, closed
from tests.timescale.server import TimescaleServer
from tests.waiting import until

_NAME = "account_trades in TimescaleDB"
_TIMES = pl.col("ts_event", "ts_recv").cast(pl.Int64)
_AMOUNT = ACCOUNT_TRADES.names.index("amount")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    """Servers and a writer of this file alone: a verification brings in the days of all tests."""
    stack = Mirrored(tmp_path_factory.mktemp("verified") / "home")
    yield stack
    stack.stop()


@pytest.fixture
def settings(stack: Mirrored, timescale: TimescaleServer) -> Settings:
    """Those of the platform, with a TimescaleDB."""
    return stack.settings.model_copy(
        update={"timescale": timescale.settings.model_copy(update={"lease_s": 2.0})}
    )


@pytest.fixture
def db(settings: Settings) -> Iterator[TimescaleClient]:
    client = TimescaleClient(settings.timescale)
    yield client
    client.close()


@asynccontextmanager
async def _consumed(settings: Settings, without: Settings) -> AsyncIterator[None]:
    """The stream has the consumer of TimescaleDB for the length of the context."""
    bus = await Bus.connect(settings, "admin")
    try:
        await provision(bus, settings)
        yield
    finally:
        await provision(bus, without)
        await bus.close()


async def _load(settings: Settings, db: TimescaleClient) -> None:
    """Run the role until TimescaleDB has all that is in the stream."""
    async with _loading(settings):
        await _loaded(settings, db)


@asynccontextmanager
async def _loading(settings: Settings) -> AsyncIterator[None]:
    """The role runs for the length of the context."""
    bus = await Bus.connect(settings, "timescale")
    role = asyncio.create_task(TimescaleRole(settings, bus, Health("timescale")).run())
    try:
        yield
    finally:
        role.cancel()
        await asyncio.gather(role, return_exceptions=True)
        await bus.close()


async def _loaded(settings: Settings, db: TimescaleClient) -> None:
    """Wait until TimescaleDB has all that is in the stream."""
    async with Bus.opened(settings, "mirror") as reading:
        created_ns = sharding.created_ns(await reading.js.stream_info(TICKS))
        last = await last_seq_of(reading, "ticks.account_trades.>")

    def is_loaded() -> bool:
        if not db.fetch("SELECT FROM pg_tables WHERE tablename = 'loads'"):
            return False
        return db.fetch("SELECT FROM loads WHERE created_ns = %s AND seq >= %s", [created_ns, last]) != []

    await until(is_loaded, f"message {last} to be loaded")


def _verify(stack: Mirrored, settings: Settings, *, status: int = 0) -> dict[str, str]:
    """What `mirror verify` says of TimescaleDB: by day, or summary."""
    said = stack.run(
        "mirror",
        "verify",
        status=status,
        TAPEHOUSE_TIMESCALE__DSN=settings.timescale.dsn.get_secret_value(),
        TAPEHOUSE_TIMESCALE__LOAD=settings.timescale.load,
    )
    lines = [line for line in said.splitlines() if f": {_NAME} of " in line]
    return {"": said} | {line.partition(f"{_NAME} of ")[2].partition(":")[0]: line for line in lines}


def _verified(stack: Mirrored, settings: Settings) -> None:
    """Run `mirror verify`, whatever it says."""
    with stack.started(
        "mirror",
        "verify",
        TAPEHOUSE_TIMESCALE__DSN=settings.timescale.dsn.get_secret_value(),
        TAPEHOUSE_TIMESCALE__LOAD=settings.timescale.load,
    ) as process:
        process.communicate(timeout=300)


def _candles(store: Store, rows: pl.DataFrame, day: str, interval: str) -> list[oracle.Candle]:
    accounts = tuple(map(str, rows["account_id"].unique().to_list()))
    start_ns = parse_ns(day)
    query = Query("account_candles", "", accounts, start_ns, start_ns + DAY, interval)
    found, _ = store.account_candles(query, start_ns, start_ns + DAY)
    columns = [found.column("ts").cast(pa.int64()), *found.columns[1:]]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


async def test_what_differs_from_the_owner_is_named_and_healed(
    stack: Mirrored, settings: Settings, db: TimescaleClient
) -> None:
    whole, lost, changed, candle = days = [ago(number) for number in (5, 4, 3, 2)]
    async with _consumed(settings, stack.settings), Pouring(settings, 41) as feed:
        for day in days:
            await feed.some(day, 60, (ACCOUNT_TRADES,))
        await feed.written()
        async with Bus.opened(settings, "mirror") as bus:
            await closed(bus)
        await _load(settings, db)
        await asyncio.to_thread(stack.mirror)
        # The day that is imported elsewhere in this file never was in the stream.
        await asyncio.to_thread(_verify, stack, settings)
        said = await asyncio.to_thread(_verify, stack, settings)
        assert not {*days} & {*said}, said[""]
        assert " 0 differed" in said[""]
        _refresh(db)
        _damage(db, lost, changed, candle)
        said = await asyncio.to_thread(_verify, stack, settings)
        assert {*said} == {"", lost, changed, candle}
        for day, found in (
            (lost, "was 0 other rows"),
            (changed, "rows as in QuestDB, was "),
            (candle, "others of "),
        ):
            assert said[day].startswith("differs: ")
            assert found in said[day]
            assert said[day].endswith("; healed")
        assert "others of 30m; " in said[candle]
        with (
            contextlib.closing(QuestDBStore(settings.questdb)) as hot,
            contextlib.closing(TimescaleStore(settings.timescale)) as store,
        ):
            for day in days:
                rows = feed.expected(ACCOUNT_TRADES, day)
                for interval in ("1m", "30m", "1d"):
                    expected = oracle.candles_of(rows, interval)
                    assert (
                        _candles(store, rows, day, interval) == expected == _candles(hot, rows, day, interval)
                    )
                    if interval == "30m":
                        assert _aggregated(db, day) == len(expected)
        assert whole not in said
        said = await asyncio.to_thread(_verify, stack, settings)
        assert " 0 differed" in said[""]


def _aggregated(db: TimescaleClient, day: str) -> int:
    """How many candles of a day the aggregate of 30 minutes has."""
    ((rows,),) = db.fetch(
        "SELECT count(*) FROM candlesticks_30m WHERE interval_start >= %s::DATE AND interval_start < %s::DATE + 1",
        [day, day],
    )
    return int(rows)


def _refresh(db: TimescaleClient) -> None:
    """As the policies and the role do in time."""
    for view in ("1m", "30m", "1h", "4h", "1d"):
        db.execute(
            f"CALL refresh_continuous_aggregate('candlesticks_{view}', %s::TIMESTAMPTZ, "
            "%s::TIMESTAMPTZ + INTERVAL '1 day')",
            [ago(27), ago(1)],
        )
    db.execute("DELETE FROM stale_days")


def _damage(db: TimescaleClient, lost: str, changed: str, candle: str) -> None:
    """A day without its trades; one with a trade less, one more and another amount; one with a candle that is wrong."""
    of_day = "timestamp >= %s::DATE AND timestamp < %s::DATE + 1"
    db.execute(f"DELETE FROM trades WHERE {of_day}", [lost, lost])
    db.execute(
        "DELETE FROM trades WHERE (timestamp, nanos, account_id, id) = (SELECT timestamp, nanos, account_id, id "
        f"FROM trades WHERE {of_day} ORDER BY timestamp LIMIT 1)",
        [changed, changed],
    )
    db.execute(
        "INSERT INTO trades (timestamp, account_id, id, total_done, trx_amount, amount, trans_type) "
        "VALUES (%s::DATE + INTERVAL '23:59:59.5', 7, 7, 0, 1, 1, 0)",
        [changed],
    )
    db.execute(
        "UPDATE trades SET amount = amount / 2 + 1 WHERE (timestamp, nanos, account_id, id) = (SELECT timestamp, "
        f"nanos, account_id, id FROM trades WHERE {of_day} ORDER BY timestamp LIMIT 1 OFFSET 20)",
        [changed, changed],
    )
    ((table,),) = db.fetch(
        "SELECT format('%%I.%%I', materialization_hypertable_schema, materialization_hypertable_name) "
        "FROM timescaledb_information.continuous_aggregates WHERE view_name = %s",
        ["candlesticks_30m"],
    )
    db.execute(
        f"UPDATE {table} SET volume = volume + 1 WHERE (interval_start, account_id) = (SELECT interval_start, "
        f"account_id FROM {table} WHERE interval_start >= %s::DATE AND interval_start < %s::DATE + 1 LIMIT 1)",
        [candle, candle],
    )


async def test_what_is_loaded_while_a_day_is_healed_is_not_replaced_by_older_rows(
    stack: Mirrored, settings: Settings, db: TimescaleClient, timescale: TimescaleServer
) -> None:
    if not timescale.is_full:
        pytest.skip("TimescaleDB in WebAssembly has one backend")
    day = ago(8)
    async with _consumed(settings, stack.settings), _loading(settings), Pouring(settings, 44) as feed:
        for _ in range(3):
            await feed.some(day, 200, (ACCOUNT_TRADES,))
            await feed.written()
            async with Bus.opened(settings, "mirror") as bus:
                await closed(bus)
            await _loaded(settings, db)
            db.execute(
                "UPDATE trades SET amount = 1 WHERE timestamp >= %s::DATE AND timestamp < %s::DATE + 1 AND id %% 2 = 0",
                [day, day],
            )
            verifying = asyncio.create_task(asyncio.to_thread(_verified, stack, settings))
            while not verifying.done():
                # New rows and corrections of the day that is compared and healed.
                await feed.some(day, 3, (ACCOUNT_TRADES,))
                await asyncio.wait([verifying], timeout=0.7)
            await verifying
        await feed.written()
        async with Bus.opened(settings, "mirror") as bus:
            await closed(bus)
        await _loaded(settings, db)
        owned = {*stack.hot(ACCOUNT_TRADES, day).with_columns(_TIMES).rows()}
        found = _rows(db, day)
        # A day that was written to is healed later: what is left of the damage may be there, but no older row.
        assert {row for row in found if row[_AMOUNT] != 1} <= owned
        await asyncio.to_thread(stack.mirror)
        await asyncio.to_thread(_verify, stack, settings)
        assert {*_rows(db, day)} == owned
        assert len(_rows(db, day)) == len(owned) == len(found)


def _rows(db: TimescaleClient, day: str) -> list[tuple[Any, ...]]:
    return db.fetch(
        f"SELECT {', '.join(ACCOUNT_TRADES.names)} FROM account_trades "
        "WHERE timestamp >= %s::DATE AND timestamp < %s::DATE + 1",
        [day, day],
    )


async def test_a_server_that_is_away_or_behind_is_said_and_the_others_are_compared(
    stack: Mirrored, settings: Settings, db: TimescaleClient, timescale: TimescaleServer
) -> None:
    away = settings.timescale.model_copy(update={"dsn": SecretStr("postgresql://u@127.0.0.1:1/d")})
    said = await asyncio.to_thread(_verify, stack, settings.model_copy(update={"timescale": away}))
    assert "no connection to 127.0.0.1:1/d" in said["all days"]
    assert said["all days"].startswith("not compared: ")
    async with _consumed(settings, stack.settings), Pouring(settings, 42 + timescale.is_full) as feed:
        await feed.some(ago(6), 10, (ACCOUNT_TRADES,))
        await feed.written()
        await _load(settings, db)
        await feed.some(ago(6), 10, (ACCOUNT_TRADES,))
        await feed.written()
        said = await asyncio.to_thread(_verify, stack, settings)
        assert "to be loaded, was " in said["all days"]
        await _load(settings, db)


async def test_a_day_that_clickhouse_owns_is_brought_from_there(
    stack: Mirrored, settings: Settings, db: TimescaleClient, tmp_path: Path
) -> None:
    day = ago(26)
    file = tmp_path / "accounts.jsonl"
    lines = [
        {
            "ID": number,
            "Totaldone": "500000.0",
            "Trx Amount": "0.00045115767058272",
            "Amount": str(1_000 + number % 13),
            "Transtype": 1,
            "Accountid": number % 3,
            "Transtime": f"{day}T{number % 24:02}:00:00.5Z",
        }
        for number in range(100)
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    async with _consumed(settings, stack.settings):
        await _load(settings, db)
        await asyncio.to_thread(_verify, stack, settings)
        said = stack.run("ingest", str(file), "--kind", "account_trades", "--cold")
        assert "100" in said
        # Where another server was compared before, this one has the day already.
        db.execute("DELETE FROM trades WHERE timestamp >= %s::DATE AND timestamp < %s::DATE + 1", [day, day])
        found = await asyncio.to_thread(_verify, stack, settings)
        assert "expected 100 rows as in ClickHouse, was 0 other rows" in found[day]
        assert found[day].endswith("; healed")
    assert db.fetch(
        "SELECT count(*), count(DISTINCT id) FROM account_trades "
        "WHERE timestamp >= %s::DATE AND timestamp < %s::DATE + 1",
        [day, day],
    ) == [(100, 100)]
    with contextlib.closing(TimescaleStore(settings.timescale)) as store:
        start_ns = parse_ns(day)
        query = Query("account_candles", "", ("1",), start_ns, start_ns + DAY, "1h")
        candles, _ = store.account_candles(query, start_ns, start_ns + 2 * HOUR)
    assert candles.column("trades").to_pylist() == [5]
