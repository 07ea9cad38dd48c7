"""Messages of a consumer in order, none missing in silence, through everything that breaks a delivery."""

from __future__ import annotations

import asyncio
import math
import random
import signal
from collections.abc import AsyncIterator

import pytest
from nats.errors import OutboundBufferLimitError

from tapehouse.stream import consumer as module
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.consumer import ConsumerInterruptedError, StreamConsumer
from tapehouse.stream.topology import writer_name
from tests.broker import Broker
from tests.waiting import DEADLINE_S, until

_SUBJECT = "ticks.trades.T.0"
_ALL = 10**9


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[Bus]:
    bus = await Bus.connect(broker.settings, "writer")
    yield bus
    await bus.close()


@pytest.fixture
async def feed(broker: Broker) -> AsyncIterator[Bus]:
    bus = await Bus.connect(broker.settings, "feed")
    yield bus
    await bus.close()


@pytest.fixture
async def pull(bus: Bus) -> AsyncIterator[StreamConsumer]:
    pull = StreamConsumer(bus, TICKS, writer_name(0))
    yield pull
    await pull.stop()


async def _publish(feed: Bus, *payloads: bytes, subject: str = _SUBJECT) -> None:
    for payload in payloads:
        await feed.js.publish(subject, payload)


async def _take(pull: StreamConsumer, count: int, max_bytes: int = _ALL) -> list[tuple[int, bytes]]:
    """(seq, data) of the next `count` messages."""
    found: list[tuple[int, bytes]] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            found += [(message.seq, message.data) for message in await pull.take(max_bytes)]
    return found


async def test_messages_come_in_order_with_their_place(feed: Bus, pull: StreamConsumer) -> None:
    payloads = [b"%d" % number for number in range(200)]
    await _publish(feed, *payloads)
    await pull.start(1)
    assert await _take(pull, 200) == list(enumerate(payloads, 1))
    await _publish(feed, b"later")
    [message] = await pull.take(_ALL)
    assert (message.seq, message.subject, message.data) == (201, _SUBJECT, b"later")
    assert message.stored_ns > 1_700_000_000 * 10**9
    assert message.ack.startswith("$JS.ACK.TICKS.writer_0.")


async def test_messages_are_gathered_until_a_moment_or_until_many_are_there(
    feed: Bus, pull: StreamConsumer
) -> None:
    loop = asyncio.get_running_loop()
    await pull.start(1)
    async with asyncio.timeout(DEADLINE_S):
        await pull.gather(-math.inf)
        gathering = asyncio.create_task(pull.gather(loop.time() + 2 * DEADLINE_S))
        await _publish(feed, *(b"%d" % number for number in range(module._CREDIT // 2 - 1)))
        await until(lambda: pull.waiting == module._CREDIT // 2 - 1, "all but one of the messages")
        assert not gathering.done()
        await _publish(feed, b"last")
        await gathering
        assert len(await pull.take(_ALL)) == module._CREDIT // 2
        gathering = asyncio.create_task(pull.gather(loop.time() + 2 * DEADLINE_S))
        await asyncio.sleep(0)
        # What a lost connection calls: nothing more comes to wait for.
        pull._interrupted()
        await gathering


async def test_the_first_message_is_the_one_asked_for_whatever_was_acknowledged(
    feed: Bus, bus: Bus, pull: StreamConsumer
) -> None:
    await _publish(feed, *(b"%d" % number for number in range(10)))
    await pull.start(1)
    messages: list[module.StreamMessage] = []
    while len(messages) < 10:
        messages += await pull.take(_ALL)
    await bus.client.publish(messages[-1].ack, b"+ACK")
    for seq in (4, 1, 10, 7):
        await pull.start(seq)
        assert (await _take(pull, 11 - seq))[0] == (seq, b"%d" % (seq - 1))
    await pull.start(11)
    await _publish(feed, b"new")
    assert await _take(pull, 1) == [(11, b"new")]


async def test_messages_of_other_shards_are_passed_over(feed: Bus, bus: Bus, broker: Broker) -> None:
    await broker.provision(broker.settings.model_copy(update={"shards": 2}))
    one, two = (await sharding.current(await bus.shared_state())).numbers
    for number in range(6):
        await _publish(feed, b"%d" % number, subject=f"ticks.trades.T.{two if number % 2 else one}")
    pull = StreamConsumer(bus, TICKS, writer_name(one))
    await pull.start(2)
    assert await _take(pull, 2) == [(3, b"2"), (5, b"4")]
    await pull.stop()


async def test_messages_that_were_purged_are_passed_over(
    feed: Bus, pull: StreamConsumer, broker: Broker
) -> None:
    await _publish(feed, *(b"%d" % number for number in range(6)))
    admin = await Bus.connect(broker.settings, "admin")
    await admin.js.purge_stream(TICKS, seq=4)
    await admin.close()
    await pull.start(1)
    assert await _take(pull, 3) == [(4, b"3"), (5, b"4"), (6, b"5")]


async def test_as_much_is_taken_as_asked_for_and_a_larger_message_alone(
    feed: Bus, pull: StreamConsumer
) -> None:
    await _publish(feed, *(bytes(size) for size in (10, 10, 10, 100, 10)))
    await pull.start(1)
    await until(lambda: pull.waiting == 5, "all to be delivered")
    taken = [await pull.take(25) for _ in range(4)]
    assert [[len(message.data) for message in messages] for messages in taken] == [
        [10, 10],
        [10],
        [100],
        [10],
    ]


async def test_no_more_is_delivered_than_there_is_room_for(feed: Bus, pull: StreamConsumer) -> None:
    await _publish(feed, *(b"%d" % number for number in range(300)))
    await pull.start(1)
    await until(lambda: pull.waiting == module._CREDIT, "as many as were asked for")
    seen = []
    while len(seen) < 300:
        assert pull.waiting <= module._CREDIT
        seen += [message.seq for message in await pull.take(3)]
        await asyncio.sleep(0)
    assert seen == list(range(1, 301))


async def test_a_request_that_runs_out_is_made_again(
    feed: Bus, pull: StreamConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_EXPIRES_S", 1)
    monkeypatch.setattr(module, "_HEARTBEAT_S", 0.5)
    await pull.start(1)
    for number in range(1, 4):
        taking = asyncio.create_task(pull.take(_ALL))
        await asyncio.sleep(1.2)
        await _publish(feed, b"%d" % number)
        async with asyncio.timeout(DEADLINE_S):
            assert [message.seq for message in await taking] == [number]
    assert pull._requested <= module._CREDIT


async def test_nothing_is_missing_though_the_broker_is_killed(
    broker: Broker, bus: Bus, feed: Bus, pull: StreamConsumer
) -> None:
    total = 3_000
    chance = random.Random(5)
    floor = interruptions = 0

    async def publish() -> None:
        pending: list[asyncio.Future[object]] = []
        for number in range(total):
            pending.append(asyncio.ensure_future(feed.js.publish(_SUBJECT, b"%d" % number)))
            if len(pending) == 100:
                await asyncio.gather(*pending)
                pending = []

    async def kill() -> None:
        for number in (100, 800, 1_600, 2_500):
            await until(lambda: floor >= number, f"{number} messages")  # noqa: B023
            await broker.kill()
            await broker.start()

    await publish()
    killing = asyncio.create_task(kill())
    await pull.start(1)
    async with asyncio.timeout(DEADLINE_S):
        while floor < total:
            try:
                messages = await pull.take(chance.choice([1, 20, 1_000]))
                assert [message.seq for message in messages] == list(
                    range(floor + 1, floor + 1 + len(messages))
                )
                # As the writer does: what is taken is now and then left undone, and done again.
                if chance.random() < 0.01:
                    await pull.start(floor + 1)
                    continue
                floor = messages[-1].seq
                await bus.client.publish(messages[-1].ack, b"+ACK")
                await asyncio.sleep(0.0005)
            except (ConsumerInterruptedError, OutboundBufferLimitError):
                interruptions += 1
                await bus.until_connected()
                await pull.start(floor + 1)
        await killing
    assert interruptions >= 4


async def test_a_gap_in_the_delivery_is_told_after_what_came_before_it(
    feed: Bus, pull: StreamConsumer
) -> None:
    await pull.start(1)
    await _publish(feed, b"1")
    await until(lambda: pull.waiting == 1, "the first message")
    # The broker counts a message as delivered that never came.
    pull._expected += 1
    await _publish(feed, b"2")
    assert await _take(pull, 1) == [(1, b"1")]
    with pytest.raises(ConsumerInterruptedError, match="writer_0: expected delivery 3, was 2"):
        await _take(pull, 1)
    await pull.start(2)
    assert await _take(pull, 1) == [(2, b"2")]


async def test_messages_that_another_took_are_told(broker: Broker, feed: Bus, pull: StreamConsumer) -> None:
    admin = await Bus.connect(broker.settings, "admin")
    await pull.start(1)
    await admin.client.subscribe("taken")
    request = f"$JS.API.CONSUMER.MSG.NEXT.{TICKS}.{writer_name(0)}"
    await admin.client.publish(request, b'{"batch": 5, "expires": 10000000000}', "taken")
    await admin.client.flush()
    await _publish(feed, *(b"%d" % number for number in range(20)))
    with pytest.raises(ConsumerInterruptedError, match="expected delivery"):
        await _take(pull, 20)
    await admin.close()


async def test_a_lost_connection_is_told_after_what_came_before_it(
    broker: Broker, feed: Bus, pull: StreamConsumer
) -> None:
    await _publish(feed, b"1", b"2")
    await pull.start(1)
    await until(lambda: pull.waiting == 2, "the messages")
    await broker.kill()
    await broker.start()
    assert await _take(pull, 2) == [(1, b"1"), (2, b"2")]
    with pytest.raises(ConsumerInterruptedError, match="the connection was lost"):
        await _take(pull, 1)


async def test_a_consumer_that_is_gone_is_told(broker: Broker, feed: Bus, pull: StreamConsumer) -> None:
    await pull.start(1)
    admin = await Bus.connect(broker.settings, "admin")
    await admin.js.delete_consumer(TICKS, writer_name(0))
    with pytest.raises(ConsumerInterruptedError, match="Consumer Deleted"):
        await _take(pull, 1)
    await admin.close()


async def test_a_broker_that_says_nothing_is_told(
    broker: Broker, pull: StreamConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HEARTBEAT_S", 0.2)
    await pull.start(1)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(ConsumerInterruptedError, match=r"no heartbeat from NATS for 0\.6"):
            await _take(pull, 1)
    finally:
        broker.process.send_signal(signal.SIGCONT)


async def test_starting_and_stopping_leaves_nothing_behind(
    broker: Broker, bus: Bus, pull: StreamConsumer
) -> None:
    await pull.start(1)
    await pull.stop()
    subscriptions = len(bus.client._subs)
    for _ in range(3):
        await pull.start(1)
    await pull.stop()
    assert (len(bus.client._subs), bus.on_reconnect) == (subscriptions, [])
    await pull.start(1)
    await broker.kill()
    await until(lambda: not bus.connected, "the loss to be seen")
    await pull.stop()
    await pull.stop()
    assert (len(bus.client._subs), bus.on_reconnect) == (subscriptions, [])
