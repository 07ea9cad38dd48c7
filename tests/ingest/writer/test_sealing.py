"""Sealed days on real servers: their rows are in the late stream, and none comes to QuestDB any more."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from nats.aio.msg import Msg

from ingest.intake import pack_messages
from ingest.publisher import Publisher
from ingest.writer import sealing as module
from ingest.writer.late import LateRowsPublisher
from ingest.writer.store import QuestDBWriter
from ingest.writer.writer import Writer
from tapehouse.batch import Batch
from tapehouse.clock import DAY, parse_ns
from tapehouse.model import DEPTH, QUOTES, TRADES, Kind
from tapehouse.settings import Settings
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream import sharding
from tapehouse.stream.bus import LATE, TICKS, Bus, State
from tapehouse.stream.health import Health
from tapehouse.stream.mark import mark_key
from tapehouse.stream.seal import SEAL, Seal, confirmed_key, late_subject
from tapehouse.stream.wire import unpack
from tests.batches import START, batch
from tests.broker import Broker
from tests.conftest import Platform
from tests.stored import Row, by_key, expected, stored
from tests.waiting import DEADLINE_S, until

_ONE, _TWO, _THREE = "2024-02-28", "2024-02-29", "2024-03-01"


@pytest.fixture
def settings(provisioned: Platform, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A broker of the test's own, and the QuestDB that all share; seals are looked at often."""
    monkeypatch.setattr(module, "_POLL_S", 0.05)
    return broker.settings.model_copy(update={"questdb": provisioned.settings.questdb})


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
    """A writer at work that tells of itself, cancelled at the end."""
    health = Health("writer", str(shard))
    async with Bus.opened(settings, "writer", DEADLINE_S) as bus:
        writing = health.alongside(bus, Writer(settings, bus, shard, health).run())
        task = asyncio.create_task(writing)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _with(settings: Settings, **writer: Any) -> Settings:
    return settings.model_copy(update={"writer": settings.writer.model_copy(update=writer)})


def _batch(kind: Kind, rows: int, number: int, venue: str, days: int = 3) -> Batch:
    """Rows over some days from the first one on, whose keys no other number has."""
    made = batch(kind, rows, number, venue=venue)
    made.columns["seq"] = np.arange(rows) + number * 10_000
    made.columns["ts_event"] = START + np.arange(rows) * (days * DAY // rows)
    return made


async def _publish(bus: Bus, *batches: Batch, shard: int = 0) -> int:
    """Put batches on the stream; returns the last one's sequence."""
    async with asyncio.timeout(DEADLINE_S), Publisher(bus) as publisher:
        for one in batches:
            for message in pack_messages(one):
                await publisher.publish(f"ticks.{one.kind.name}.{one.venue}.{shard}", message)
        await publisher.drain()
        return publisher.last_seq


async def _passed(state: State, seq: int, shard: int = 0) -> None:
    async def passed() -> bool:
        floor = await state.get(f"floor.{shard}")
        return floor is not None and floor["seq"] >= seq

    await until(passed, f"the floor of shard {shard} to reach {seq}")


async def _confirmed(state: State, seal: Seal, shard: int = 0) -> None:
    async def confirmed() -> bool:
        return bool(await state.get(confirmed_key(shard)) == seal)

    await until(confirmed, f"shard {shard} to confirm {seal}")


async def _late(bus: Bus, kind: Kind = TRADES, shard: int = 0) -> list[Batch]:
    """The batches of a kind and shard in the late stream, in their order."""
    stream = (await bus.js.stream_info(LATE)).state
    found = []
    for seq in range(max(stream.first_seq, 1), stream.last_seq + 1):
        message = await bus.js.get_msg(LATE, seq, direct=True)
        if message.subject == late_subject(kind.name, shard):
            found.append(unpack(message.data or b""))
    return found


def _rows(*batches: Batch) -> list[Row]:
    """All rows, also of equal keys."""
    return [row for one in batches for row in expected(one)]


def _below(day: str, rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["ts_event"] < parse_ns(day)]


def _from(day: str, rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["ts_event"] >= parse_ns(day)]


def _before(day: str, *batches: Batch) -> list[Row]:
    """The rows of batches before a day."""
    return by_key(_below(day, _rows(*batches)), batches[0].kind)


def _since(day: str, *batches: Batch) -> list[Row]:
    """The rows of batches from a day on."""
    return by_key(_from(day, _rows(*batches)), batches[0].kind)


def _hot(reader: QuestReader, kind: Kind, venue: str) -> list[Row]:
    return by_key(stored(reader, kind, "venue", venue), kind)


async def test_rows_of_sealed_days_go_to_the_late_stream_and_all_others_to_questdb(
    settings: Settings, admin: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    seal = {"trades": _TWO, "quotes": _THREE, "account_trades": _ONE}
    other = f"{venue}2"
    trades = [_batch(TRADES, 7_000, 0, venue), _batch(TRADES, 40, 1, other)]
    quotes, depth = _batch(QUOTES, 40, 0, venue), _batch(DEPTH, 40, 0, venue)
    await state.put(SEAL, seal)
    async with _writing(settings):
        await _confirmed(state, seal)
        await _passed(state, await _publish(admin, *trades, quotes, depth))
    for one in trades:
        assert _hot(reader, TRADES, one.venue) == _since(_TWO, one)
        late = [part for part in await _late(admin) if part.venue == one.venue]
        assert by_key(_rows(*late), TRADES) == _before(_TWO, one)
        assert (np.diff(np.concatenate([part.array("seq") for part in late])) > 0).all()
    assert _hot(reader, QUOTES, venue) == _since(_THREE, quotes)
    assert by_key(_rows(*await _late(admin, QUOTES)), QUOTES) == _before(_THREE, quotes)
    assert _hot(reader, DEPTH, venue) == expected(depth)
    assert await _late(admin, DEPTH) == []
    # Marks tell of what touches the hot store.
    marked = [await state.get(mark_key("trades", day, 0)) is not None for day in (_ONE, _TWO, _THREE)]
    assert marked == [False, True, True]


async def test_a_seal_set_while_ticks_of_its_day_pour_in_loses_none_and_lets_none_through_once_confirmed(
    settings: Settings, admin: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    settings = _with(settings, commit_bytes=10_000)
    batches: list[Batch] = []
    enough = asyncio.Event()

    async def pour() -> int:
        async with Publisher(admin) as publisher:
            while not enough.is_set():
                batches.append(_batch(TRADES, 30, len(batches), venue))
                await publisher.publish(f"ticks.trades.{venue}.0", next(pack_messages(batches[-1])))
                await asyncio.sleep(0.01)
            await publisher.drain()
            return publisher.last_seq

    def sealed_rows(day: str) -> list[Row]:
        return _below(day, _hot(reader, TRADES, venue))

    pouring = asyncio.create_task(pour())
    counts = {}
    async with _writing(settings):
        await _passed(state, 20)
        for day in (_TWO, _THREE):
            await state.put(SEAL, {"trades": day})
            await _confirmed(state, {"trades": day})
            counts[day] = len(await asyncio.to_thread(sealed_rows, day))
            more = len(batches) + 30

            def came(count: int = more) -> bool:
                return len(batches) > count

            await until(came, "more ticks")
        enough.set()
        await _passed(state, await pouring)
    assert 0 < counts[_TWO] < counts[_THREE]
    for day, count in counts.items():
        assert len(sealed_rows(day)) == count
    late = _rows(*await _late(admin))
    assert by_key(_hot(reader, TRADES, venue) + late, TRADES) == expected(*batches)
    assert len(_hot(reader, TRADES, venue)) + len(late) == sum(one.rows for one in batches)
    # Marks that were opened for rows that the seal then diverted do not stay open.
    assert not any([(await state.get(mark_key("trades", day, 0)))[2] for day in (_ONE, _TWO, _THREE)])


async def test_writers_cancelled_at_any_moment_keep_to_what_was_confirmed_and_lose_no_late_row(
    settings: Settings, admin: Bus, state: State, reader: QuestReader, venue: str
) -> None:
    chance = random.Random(5)
    settings = _with(settings, commit_bytes=10_000)
    batches = [_batch(TRADES, 30, number, venue) for number in range(120)]
    counts: dict[str, int] = {}
    starts = 0
    for day, lot in (("", batches[:40]), (_TWO, batches[40:80]), (_THREE, batches[80:])):
        seq = await _publish(admin, *lot)
        confirmed, floor = "", 0
        while floor < seq or confirmed != day:
            async with _writing(settings):
                await asyncio.sleep(chance.random() * 0.1 * (1 + starts / 30))
                if day:
                    await state.put(SEAL, {"trades": day})
                await asyncio.sleep(chance.random() * 0.1 * (1 + starts / 30))
            confirmed = (await state.get(confirmed_key(0)) or {}).get("trades", "")
            if confirmed and confirmed not in counts:
                counts[confirmed] = len(_below(confirmed, _hot(reader, TRADES, venue)))
            floor, starts = (await state.get("floor.0") or {"seq": 0})["seq"], starts + 1
            assert starts < 300, floor
    assert counts.keys() == {_TWO, _THREE}
    for day, count in counts.items():
        assert len(_below(day, _hot(reader, TRADES, venue))) == count
    late = _once(_rows(*await _late(admin)))
    hot_seqs = {row["seq"] for row in _hot(reader, TRADES, venue)}
    both = _hot(reader, TRADES, venue) + [row for row in late if row["seq"] not in hot_seqs]
    assert by_key(both, TRADES) == expected(*batches)


def _once(rows: list[Row]) -> list[Row]:
    """Of rows with one key, which must be alike here, one."""
    once = {row["seq"]: row for row in rows}
    assert all(row == once[row["seq"]] for row in rows)
    return [*once.values()]


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


@pytest.mark.parametrize("interrupted", [False, True])
async def test_a_seal_is_not_confirmed_before_a_commit_under_way_has_ended(
    settings: Settings,
    admin: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
    broker: Broker,
    gate: Gate,
    interrupted: bool,
) -> None:
    written = _batch(TRADES, 30, 0, venue)
    async with _writing(settings):
        seq = await _publish(admin, written)
        await until(gate.reached.is_set, "the commit")
        await state.put(SEAL, {"trades": _TWO})
        if interrupted:
            # The session ends, and the next one begins while the commit of the one before goes on.
            await broker.kill()
            await broker.start()
        await asyncio.sleep(1)
        assert await state.get(confirmed_key(0)) is None
        gate.opened.set()
        await _confirmed(state, {"trades": _TWO})
        # Committed before it was confirmed; where the session was interrupted the rows are replayed too.
        assert _hot(reader, TRADES, venue) == expected(written)
        await _passed(state, seq)
    late = _rows(*await _late(admin))
    assert by_key(late, TRADES) == (_before(_TWO, written) if interrupted else [])


@pytest.mark.parametrize("then", [_TWO, _THREE])
@pytest.mark.parametrize("commit_bytes", [2**10, 2**20], ids=["a message a commit", "all in one commit"])
async def test_a_writer_cut_off_before_it_acknowledges_stores_late_rows_again_in_their_order(
    settings: Settings,
    admin: Bus,
    state: State,
    reader: QuestReader,
    venue: str,
    monkeypatch: pytest.MonkeyPatch,
    commit_bytes: int,
    then: str,
) -> None:
    batches = [_batch(TRADES, 60, number, venue) for number in range(6)]
    await state.put(SEAL, {"trades": _TWO})
    seq = await _publish(admin, *batches)
    put, stood = LateRowsPublisher.put, asyncio.Event()

    async def stop_behind(late: LateRowsPublisher, rows: Batch, created_ns: int, seq: int) -> None:
        await put(late, rows, created_ns, seq)
        if seq == 4:
            stood.set()
            await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(LateRowsPublisher, "put", stop_behind)
        async with _writing(_with(settings, commit_bytes=commit_bytes)):
            await until(stood.is_set, "the late rows of the fourth message")
    floor = await state.get("floor.0")
    assert floor["seq"] < 4
    assert len(await _late(admin)) >= 4
    # It is grouped otherwise the second time, and the seal may have moved on.
    await state.put(SEAL, {"trades": then})
    async with _writing(_with(settings, commit_bytes=2**10)):
        await _passed(state, seq)
    late = _rows(*await _late(admin))
    # What was committed before stays where the seal of then had it.
    committed, again = batches[: floor["seq"]], batches[floor["seq"] :]
    assert by_key(_once(late), TRADES) == by_key(
        _below(_TWO, _rows(*committed)) + _below(then, _rows(*again)), TRADES
    )
    # The replay is there as a whole, behind what was there: the last row of a key is the one that counts.
    replayed = [row["seq"] for row in late[-len(_before(then, *batches[3:])) :]]
    assert sorted(replayed) == replayed
    assert _hot(reader, TRADES, venue) == by_key(
        _from(_TWO, _rows(*committed)) + _from(then, _rows(*again)), TRADES
    )


async def test_a_seal_is_kept_when_the_writer_or_its_session_starts_anew_and_never_goes_back(
    settings: Settings, admin: Bus, state: State, reader: QuestReader, venue: str, broker: Broker
) -> None:
    batches = [_batch(TRADES, 30, number, venue) for number in range(3)]
    await state.put(SEAL, {"trades": _TWO})
    async with _writing(settings):
        await _passed(state, await _publish(admin, batches[0]))
        await state.put(SEAL, {"trades": _ONE, "quotes": _ONE})
        await broker.kill()
        await broker.start()
        await _confirmed(state, {"trades": _TWO, "quotes": _ONE})
        await _passed(state, await _publish(admin, batches[1]))
    await state.delete(SEAL)
    async with _writing(settings):
        await _passed(state, await _publish(admin, batches[2]))
    assert await state.get(confirmed_key(0)) == {"trades": _TWO, "quotes": _ONE}
    assert _hot(reader, TRADES, venue) == _since(_TWO, *batches)
    assert by_key(_rows(*await _late(admin)), TRADES) == _before(_TWO, *batches)


async def test_a_full_late_stream_holds_the_writer_until_there_is_room(
    settings: Settings, admin: Bus, state: State, reader: QuestReader, venue: str, broker: Broker
) -> None:
    small = settings.nats.model_copy(update={"late_max_bytes": 2**20})
    await broker.provision(settings.model_copy(update={"nats": small}))
    batches = [_batch(QUOTES, 5_000, number, venue, days=1) for number in range(10)]
    await state.put(SEAL, {"quotes": _TWO})
    told: list[str] = []

    async def hear(message: Msg) -> None:
        report = json.loads(message.data)
        told.append(f"{report['state']} {report['detail']}".strip())

    async with admin.subscribed("health.writer.0", hear), _writing(settings):
        seq = await _publish(admin, *batches)
        merged: list[Batch] = []
        for _ in range(2):
            told.clear()
            await until(lambda: any("is full" in said for said in told), "the word that it is full")
            assert told[-1] == "waiting the late stream is full until the mirror merges its rows"
            merged += await _late(admin, QUOTES)
            assert (await state.get("floor.0"))["seq"] < seq
            await admin.js.purge_stream(LATE)
        room = settings.nats.model_copy(update={"late_max_bytes": 2**30})
        await broker.provision(settings.model_copy(update={"nats": room}))
        await _passed(state, seq)
        await until(lambda: told[-1] == "ready", "the word that it goes on")
    merged += await _late(admin, QUOTES)
    stored_seqs, seqs = (
        np.sort(np.concatenate([one.array("seq") for one in of])) for of in (merged, batches)
    )
    assert stored_seqs.tolist() == seqs.tolist()
    assert _hot(reader, QUOTES, venue) == []


async def test_each_shard_confirms_for_itself(
    settings: Settings, admin: Bus, state: State, reader: QuestReader, venue: str, broker: Broker
) -> None:
    await broker.provision(settings.model_copy(update={"shards": 2}))
    one, two = (await sharding.current(state)).numbers
    batches = {shard: _batch(TRADES, 30, shard, venue) for shard in (one, two)}
    seal = {"trades": _TWO}
    await state.put(SEAL, seal)
    last = {shard: await _publish(admin, batches[shard], shard=shard) for shard in (one, two)}
    async with _writing(settings, one):
        await _confirmed(state, seal, one)
        await _passed(state, last[one], one)
        assert await state.get(confirmed_key(two)) is None
        async with _writing(settings, two):
            await _confirmed(state, seal, two)
            await _passed(state, last[two], two)
    for shard in (one, two):
        late = await _late(admin, shard=shard)
        assert by_key(_rows(*late), TRADES) == _before(_TWO, batches[shard])
    assert _hot(reader, TRADES, venue) == _since(_TWO, *batches.values())


async def test_a_mark_that_a_killed_writer_left_open_of_a_sealed_day_is_closed(
    settings: Settings, admin: Bus, state: State, venue: str
) -> None:
    created_ns = sharding.created_ns(await admin.js.stream_info(TICKS))
    key = mark_key("trades", _ONE, 0)
    await state.put(key, [created_ns, 1, True])
    await state.put(SEAL, {"trades": _TWO})
    async with _writing(settings):
        seq = await _publish(admin, _batch(TRADES, 10, 0, venue, days=1))

        async def closed() -> bool:
            return bool(await state.get(key) == [created_ns, seq, False])

        await until(closed, "the mark to be closed")
