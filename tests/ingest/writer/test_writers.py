"""Changing the number of shards while rows are under way: nothing lost, nothing doubled, no older row over a newer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from nats.aio.msg import Msg

from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from ingest.simulator.feed import CHECKPOINT, TIMELINE, SimulatorFeed
from ingest.simulator.timeline_file import load as load_timeline
from ingest.simulator.trades import Simulator
from ingest.writer import session as module
from ingest.writer.store import QuestDBWriter
from ingest.writer.writer import Writer
from ingest.writer.writers import Writers
from tapehouse.batch import Batch, Strings
from tapehouse.clock import iso
from tapehouse.errors import PublishError, UsageError
from tapehouse.model import DEPTH, QUOTES, TRADES
from tapehouse.settings import Settings
from tapehouse.stores.questdb import QuestReader
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.floor import floor_key
from tapehouse.stream.health import Health
from tapehouse.stream.progress import wait_until_written
from tapehouse.stream.sharding import Shards
from tests.batches import START, batch
from tests.broker import Broker
from tests.conftest import Platform
from tests.ingest.simulator.books import emitted
from tests.stored import by_key, expected, stored
from tests.waiting import DEADLINE_S, until

_ROWS = 400


@pytest.fixture
def settings(provisioned: Platform, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A broker of the test's own, and the QuestDB that all share; nothing is kept for a replay."""
    monkeypatch.setattr(module, "_PURGE_EVERY_S", 0.05)
    writer = provisioned.settings.writer.model_copy(update={"lease_s": 2.0, "replay_margin_s": 0})
    return broker.settings.model_copy(update={"questdb": provisioned.settings.questdb, "writer": writer})


@pytest.fixture
async def feed(settings: Settings) -> AsyncIterator[Bus]:
    bus = await Bus.connect(settings, "feed")
    yield bus
    await bus.close()


@pytest.fixture
async def state(broker: Broker) -> AsyncIterator[State]:
    """As the admin has it."""
    bus = await Bus.connect(broker.settings, "admin")
    yield await bus.shared_state()
    await bus.close()


@pytest.fixture
def reader(provisioned: Platform) -> Iterator[QuestReader]:
    with QuestReader(provisioned.settings.questdb) as reader:
        yield reader


@asynccontextmanager
async def _writing(settings: Settings, place: int | None = None) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(Writers(settings, place).run())
    try:
        yield task
    finally:
        assert not task.done() or task.cancelled(), repr(task.exception())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _listening(settings: Settings) -> AsyncIterator[dict[str, dict[str, Any]]]:
    """The last report of each role, as it comes."""
    heard: dict[str, dict[str, Any]] = {}

    async def hear(message: Msg) -> None:
        heard[message.subject] = json.loads(message.data)

    bus = await Bus.connect(settings, "monitor")
    await bus.client.subscribe("health.>", cb=hear)
    try:
        yield heard
    finally:
        await bus.close()


def _version(venue: str, number: int) -> Batch:
    """The same keys with other values in each version."""
    made = batch(TRADES, _ROWS, number, venue=venue)
    made.columns["seq"] = np.arange(_ROWS)
    made.columns["ts_event"] = START + np.arange(_ROWS)
    made.columns["symbol"] = Strings.of([f"S{row % 40}" for row in range(_ROWS)])
    made.columns["conditions"] = Strings.constant(f"version {number}", _ROWS)
    return made


async def _publish(feed: Bus, *batches: Batch) -> int:
    """By the present shards; returns the last sequence."""
    async with asyncio.timeout(DEADLINE_S), Publisher(feed) as publisher:
        intake = Intake(publisher, Quarantine(feed), await sharding.current(await feed.shared_state()))
        for one in batches:
            await intake.put(one, Origin("trades", one.venue, "test", {"format": "row"}))
        await publisher.drain()
        return publisher.last_seq


async def _change(broker: Broker, settings: Settings, count: int) -> None:
    await broker.provision(settings.model_copy(update={"shards": count}))


class Gate:
    """Holds up commits of rows that have this text in their conditions."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.opened = threading.Event()
        self.versions: list[str | None] = []
        self._commit = QuestDBWriter.commit

    def commit(self, store: QuestDBWriter, batches: Sequence[Batch]) -> Any:
        for one in batches:
            if self.text in one.strings("conditions").values:
                assert self.opened.wait(DEADLINE_S)
            self.versions += one.strings("conditions").values
        return self._commit(store, batches)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate("version 1")
    monkeypatch.setattr(QuestDBWriter, "commit", lambda store, batches: gate.commit(store, batches))
    yield gate
    gate.opened.set()


@pytest.mark.parametrize(("before", "after"), [(1, 4), (4, 2)])
async def test_a_newer_row_waits_for_an_older_one_of_its_key_in_an_earlier_shard(
    settings: Settings,
    broker: Broker,
    feed: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
    gate: Gate,
    before: int,
    after: int,
) -> None:
    await _change(broker, settings, before)
    await _publish(feed, _version(venue, 0), _version(venue, 1))
    earlier = await sharding.current(state)
    await _change(broker, settings, after)
    last = await _publish(feed, _version(venue, 2))
    present = await sharding.current(state)
    async with _listening(settings) as heard, _writing(settings):

        def wait() -> bool:
            reports = [heard.get(f"health.writer.{shard}", {}) for shard in present.numbers]
            return all(
                "waiting for the writers of earlier shards" in report.get("detail", "") for report in reports
            )

        await until(wait, "every present writer to say that it waits")
        assert "version 2" not in gate.versions
        gate.opened.set()
        await wait_until_written(feed, state, last, DEADLINE_S)
        assert by_key(stored(reader, TRADES, "venue", venue), TRADES) == expected(_version(venue, 2))
        # Once nothing would be replayed the earlier writers end, and the next start forgets their shards.
        for shard in earlier.numbers:

            async def ended(shard: int = shard) -> bool:
                return not await state.get(f"lease.writer.{shard}")

            await until(ended, f"the writer of shard {shard} to end")
        await _change(broker, settings, after)
        assert (await sharding.read(state)).generations == (present,)


async def test_after_an_unclean_start_of_questdb_earlier_shards_are_replayed_first(
    settings: Settings,
    broker: Broker,
    feed: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
) -> None:
    keeping = settings.model_copy(
        update={"writer": settings.writer.model_copy(update={"replay_margin_s": 600})}
    )
    async with _writing(keeping):
        await _publish(feed, _version(venue, 1))
        await _change(broker, settings, 3)
        await wait_until_written(feed, state, await _publish(feed, _version(venue, 2)), DEADLINE_S)
    numbers = (await sharding.read(state)).numbers
    floors = {shard: await state.get(floor_key(shard)) for shard in numbers}
    assert all(floor["trail"] == 0 for floor in floors.values())
    # As if another QuestDB had taken those commits, and lost the last ones.
    for shard, floor in floors.items():
        await state.put(floor_key(shard), {**floor, "hot_start_ns": 1})
    hot = QuestDBWriter(settings.questdb)
    assert hot.commit([_version(venue, 0)]) == []
    hot.close()
    start_ns = reader.started_ns()
    async with _writing(keeping):

        async def replayed() -> bool:
            found = [await state.get(floor_key(shard)) for shard in numbers]
            return all(
                floor["hot_start_ns"] == start_ns and floor["seq"] >= floors[shard]["seq"]
                for shard, floor in zip(numbers, found, strict=True)
            )

        await until(replayed, "the replay of all shards")
    assert by_key(stored(reader, TRADES, "venue", venue), TRADES) == expected(_version(venue, 2))


async def test_while_an_earlier_shard_may_be_replayed_a_present_one_would_be_from_its_beginning(
    settings: Settings, broker: Broker, feed: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    last = await _publish(feed, _version(venue, 1))
    await _change(broker, settings, 2)
    known = await sharding.read(state)
    # Its writer is away; all is written, and might be replayed.
    floor = {"created_ns": known.created_ns, "seq": last, "trail": 0, "hot_start_ns": reader.started_ns()}
    await state.put(floor_key(0), floor)
    one = known.present.first
    await _publish(feed, _version(venue, 2))
    bus = await Bus.connect(settings, "writer")
    writing = asyncio.create_task(Writer(settings, bus, one, Health("writer", str(one))).run())

    async def floor_of(name: str) -> int:
        return int((await state.get(floor_key(one)) or {name: 0})[name])

    async def written() -> bool:
        return await floor_of("seq") > last

    await until(written, "the present shard to be written")
    await asyncio.sleep(0.3)
    assert await floor_of("trail") == 0
    await state.put(floor_key(0), {**floor, "trail": last})

    async def moved() -> bool:
        return await floor_of("trail") > 0

    await until(moved, "the trail to move")
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    await bus.close()


async def test_each_of_several_processes_has_its_shards_and_the_earlier_ones_have_one(
    settings: Settings, broker: Broker, feed: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    await _change(broker, settings, 3)
    await _publish(feed, _version(venue, 1))
    await _change(broker, settings, 2)
    last = await _publish(feed, _version(venue, 2))
    with pytest.raises(UsageError, match="expected a number below 2, was 2"):
        await Writers(settings, 2).run()
    async with _writing(settings, 0), _writing(settings, 1):
        await wait_until_written(feed, state, last, DEADLINE_S)
    assert by_key(stored(reader, TRADES, "venue", venue), TRADES) == expected(_version(venue, 2))


async def test_a_simulator_under_way_goes_on_with_every_number(
    settings: Settings, broker: Broker, state: State, reader: QuestReader
) -> None:
    rates = {"rate": 5_000, "quotes_rate": 500, "depth_rate": 500}
    sim = settings.simulator.model_copy(update={**rates, "symbols": 30, "late": 0.0, "seed": 77})
    settings = settings.model_copy(update={"simulator": sim})
    async with _writing(settings):
        for count in (4, 2):
            await _feed_until_changed(settings, broker, state, count)
        await _feed_until_changed(settings, broker, state, 3)
        bus = await Bus.connect(settings, "admin")
        await wait_until_written(bus, state, 10**12, DEADLINE_S)
        await bus.close()
    await asyncio.to_thread(refresh_bar_views, settings.questdb)
    rows = reader.fetch(
        "SELECT symbol, count(), count_distinct(seq), max(seq) FROM trades WHERE venue = 'sim'"
    )
    assert len(rows) == 30
    assert sum(row[1] for row in rows) > 10_000
    # Ids count from 1 without a hole.
    assert all(row[1] == row[2] == row[3] for row in rows)
    checkpoint = await state.get(CHECKPOINT) or 0
    await asyncio.to_thread(_check_simulated_books, settings, reader, checkpoint)
    bars = "symbol, cast(ts AS long), open, high, low, close, trades"
    rebuilt = reader.fetch(
        "SELECT symbol, cast(minute AS long), arg_min(price, seq), max(price), min(price), "
        "arg_max(price, seq), count() FROM (SELECT timestamp_floor('1m', ts_event) minute, symbol, price, seq "
        "FROM trades WHERE venue = 'sim')"
    )
    assert sorted(reader.fetch(f"SELECT {bars} FROM bars_1m WHERE venue = 'sim'")) == sorted(rebuilt)


def _check_simulated_books(settings: Settings, reader: QuestReader, checkpoint: int) -> None:
    """Quotes and depth up to the checkpoint are those of the timeline."""
    for table in ("quotes", "depth"):
        reader.wait_applied(table)
    timeline = load_timeline(settings.home / TIMELINE)
    assert timeline is not None
    made = emitted(timeline, 0, checkpoint)
    last = Simulator(timeline).time(checkpoint - 1)
    for kind in (QUOTES, DEPTH):
        rows = reader.fetch(
            f"SELECT symbol, cast(ts_event AS long), seq FROM {kind.name} "
            f"WHERE venue = 'sim' AND ts_event <= '{iso(last)}'"
        )
        assert len(rows) > 500
        assert sorted(rows) == sorted(made[kind].select("symbol", "ts_event", "seq").rows())


async def _feed_until_changed(settings: Settings, broker: Broker, state: State, count: int) -> None:
    """Run the simulator for a while and change the number of shards under it."""
    bus = await Bus.connect(settings, "feed")
    feeding = asyncio.create_task(SimulatorFeed(settings, bus, Health("feed", "sim")).run())
    began = (await bus.js.stream_info("TICKS")).state.last_seq

    async def flows() -> bool:
        assert not feeding.done()
        return bool((await bus.js.stream_info("TICKS")).state.last_seq > began + 300)

    await until(flows, "ticks")
    before = await sharding.current(state)
    await _change(broker, settings, count)
    with pytest.raises(PublishError, match="the number of shards was changed"):
        await asyncio.wait_for(feeding, DEADLINE_S)
    await bus.close()
    assert await sharding.current(state) == Shards(before.first + before.count, count)
