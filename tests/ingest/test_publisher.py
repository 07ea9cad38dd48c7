"""Messages on a real broker that is killed, full, or closed to them: each stored once, none lost."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from nats.js.api import DiscardPolicy, StreamConfig
from nats.js.errors import NotFoundError

from ingest.publisher import Publisher
from tapehouse.errors import ConnectError, PublishError
from tapehouse.stream.bus import TICKS, Bus
from tests.broker import Broker
from tests.waiting import DEADLINE_S, until

_SUBJECT = "ticks.trades.T.0"


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[Bus]:
    bus = await Bus.connect(broker.settings, "feed")
    yield bus
    await bus.close()


@pytest.fixture
async def admin(broker: Broker) -> AsyncIterator[Bus]:
    bus = await Bus.connect(broker.settings, "admin")
    yield bus
    await bus.close()


async def _stored(admin: Bus) -> list[bytes]:
    """All that the stream holds, in order."""
    found: list[bytes] = []
    seq = 0
    while True:
        try:
            message = await admin.js.get_msg(TICKS, seq + 1, "ticks.>", direct=True, next=True)
        except NotFoundError:
            return found
        seq = message.seq or 0
        found.append(message.data or b"")


async def test_messages_are_stored_in_order_and_settle(bus: Bus, admin: Bus) -> None:
    payloads = [b"%d" % number for number in range(300)]
    async with asyncio.timeout(DEADLINE_S), Publisher(bus) as publisher:
        assert publisher.first_pending == 0
        tickets = [await publisher.publish(_SUBJECT, payload) for payload in payloads]
        assert tickets == list(range(300))
        await publisher.drain()
        assert (publisher.first_pending, publisher.duplicates, publisher.full) == (300, 0, False)
        assert publisher.last_seq == 300
    assert await _stored(admin) == payloads


async def test_a_settled_ticket_and_all_before_it_are_stored(bus: Bus, admin: Bus) -> None:
    async with asyncio.timeout(DEADLINE_S), Publisher(bus, window=16) as publisher:
        seen = 0
        for number in range(200):
            ticket = await publisher.publish(_SUBJECT, b"%d" % number)
            assert publisher.first_pending >= seen
            seen = publisher.first_pending
            assert len(publisher._pending) <= 16
            if number % 50 == 0:
                await publisher.wait_acknowledged(ticket)
                assert publisher.first_pending == ticket + 1
                assert (await admin.js.stream_info(TICKS)).state.messages == ticket + 1


async def test_who_waits_for_few_pending_messages_waits_while_the_broker_does_not_acknowledge(
    broker: Broker, bus: Bus
) -> None:
    assert broker.process is not None
    async with asyncio.timeout(DEADLINE_S), Publisher(bus) as publisher:
        await publisher.until_few_pending()
        broker.process.send_signal(signal.SIGSTOP)
        for number in range(4):
            await publisher.publish(_SUBJECT, b"%d" % number)
        await publisher.until_few_pending()
        await publisher.publish(_SUBJECT, b"4")
        waiting = asyncio.create_task(publisher.until_few_pending())
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        broker.process.send_signal(signal.SIGCONT)
        await waiting
        await publisher.drain()


async def test_the_same_content_is_stored_once(bus: Bus, admin: Bus) -> None:
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(2):
            async with Publisher(bus) as publisher:
                for number in (1, 2, 1):
                    await publisher.publish(_SUBJECT, b"%d" % number)
                await publisher.drain()
                assert publisher.last_seq == 2
        assert publisher.duplicates == 3
    assert await _stored(admin) == [b"1", b"2"]


async def test_every_message_is_stored_once_though_the_broker_is_killed(
    broker: Broker, bus: Bus, admin: Bus
) -> None:
    chance = random.Random(7)
    payloads = [b"%d " % number + chance.randbytes(2_000) for number in range(4_000)]
    kills = [200, 900, 1_700, 2_600, 3_500]

    async def kill() -> None:
        for number in kills:
            await until(lambda: publisher.first_pending >= number, f"{number} messages")  # noqa: B023
            await broker.kill()
            await broker.start()

    async with asyncio.timeout(DEADLINE_S), Publisher(bus, ack_timeout_s=1) as publisher:
        killing = asyncio.create_task(kill())
        for payload in payloads:
            await publisher.publish(_SUBJECT, payload)
        await publisher.drain()
        await killing
        assert publisher.first_pending == len(payloads)
    assert Counter(await _stored(admin)) == Counter(payloads)


async def test_a_message_whose_broker_is_away_waits_and_holds_the_next(broker: Broker, bus: Bus) -> None:
    async with asyncio.timeout(DEADLINE_S), Publisher(bus) as publisher:
        await broker.kill()
        await until(lambda: not bus.connected, "the loss to be seen")
        await publisher.publish(_SUBJECT, b"first")
        second = asyncio.create_task(publisher.publish(_SUBJECT, b"second"))
        await asyncio.sleep(0.1)
        assert not second.done()
        await broker.start()
        await publisher.wait_acknowledged(await second)


async def test_a_full_stream_slows_down_and_loses_nothing(broker: Broker, bus: Bus, admin: Bus) -> None:
    small = broker.settings.model_copy(
        update={"nats": broker.settings.nats.model_copy(update={"stream_max_bytes": 2**20})}
    )
    await broker.provision(small)
    payloads = [random.Random(number).randbytes(60_000) for number in range(60)]
    taken: list[bytes] = []

    async def publish(publisher: Publisher) -> None:
        for payload in payloads:
            await publisher.publish(_SUBJECT, payload)
        await publisher.drain()

    async with asyncio.timeout(DEADLINE_S), Publisher(bus, window=8, rejected_wait_s=0.05) as publisher:
        publishing = asyncio.create_task(publish(publisher))
        rounds = 0
        while not publishing.done():
            await until(lambda: publisher.full or publishing.done(), "the stream to be full")
            # It stays so for as long as nobody makes room.
            before = publisher.first_pending
            await asyncio.sleep(0.1)
            assert publishing.done() or (publisher.full and publisher.first_pending == before)
            taken += await _stored(admin)
            await admin.js.purge_stream(TICKS)
            await until(lambda: not publisher.full, "the stream to take messages again")
            rounds += 1
        await publishing
        taken += await _stored(admin)
    assert rounds > 2
    assert Counter(taken) == Counter(payloads)


async def test_a_full_stream_whose_broker_is_killed_loses_nothing(
    broker: Broker, bus: Bus, admin: Bus
) -> None:
    small = broker.settings.model_copy(
        update={"nats": broker.settings.nats.model_copy(update={"stream_max_bytes": 2**20})}
    )
    await broker.provision(small)
    payloads = [random.Random(number).randbytes(60_000) for number in range(30)]
    async with asyncio.timeout(DEADLINE_S), Publisher(bus, rejected_wait_s=0.05) as publisher:
        for payload in payloads[:16]:
            await publisher.publish(_SUBJECT, payload)
        rest = asyncio.gather(*(publisher.publish(_SUBJECT, payload) for payload in payloads[16:]))
        await until(lambda: publisher.full, "the stream to be full")
        await broker.kill()
        await broker.start()
        taken = await _stored(admin)
        await admin.js.purge_stream(TICKS)
        await rest
        await publisher.drain()
        taken += await _stored(admin)
    assert Counter(taken) == Counter(payloads)


async def test_a_connection_that_was_closed_is_told_to_all_who_wait(broker: Broker, bus: Bus) -> None:
    async with asyncio.timeout(DEADLINE_S), Publisher(bus, ack_timeout_s=0.2) as publisher:
        await broker.kill()
        await until(lambda: not bus.connected, "the loss to be seen")
        ticket = await publisher.publish(_SUBJECT, b"x")
        draining = asyncio.create_task(publisher.drain())
        await asyncio.sleep(0)
        await bus.close()
        for waiting in (draining, publisher.wait_acknowledged(ticket), publisher.publish(_SUBJECT, b"y")):
            with pytest.raises(ConnectError, match="the connection of feed is closed"):
                await waiting


@pytest.mark.parametrize("over", [-50, 1, 10**6])
async def test_a_message_too_large_is_refused_and_the_others_are_stored(
    bus: Bus, admin: Bus, over: int
) -> None:
    async with asyncio.timeout(DEADLINE_S), Publisher(bus, ack_timeout_s=0.2) as publisher:
        await publisher.publish(_SUBJECT, b"before")
        with pytest.raises(PublishError, match=f"expected at most .* bytes, was {2**20 + over}"):
            await publisher.publish(_SUBJECT, bytes(2**20 + over))
        await publisher.publish(_SUBJECT, b"after")
        await publisher.drain()
        assert publisher.first_pending == 2
    assert await _stored(admin) == [b"before", b"after"]


async def test_the_largest_message_is_stored(bus: Bus, admin: Bus) -> None:
    async with asyncio.timeout(DEADLINE_S), Publisher(bus, ack_timeout_s=0.2) as publisher:
        await publisher.publish(_SUBJECT, bytes(publisher.max_message_bytes))
        await publisher.drain()
        with pytest.raises(PublishError):
            await publisher.publish(_SUBJECT, bytes(publisher.max_message_bytes + 1))
    assert [len(data) for data in await _stored(admin)] == [publisher.max_message_bytes]
    assert publisher.max_message_bytes > 2**20 - 200


async def test_what_the_user_may_not_publish_is_refused_for_good(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "monitor")
    async with asyncio.timeout(DEADLINE_S), Publisher(bus, ack_timeout_s=0.2) as publisher:
        ticket = await publisher.publish(_SUBJECT, b"x")
        for waiting in (
            publisher.wait_acknowledged(ticket),
            publisher.drain(),
            publisher.publish(_SUBJECT, b"y"),
        ):
            with pytest.raises(PublishError, match="may not publish"):
                await waiting
    await bus.close()


async def test_a_subject_whose_stream_is_not_there_yet_is_waited_for(bus: Bus, admin: Bus) -> None:
    await admin.js.delete_stream(TICKS)
    async with asyncio.timeout(DEADLINE_S), Publisher(bus, rejected_wait_s=0.05) as publisher:
        await publisher.publish(_SUBJECT, b"x")
        await until(lambda: publisher.full, "the refusal")
        await admin.js.add_stream(
            StreamConfig(name=TICKS, subjects=["ticks.*.*.*"], discard=DiscardPolicy.NEW, allow_direct=True)
        )
        await publisher.drain()
    assert await _stored(admin) == [b"x"]


async def test_leaving_ends_everything(bus: Bus) -> None:
    subscriptions = len(bus.client._subs)
    tasks = asyncio.all_tasks()
    async with Publisher(bus, ack_timeout_s=0.2) as publisher:
        await publisher.publish(_SUBJECT, b"x")
        await publisher.drain()
    await bus.client.flush()
    assert len(bus.client._subs) == subscriptions
    assert bus.on_reconnect == []
    assert asyncio.all_tasks() == tasks


async def test_leaving_while_the_broker_is_away_ends_everything(broker: Broker, bus: Bus) -> None:
    subscriptions = len(bus.client._subs)
    async with Publisher(bus, ack_timeout_s=0.2) as publisher:
        await broker.kill()
        await until(lambda: not bus.connected, "the loss to be seen")
        await publisher.publish(_SUBJECT, b"x")
    assert len(bus.client._subs) == subscriptions
