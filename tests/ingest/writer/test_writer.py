"""The writer on real servers: what was published is in QuestDB once, whoever is killed when."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from ingest.intake import pack_messages
from ingest.publisher import Publisher
from ingest.quarantine import Quarantine
from ingest.writer import session as module
from ingest.writer.store import QuestDBWriter
from ingest.writer.writer import Writer
from ops.stack import questdb as questdb_part
from ops.stack.home import Home
from ops.stack.ports import Ports
from ops.stack.runner import Stack
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY
from tapehouse.errors import ConnectError
from tapehouse.model import ACCOUNT_TRADES, QUOTES, TRADES, Kind
from tapehouse.model import TICKS as KINDS
from tapehouse.settings import Settings
from tapehouse.stores.migrations import QuestDBMigrations, migrate, migrations
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus, State
from tapehouse.stream.health import Health
from tapehouse.stream.mark import mark_key
from tapehouse.stream.progress import wait_until_written
from tapehouse.stream.quarantine_pages import QuarantineEntry
from tapehouse.stream.wire import pack
from tests.batches import DECIMAL_MAX, START, batch, decimals
from tests.broker import Broker
from tests.conftest import Platform
from tests.stored import by_key, expected, stored
from tests.waiting import DEADLINE_S, until

_DAYS = ("2024-02-28", "2024-02-29", "2024-03-01")


@pytest.fixture
def settings(provisioned: Platform, broker: Broker) -> Settings:
    """A broker of the test's own, and the QuestDB that all share."""
    nats = broker.settings.nats
    writer = provisioned.settings.writer.model_copy(update={"lease_s": 1.0})
    return provisioned.settings.model_copy(update={"nats": nats, "writer": writer})


@pytest.fixture
async def feed(settings: Settings) -> AsyncIterator[Bus]:
    bus = await Bus.connect(settings, "feed")
    yield bus
    await bus.close()


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator[Bus]:
    bus = await Bus.connect(settings, "admin")
    yield bus
    await bus.close()


@pytest.fixture
async def state(admin: Bus) -> State:
    return await admin.shared_state()


@pytest.fixture
def reader(provisioned: Platform) -> Iterator[QuestReader]:
    with QuestReader(provisioned.settings.questdb) as reader:
        yield reader


@asynccontextmanager
async def _writing(settings: Settings, shard: int = 0) -> AsyncIterator[asyncio.Task[None]]:
    """A writer at work, cancelled at the end."""
    bus = await Bus.connect(settings, "writer", DEADLINE_S)
    task = asyncio.create_task(Writer(settings, bus, shard, Health("writer", str(shard))).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bus.close()


def _batch(kind: Kind, rows: int, number: int, venue: str) -> Batch:
    """Rows whose keys no other number has."""
    made = batch(kind, rows, number, venue=venue)
    name = "id" if kind is ACCOUNT_TRADES else "seq"
    made.columns[name] = np.arange(rows) + number * 10_000
    made.columns["ts_event"] = START + np.arange(rows) * (3 * DAY // rows)
    return made


async def _publish(feed: Bus, *batches: Batch, shard: int = 0) -> int:
    """Put batches on the stream; returns the last one's sequence."""
    async with asyncio.timeout(DEADLINE_S), Publisher(feed) as publisher:
        for one in batches:
            for message in pack_messages(one):
                await publisher.publish(f"ticks.{one.kind.name}.{one.venue}.{shard}", message)
        await publisher.drain()
        return publisher.last_seq


async def _floor(state: State, shard: int = 0) -> dict[str, Any]:
    return await state.get(f"floor.{shard}") or {"seq": 0}


async def _passed(state: State, seq: int, shard: int = 0) -> None:
    async def passed() -> bool:
        return bool((await _floor(state, shard))["seq"] >= seq)

    await until(passed, f"the floor to reach {seq}")


def _assert_stored(reader: QuestReader, *batches: Batch) -> None:
    kind, venue = batches[0].kind, batches[0].venue
    assert by_key(stored(reader, kind, "venue", venue), kind) == expected(*batches)


async def _quarantined(settings: Settings) -> list[QuarantineEntry]:
    bus = await Bus.connect(settings, "monitor")
    entries = [entry async for entry in Quarantine(bus).entries()]
    await bus.close()
    return entries


async def test_rows_of_all_kinds_are_written(
    settings: Settings, feed: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    kinds = [kind for kind in KINDS if kind is not ACCOUNT_TRADES]
    written = {kind.name: [_batch(kind, 40, number, venue) for number in range(4)] for kind in kinds}
    seq = await _publish(feed, *(one for batches in written.values() for one in batches))
    async with _writing(settings):
        await wait_until_written(feed, state, seq, DEADLINE_S)
        more = [_batch(TRADES, 7_000, 9, f"{venue}2")]
        await wait_until_written(feed, state, await _publish(feed, *more), DEADLINE_S)
    for batches in written.values():
        _assert_stored(reader, *batches)
    _assert_stored(reader, *more)
    assert await _quarantined(settings) == []


async def test_a_writer_cancelled_at_any_moment_loses_and_doubles_nothing(
    settings: Settings, feed: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    chance = random.Random(3)
    settings = settings.model_copy(
        update={"writer": settings.writer.model_copy(update={"commit_bytes": 20_000, "lease_s": 10.0})}
    )
    batches = [_batch(TRADES, 50, number, venue) for number in range(120)]
    publishing = asyncio.create_task(_publish(feed, *batches))
    floors = [0]
    while not publishing.done() or floors[-1] < publishing.result():
        async with _writing(settings):
            # The longer it takes, the longer each is left alone: on a busy machine one must get somewhere.
            await asyncio.sleep(chance.random() * 0.15 * (1 + len(floors) / 30))
        floors.append((await _floor(state))["seq"])
        assert len(floors) < 300, floors
    assert floors == sorted(floors)
    _assert_stored(reader, *batches)
    # What was committed is recorded at the end, so that little is done twice.
    async with _writing(settings):
        assert (await _floor(state))["seq"] == floors[-1]


async def test_a_second_writer_waits_until_the_first_ends(
    settings: Settings, feed: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    batches = [_batch(QUOTES, 20, number, venue) for number in range(3)]
    async with _writing(settings) as first, _writing(settings) as second:
        await _passed(state, await _publish(feed, batches[0]))
        lease = await state.get("lease.writer.0")
        await asyncio.sleep(2 * settings.writer.lease_s)
        assert (await state.get("lease.writer.0"))["token"] == lease["token"]
        await _passed(state, await _publish(feed, batches[1]))
        ending = first if not first.done() else second
        ending.cancel()
        await _passed(state, await _publish(feed, batches[2]))
        assert (await state.get("lease.writer.0"))["token"] != lease["token"]
    _assert_stored(reader, *batches)


async def test_a_message_that_cannot_be_read_is_put_aside_and_the_rest_is_written(
    settings: Settings, feed: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    batches = [_batch(TRADES, 10, number, venue) for number in range(3)]
    good = [pack(one) for one in batches]
    subject = f"ticks.trades.{venue}.0"
    bad = [b"", b"garbage", good[0][:-8], good[0][:3] + b"\x02" + good[0][4:], good[0] + bytes(8)]
    async with Publisher(feed) as publisher:
        for message in (good[0], *bad, *good[1:]):
            await publisher.publish(subject, message)
        await publisher.drain()
        last = publisher.last_seq
    async with _writing(settings):
        await _passed(state, last)
    _assert_stored(reader, *batches)
    entries = await _quarantined(settings)
    assert [entry.original for entry in entries] == bad
    assert [entry.where for entry in entries] == [f"TICKS message {seq}" for seq in range(2, 7)]
    assert all(entry.reason.startswith("batch: ") and entry.source == subject for entry in entries)
    assert {entry.reader["format"] for entry in entries} == {"batch"}


async def test_a_row_that_questdb_refuses_is_put_aside_and_the_rest_is_written(
    settings: Settings, feed: Bus, state: State, reader: QuestReader
) -> None:
    account = random.Random().randrange(2**40)
    parts = [_batch(ACCOUNT_TRADES, 5, number, "V") for number in range(3)]
    for part in parts:
        part.columns["account_id"] = np.full(5, account)
    parts[1].columns["amount"] = decimals([1, 2, DECIMAL_MAX + 1, 4, -DECIMAL_MAX - 1])
    async with _writing(settings):
        await _passed(state, await _publish(feed, *parts))
    ids = sorted(row["id"] for row in stored(reader, ACCOUNT_TRADES, "account_id", account))
    assert ids == [0, 1, 2, 3, 4, 10_000, 10_001, 10_003, 20_000, 20_001, 20_002, 20_003, 20_004]
    entries = await _quarantined(settings)
    assert [entry.kind for entry in entries] == ["account_trades"] * 2
    assert sorted('"id":10002' in entry.original.decode() for entry in entries) == [False, True]
    assert all("amount" in entry.reason for entry in entries)


class Gate:
    """Holds commits up before they reach QuestDB."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._commit = QuestDBWriter.commit

    def held(self, store: QuestDBWriter, batches: Any) -> Any:
        self.reached.set()
        assert self.opened.wait(DEADLINE_S)
        return self._commit(store, batches)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(QuestDBWriter, "commit", lambda store, batches: gate.held(store, batches))
    yield gate
    gate.opened.set()


async def test_marks_are_open_before_the_rows_are_there_and_the_floor_follows_them(
    settings: Settings,
    feed: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
    gate: Gate,
) -> None:
    written = _batch(TRADES, 100, 0, venue)
    created = (await feed.js.stream_info(TICKS)).created
    assert created is not None
    async with _writing(settings):
        seq = await _publish(feed, written)
        await until(gate.reached.is_set, "the commit")
        for day in _DAYS:
            mark = await state.get(mark_key("trades", day, 0))
            assert mark[1:] == [seq, True]
            assert abs(mark[0] / 1e9 - created.timestamp()) < 1e-3
        assert (await _floor(state))["seq"] == 0
        assert stored(reader, TRADES, "venue", venue) == []
        gate.opened.set()
        await _passed(state, seq)
        _assert_stored(reader, written)
        floor = await _floor(state)
        assert floor["hot_start_ns"] == reader.started_ns()
        assert sorted(floor["open_days"]) == [["trades", day] for day in _DAYS]

        async def closed() -> bool:
            marks = [await state.get(mark_key("trades", day, 0)) for day in _DAYS]
            return [mark[1:] for mark in marks] == [[seq, False]] * 3

        await until(closed, "the marks to be closed")


async def test_marks_are_closed_at_the_end(settings: Settings, feed: Bus, state: State, venue: str) -> None:
    async with _writing(settings):
        seq = await _publish(feed, _batch(TRADES, 100, 0, venue))
        await _passed(state, seq)
    assert [(await state.get(mark_key("trades", day, 0)))[1:] for day in _DAYS] == [[seq, False]] * 3


async def test_a_lease_is_given_back_only_after_the_last_commit(
    settings: Settings,
    feed: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
    gate: Gate,
) -> None:
    written = _batch(TRADES, 10, 0, venue)
    async with _writing(settings) as task:
        await _publish(feed, written)
        await until(gate.reached.is_set, "the commit")
        task.cancel()
        await asyncio.sleep(2 * settings.writer.lease_s)
        assert await state.get("lease.writer.0") is not None
        assert not task.done()
        gate.opened.set()
        await asyncio.gather(task, return_exceptions=True)
    assert await state.get("lease.writer.0") is None
    _assert_stored(reader, written)


async def test_a_writer_ends_when_its_lease_is_lost(settings: Settings, state: State) -> None:
    async with _writing(settings) as task:

        async def held() -> bool:
            return bool(await state.get("lease.writer.0"))

        await until(held, "the lease")
        await state.put("lease.writer.0", {"host": "elsewhere", "pid": 1, "born": "1", "token": "x"})
        with pytest.raises(ConnectError, match=r"writer\.0: the lease was lost"):
            await asyncio.wait_for(asyncio.shield(task), DEADLINE_S)


async def test_the_broker_killed_under_the_writer_loses_and_doubles_nothing(
    settings: Settings, feed: Bus, admin: Bus, reader: QuestReader, venue: str, broker: Broker
) -> None:
    settings = settings.model_copy(
        update={"writer": settings.writer.model_copy(update={"commit_bytes": 20_000, "lease_s": 10.0})}
    )
    batches = [_batch(TRADES, 50, number, venue) for number in range(200)]
    async with _writing(settings) as task:
        publishing = asyncio.create_task(_publish(feed, *batches))
        for count in (30, 90, 150):

            async def came(count: int = count) -> bool:
                await admin.until_connected()
                return bool((await admin.js.stream_info(TICKS)).state.last_seq >= count)

            await until(came, f"{count} messages")
            await broker.kill()
            await broker.start()
        await _passed(await admin.shared_state(), await publishing)
        assert not task.done()
    _assert_stored(reader, *batches)


async def test_a_stream_made_anew_is_read_from_its_beginning(
    settings: Settings,
    feed: Bus,
    admin: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
    broker: Broker,
) -> None:
    batches = [_batch(TRADES, 10, number, venue) for number in range(4)]
    async with _writing(settings):
        await _passed(state, await _publish(feed, *batches[:3]))
        await admin.js.delete_stream(TICKS)
        await broker.provision(settings)
        assert await _publish(feed, batches[3]) == 1

        async def begun() -> bool:
            return bool((await _floor(state))["seq"] == 1)

        await until(begun, "the floor of the new stream")
    _assert_stored(reader, *batches)


async def _purged_to(admin: Bus, first: int) -> None:
    async def purged() -> bool:
        return bool((await admin.js.stream_info(TICKS)).state.first_seq == first)

    await until(purged, f"the stream to begin at {first}")


def _purging(settings: Settings, monkeypatch: pytest.MonkeyPatch, margin_s: int = 0) -> Settings:
    monkeypatch.setattr(module, "_PURGE_EVERY_S", 0.05)
    writer = settings.writer.model_copy(update={"replay_margin_s": margin_s})
    return settings.model_copy(update={"writer": writer})


async def test_the_stream_is_purged_below_the_floor(
    settings: Settings, feed: Bus, admin: Bus, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _purging(settings, monkeypatch)
    async with _writing(settings):
        for number in range(3):
            await _publish(feed, _batch(TRADES, 5, number, venue))
            await _purged_to(admin, number + 2)


async def test_what_may_be_replayed_is_not_purged(
    settings: Settings, feed: Bus, admin: Bus, state: State, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _purging(settings, monkeypatch, margin_s=1_000)
    async with _writing(settings):
        await _passed(state, await _publish(feed, *(_batch(TRADES, 5, number, venue) for number in range(5))))
        await asyncio.sleep(0.5)
    assert (await admin.js.stream_info(TICKS)).state.first_seq == 1


async def test_what_another_consumer_has_not_read_is_not_purged(
    settings: Settings, feed: Bus, admin: Bus, state: State, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _purging(settings, monkeypatch)
    await admin.js.add_consumer(TICKS, ConsumerConfig(durable_name="bars", ack_policy=AckPolicy.ALL))
    async with _writing(settings):
        await _passed(state, await _publish(feed, *(_batch(TRADES, 5, number, venue) for number in range(5))))
        other = await admin.js.pull_subscribe_bind("bars", TICKS)
        taken = await other.fetch(3, DEADLINE_S)
        await asyncio.sleep(0.3)
        assert (await admin.js.stream_info(TICKS)).state.first_seq == 1
        await taken[-1].ack_sync()
        await _purged_to(admin, 4)
        await other.unsubscribe()


async def test_a_shard_without_ticks_does_not_keep_the_stream_full(
    settings: Settings,
    feed: Bus,
    admin: Bus,
    state: State,
    venue: str,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = _purging(settings, monkeypatch).model_copy(update={"shards": 3})
    await broker.provision(settings)
    busy, once, never = (await sharding.current(state)).numbers
    await _publish(feed, _batch(TRADES, 5, 0, venue), shard=once)
    async with _writing(settings, busy), _writing(settings, once), _writing(settings, never):
        for number in range(1, 4):
            seq = await _publish(feed, _batch(TRADES, 5, number, venue), shard=busy)
            await _passed(state, seq, busy)
        await _purged_to(admin, 5)
        await _passed(state, 4, never)


async def test_a_shard_whose_writer_is_away_keeps_its_ticks(
    settings: Settings,
    feed: Bus,
    admin: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = _purging(settings, monkeypatch).model_copy(update={"shards": 2})
    await broker.provision(settings)
    one, two = (await sharding.current(state)).numbers
    waiting = _batch(TRADES, 5, 0, venue)
    async with _writing(settings, one):
        await _passed(state, await _publish(feed, _batch(TRADES, 5, 1, f"{venue}2"), shard=one), one)
        kept = await _publish(feed, waiting, shard=two)
        await _passed(state, await _publish(feed, _batch(TRADES, 5, 2, f"{venue}2"), shard=one), one)
        await asyncio.sleep(0.3)
        assert (await admin.js.stream_info(TICKS)).state.first_seq <= kept
        async with _writing(settings, two):
            await _purged_to(admin, kept + 2)
    _assert_stored(reader, waiting)


@pytest.fixture
async def own_questdb(tmp_path: Path, settings: Settings) -> AsyncIterator[tuple[Stack, Settings]]:
    """A QuestDB of the test's own, kept running by a stack."""
    home = Home(tmp_path / "questdb")
    async with Stack(home) as stack:
        ports = Ports(home, {"questdb-http": 0, "questdb-pg": 0})
        stack.add(questdb_part.part(home, ports))
        await stack.start("questdb")
        own = settings.questdb.model_copy(
            update={
                "http_port": ports.chosen["questdb-http"],
                "pg_port": ports.chosen["questdb-pg"],
                "password": type(settings.questdb.password)(questdb_part.password(home)),
                "reader_password": type(settings.questdb.password)(questdb_part.reader_password(home)),
            }
        )
        ledger = QuestDBMigrations(own)
        await asyncio.to_thread(migrate, ledger, migrations("questdb"))
        ledger.close()
        yield stack, settings.model_copy(update={"questdb": own})


async def _kill(stack: Stack) -> None:
    [part] = stack.view()
    assert part.pid is not None
    os.kill(part.pid, signal.SIGKILL)


async def test_questdb_killed_under_the_writer_loses_and_doubles_nothing(
    own_questdb: tuple[Stack, Settings], feed: Bus, state: State, venue: str
) -> None:
    stack, settings = own_questdb
    settings = settings.model_copy(
        update={"writer": settings.writer.model_copy(update={"commit_bytes": 20_000, "lease_s": 10.0})}
    )
    batches = [_batch(TRADES, 50, number, venue) for number in range(300)]
    async with _writing(settings) as task:
        publishing = asyncio.create_task(_publish(feed, *batches[:250]))
        for count in (20, 120):
            await _passed(state, count)
            await _kill(stack)
        await _passed(state, await publishing)
        # Killed while nothing is written: the next commit is into another QuestDB.
        await _kill(stack)
        with QuestReader(settings.questdb) as reader:

            def up() -> bool:
                try:
                    return reader.fetch("SELECT 1") == [(1,)]
                except ConnectError:
                    return False

            await until(up, "QuestDB to be back")
            await _passed(state, await _publish(feed, *batches[250:]))
            assert not task.done()
            _assert_stored(reader, *batches)
            start_ns = reader.started_ns()

            async def noticed() -> bool:
                return bool((await _floor(state))["hot_start_ns"] == start_ns)

            await until(noticed, "the new QuestDB to be noticed")
    assert await _quarantined(settings) == []


async def test_after_an_unclean_start_of_questdb_the_replay_margin_is_written_again(
    settings: Settings, feed: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    batches = [_batch(TRADES, 10, number, venue) for number in range(5)]
    async with _writing(settings):
        await _passed(state, await _publish(feed, *batches))
    floor = await _floor(state)
    assert (floor["seq"], floor["trail"]) == (5, 0)
    # As if another QuestDB had taken those commits, and lost the last ones.
    await state.put("floor.0", {**floor, "seq": 5, "trail": 2, "hot_start_ns": 1})
    hot = QuestDBWriter(settings.questdb)
    lost = _batch(TRADES, 10, 3, venue)
    lost.columns["conditions"] = Strings.constant("not what was published", 10)
    assert hot.commit([lost]) == []
    hot.close()
    async with _writing(settings):

        async def replayed() -> bool:
            now = await _floor(state)
            return bool(now["seq"] == 5 and now["hot_start_ns"] == reader.started_ns())

        await until(replayed, "the replay")
    _assert_stored(reader, *batches)
    # A QuestDB that is vouched for is not written to again.
    await state.put("floor.0", {**floor, "seq": 5, "trail": 2, "hot_start_ns": 1})
    await state.put("hot", {"start_ns": reader.started_ns(), "unclean_ns": 0})
    hot = QuestDBWriter(settings.questdb)
    assert hot.commit([lost]) == []
    hot.close()
    async with _writing(settings):
        await _passed(state, await _publish(feed, _batch(TRADES, 10, 9, f"{venue}2")))
    _assert_stored(reader, *batches, lost)
