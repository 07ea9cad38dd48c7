"""Which shards there are, and what a stream takes when their number is changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import NoStreamResponseError

from ingest.publisher import Publisher
from tapehouse.errors import PublishError, StackError
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus, State
from tapehouse.stream.sharding import Sharding, Shards, shard_of
from tapehouse.stream.topology import writer_name
from tests.broker import Broker


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_no_number_is_ever_used_twice_and_earlier_shards_are_all_before(counts: list[int]) -> None:
    known = Sharding(1, (Shards(0, counts[0]),))
    for count in counts[1:]:
        known = known.changed(count)
    assert known.present.count == counts[-1]
    assert known.numbers == list(range(len(known.numbers)))
    for shards in known.generations:
        for shard in shards.numbers:
            assert known.earlier_than(shard) == list(range(shards.first))
    assert Sharding.of(known.value()) == known


def test_a_symbol_has_the_same_shard_on_every_machine_and_release() -> None:
    assert [shard_of(name, 1024) for name in ("BTCUSDT", "SPY", "☃", "")] == [963, 511, 852, 0]
    assert len({shard_of(f"S{number}", 8) for number in range(100)}) == 8
    assert Shards(5, 1024).of("SPY") == 516


async def _change(broker: Broker, count: int) -> None:
    await broker.provision(broker.settings.model_copy(update={"shards": count}))


async def test_a_change_closes_the_earlier_shards_for_good(broker: Broker, bus: Bus, state: State) -> None:
    assert await sharding.current(state) == Shards(0, 1)
    await bus.js.publish("ticks.trades.T.0", b"before")
    await _change(broker, 4)
    assert await sharding.current(state) == Shards(1, 4)
    with pytest.raises(NoStreamResponseError):
        await bus.js.publish("ticks.trades.T.0", b"late")
    for shard in (1, 2, 3, 4):
        await bus.js.publish(f"ticks.trades.T.{shard}", b"after")
    await _change(broker, 4)
    await _change(broker, 1)
    # Nobody has written what the earlier ones hold.
    assert (await sharding.read(state)).generations == (Shards(0, 1), Shards(1, 4), Shards(5, 1))
    await broker.kill()
    await broker.start()
    async with Bus.opened(broker.settings, "admin") as after:
        for shard in (0, 4):
            with pytest.raises(NoStreamResponseError):
                await after.js.publish(f"ticks.trades.T.{shard}", b"late")
        assert (await after.js.stream_info(TICKS)).state.messages == 5


async def test_earlier_shards_without_messages_are_forgotten(broker: Broker, bus: Bus, state: State) -> None:
    await _change(broker, 2)
    await _change(broker, 2)
    assert (await sharding.read(state)).generations == (Shards(1, 2),)
    names = {consumer.name for consumer in await bus.js.consumers_info(TICKS)}
    assert names == {writer_name(1), writer_name(2)}


async def test_a_stream_made_anew_has_no_earlier_shards(broker: Broker, bus: Bus, state: State) -> None:
    await bus.js.publish("ticks.trades.T.0", b"before")
    await _change(broker, 2)
    await bus.js.delete_stream(TICKS)
    await _change(broker, 2)
    assert (await sharding.read(state)).generations == (Shards(1, 2),)
    assert (await bus.js.publish("ticks.trades.T.2", b"x")).seq == 1


async def test_a_feed_that_goes_by_the_earlier_number_is_ended_with_the_reason(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "feed")
    async with Publisher(bus, ack_timeout_s=0.2, rejected_wait_s=0.05) as publisher:
        await publisher.publish("ticks.trades.T.0", b"before")
        await publisher.drain()
        await _change(broker, 3)
        ticket = await publisher.publish("ticks.trades.T.0", b"late")
        with pytest.raises(PublishError, match="the number of shards was changed to 3 while this feed ran"):
            await publisher.wait_acknowledged(ticket)
    await bus.close()


async def test_a_state_without_a_record_says_what_to_do(state: State) -> None:
    await state.delete(sharding.KEY)
    with pytest.raises(StackError, match="expected their number") as caught:
        await sharding.current(state)
    assert "tapehouse up" in caught.value.remedy
