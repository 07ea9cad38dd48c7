"""The role that loads TimescaleDB: each row once whatever is killed, and the stream kept until it is loaded."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from pydantic import SecretStr

from ingest.timescale.role import TimescaleRole
from ingest.writer.purging import purge_processed
from tapehouse.clock import DAY, SECOND, now_ns
from tapehouse.errors import SettingsError
from tapehouse.settings import Settings, Timescale
from tapehouse.stores.migrations import migrate, migrations
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.health import Health
from tapehouse.stream.topology import TIMESCALE_CONSUMER
from tapehouse.stream.wire import pack
from tests.broker import Broker
from tests.ingest.timescale.account_trades import AccountTrade, as_batch, exact, last_of_each_key
from tests.timescale.server import TimescaleServer
from tests.waiting import until

_TABLES = "trades, diverted_trades, stale_days, loads, candlesticks, filled"
_ROOT = Path(__file__).parents[3]


@pytest.fixture
async def settings(broker: Broker, timescale: TimescaleServer) -> Settings:
    """A broker of the test's own, and an empty TimescaleDB."""
    settings = broker.settings.model_copy(
        update={"timescale": timescale.settings.model_copy(update={"lease_s": 2.0})}
    )
    await broker.provision(settings)
    ledger = TimescaleMigrations(settings.timescale)
    migrate(ledger, migrations("timescale"))
    ledger.close()
    client = TimescaleClient(settings.timescale)
    client.execute(f"TRUNCATE {_TABLES}")
    client.close()
    return settings


@pytest.fixture
def db(settings: Settings) -> Iterator[TimescaleClient]:
    client = TimescaleClient(settings.timescale)
    yield client
    client.close()


@asynccontextmanager
async def _loading(settings: Settings) -> AsyncIterator[list[dict[str, Any]]]:
    """The role in this process; yields its reports."""
    bus, monitor = await Bus.connect(settings, "timescale"), await Bus.connect(settings, "monitor")
    reports: list[dict[str, Any]] = []

    async def receive(message: Msg) -> None:
        reports.append(json.loads(message.data))

    await monitor.client.subscribe("health.timescale.>", cb=receive)
    health = Health("timescale")
    task = asyncio.create_task(health.alongside(bus, TimescaleRole(settings, bus, health).run()))
    try:
        yield reports
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()
        await monitor.close()


async def _publish(settings: Settings, *groups: Sequence[AccountTrade]) -> None:
    bus = await Bus.connect(settings, "admin")
    for group in groups:
        await bus.js.publish("ticks.account_trades.accounts.0", pack(as_batch(group)))
    await bus.close()


def _rows(count: int, seed: int = 0) -> list[AccountTrade]:
    now = now_ns() - 2 * DAY
    return [
        AccountTrade(now + n // 3 * SECOND, n % 7, seed * count + n, n * 10**18 + n, n * 10**15)
        for n in range(count)
    ]


def _has(db: TimescaleClient, rows: Sequence[AccountTrade]) -> bool:
    found = db.fetch("SELECT ts_event, account_id, id, amount FROM account_trades ORDER BY 1, 2, 3")
    return found == [(*row.key, exact(row.amount)) for row in last_of_each_key(rows)]


async def test_what_is_published_is_loaded_with_corrections_and_repeats(
    settings: Settings, db: TimescaleClient
) -> None:
    rows = _rows(200)
    corrected = [row._replace(amount=row.amount + 1) for row in rows[50:60]]
    await _publish(settings, rows[:100])
    async with _loading(settings) as reports:
        await until(lambda: _has(db, rows[:100]), "the rows of before")
        await _publish(settings, rows[100:], rows[100:], corrected)
        await until(lambda: _has(db, [*rows, *corrected]), "all rows")
        await until(
            lambda: any(report["state"] == "ready" for report in reports), "a report that it is ready"
        )
    ((seq, loaded, diverted),) = db.fetch("SELECT seq, rows, diverted FROM loads")
    assert (seq, loaded, diverted) == (4, 310, 0)


async def test_a_message_that_cannot_be_read_and_other_kinds_are_passed_over(
    settings: Settings, db: TimescaleClient
) -> None:
    rows = _rows(20)
    bus = await Bus.connect(settings, "admin")
    await bus.js.publish("ticks.account_trades.accounts.0", b"no batch")
    await bus.js.publish("ticks.trades.X.0", b"of another kind")
    await bus.close()
    await _publish(settings, rows)
    async with _loading(settings):
        await until(lambda: _has(db, rows), "the rows after them")


async def test_diverted_trades_are_counted_and_said(settings: Settings, db: TimescaleClient) -> None:
    old = [row._replace(ts_event=row.ts_event - 100 * DAY) for row in _rows(30)]
    async with _loading(settings) as reports:
        await _publish(settings, old)
        await until(lambda: _has(db, old), "the rows")
        said = "30 trades older than the retention diverted"
        await until(lambda: any(said in report["detail"] for report in reports), f"a report: {said}")
    assert db.fetch("SELECT count(*) FROM trades") == [(0,)]


async def test_the_stream_keeps_what_is_not_loaded_and_is_purged_of_what_is(
    settings: Settings, db: TimescaleClient
) -> None:
    rows = _rows(30)
    await _publish(settings, rows[:10], rows[10:20], rows[20:])
    bus = await Bus.connect(settings, "admin")
    state = await bus.shared_state()
    known = await sharding.read(state)

    async def purge() -> int:
        # The writer has written all of it, so far as its own consumer and floor say.
        await bus.js.delete_consumer(TICKS, "writer_0")
        held_by = await purge_processed(bus, state, known)
        held.append(held_by)
        return (await bus.js.stream_info(TICKS)).state.messages

    held: list[str] = []
    await state.put("floor.0", {"created_ns": known.created_ns, "seq": 3, "hot_start_ns": 1, "trail": 3})
    assert await purge() == 3
    assert held == [TIMESCALE_CONSUMER]
    async with _loading(settings):
        await until(lambda: _has(db, rows), "the rows")

        async def is_acknowledged() -> bool:
            info = await bus.js.consumer_info(TICKS, TIMESCALE_CONSUMER)
            return info.ack_floor is not None and info.ack_floor.stream_seq == 3

        await until(is_acknowledged, "the acknowledgement")
    assert await purge_processed(bus, state, known) == ""
    assert (await bus.js.stream_info(TICKS)).state.messages == 0
    await bus.close()


async def test_without_a_server_nothing_is_kept_for_it(settings: Settings, broker: Broker) -> None:
    bus = await Bus.connect(settings, "admin")
    assert TIMESCALE_CONSUMER in [info.name for info in await bus.js.consumers_info(TICKS)]
    await broker.provision()
    assert TIMESCALE_CONSUMER not in [info.name for info in await bus.js.consumers_info(TICKS)]
    await bus.close()


async def test_messages_purged_while_there_was_no_consumer_are_said(
    settings: Settings, broker: Broker, db: TimescaleClient
) -> None:
    rows = _rows(20)
    async with _loading(settings):
        await _publish(settings, rows[:10])
        await until(lambda: _has(db, rows[:10]), "the first rows")
    await broker.provision()
    await _publish(settings, rows[10:])
    bus = await Bus.connect(settings, "admin")
    await bus.js.purge_stream(TICKS)
    await bus.close()
    await broker.provision(settings)
    async with _loading(settings) as reports:
        said = "messages 2 to 2 were purged before TimescaleDB was to load them"
        await until(lambda: any(said in report["detail"] for report in reports), f"a report: {said}")


async def test_a_server_that_is_away_is_waited_for_and_named(settings: Settings) -> None:
    away = settings.model_copy(
        update={"timescale": Timescale(dsn=SecretStr("postgresql://u:hidden@127.0.0.1:1/d"))}
    )
    async with _loading(away) as reports:
        said = "timescale: no connection to 127.0.0.1:1/d"
        await until(
            lambda: any(report["state"] == "waiting" and said in report["detail"] for report in reports),
            f"a report: {said}",
        )


async def test_without_the_setting_the_role_says_which(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "timescale")
    with pytest.raises(SettingsError, match=r"expected the setting timescale.dsn, was empty"):
        TimescaleRole(broker.settings, bus, Health("timescale"))
    await bus.close()


async def test_killed_in_the_middle_of_loads_it_goes_on_and_each_row_is_there_once(
    settings: Settings, db: TimescaleClient, timescale: TimescaleServer
) -> None:
    rows = _rows(3_000)
    env = {
        "TAPEHOUSE_HOME": str(settings.home),
        "TAPEHOUSE_NATS__URL": settings.nats.url,
        "TAPEHOUSE_NATS__PASSWORDS": json.dumps(
            {user: secret.get_secret_value() for user, secret in settings.nats.passwords.items()}
        ),
        "TAPEHOUSE_TIMESCALE__DSN": settings.timescale.dsn.get_secret_value(),
        "TAPEHOUSE_TIMESCALE__LOAD": settings.timescale.load,
        "TAPEHOUSE_TIMESCALE__LOAD_BYTES": "1024",
        "TAPEHOUSE_TIMESCALE__LEASE_S": "2",
    }
    await _publish(settings, *(rows[at : at + 10] for at in range(0, len(rows), 10)))

    def loaded() -> int:
        return int(db.fetch("SELECT coalesce(max(seq), 0) FROM loads")[0][0])

    kills = 0
    while loaded() < 300:
        before = loaded()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ops",
            "run",
            "timescale",
            cwd=_ROOT,
            env=env,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await until(lambda: loaded() > before, "a load")  # noqa: B023
        if kills < 4:
            process.send_signal(signal.SIGKILL)
            kills += 1
        else:
            await until(lambda: loaded() >= 300, "the last load")
            process.terminate()
        await process.wait()
    assert kills
    assert _has(db, rows)
    ((count, total, volume),) = db.fetch("SELECT count(*), sum(amount), sum(trx_amount) FROM trades")
    assert (count, total) == (len(rows), exact(sum(row.amount for row in rows)))
    assert volume == exact(sum(row.trx_amount for row in rows))
    assert db.fetch("SELECT rows FROM loads") == [(len(rows),)]
