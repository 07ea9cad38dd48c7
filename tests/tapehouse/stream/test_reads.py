"""Many messages in one answer, on a real broker."""

from __future__ import annotations

import pytest

from tapehouse.errors import ConnectError
from tapehouse.stream import reads
from tapehouse.stream.bus import LATE, STATE, Bus, State
from tests.waiting import DEADLINE_S, assert_cancelled_at_any_moment

_ALL = (1, 1000, 2**20)


async def _late(bus: Bus, count: int, size: int = 10) -> None:
    for number in range(count):
        await bus.js.publish(f"late.trades.{number % 2}", f"{number:0{size}}".encode())


async def test_values_are_the_last_ones_of_the_keys_asked_for(bus: Bus, state: State) -> None:
    assert await reads.state_values(bus, "mark.>") == {}
    await state.put("mark.trades.2024-02-28.0", [1, 2, True])
    await state.put("mark.trades.2024-02-28.0", [1, 3, False])
    await state.put("mark.trades.2024-02-28.1", [1, 4, True])
    await state.put("mark.quotes.2024-02-28.1", {"ä": None})
    await state.put("sealed.1", {"trades": "2024-02-28"})
    assert await reads.state_values(bus, "mark.>") == {
        "mark.trades.2024-02-28.0": [1, 3, False],
        "mark.trades.2024-02-28.1": [1, 4, True],
        "mark.quotes.2024-02-28.1": {"ä": None},
    }
    assert await reads.state_values(bus, "mark.trades.2024-02-28.*") == {
        "mark.trades.2024-02-28.0": [1, 3, False],
        "mark.trades.2024-02-28.1": [1, 4, True],
    }
    assert await reads.state_values(bus, "sealed.1") == {"sealed.1": {"trades": "2024-02-28"}}


async def test_keys_that_were_deleted_have_no_value(bus: Bus, state: State) -> None:
    for number in range(4):
        await state.put(f"mark.{number}", number)
    kv = await bus.js.key_value(STATE)
    await kv.delete("mark.1")
    await kv.purge("mark.2")
    assert await reads.state_values(bus, "mark.*") == {"mark.0": 0, "mark.3": 3}
    await state.put("mark.1", "again")
    assert (await reads.state_values(bus, "mark.*"))["mark.1"] == "again"


async def test_there_may_be_more_keys_than_one_answer_has(bus: Bus, state: State) -> None:
    expected = {f"mark.{number}": number for number in range(1_203)}
    for key, number in expected.items():
        # Without waiting for each answer.
        await bus.client.publish(f"$KV.{STATE}.{key}", str(number).encode())
    await state.put("mark.last", 0)
    assert await reads.state_values(bus, "mark.>") == {**expected, "mark.last": 0}


async def test_messages_follow_in_order_by_number_and_by_size(bus: Bus) -> None:
    assert await reads.messages_from(bus, LATE, *_ALL) == []
    await _late(bus, 5)
    found = await reads.messages_from(bus, LATE, *_ALL)
    assert found == [(seq, f"late.trades.{(seq - 1) % 2}", f"{seq - 1:010}".encode()) for seq in range(1, 6)]
    assert await reads.messages_from(bus, LATE, 0, 1000, 2**20) == found
    assert await reads.messages_from(bus, LATE, 4, 1000, 2**20) == found[3:]
    assert await reads.messages_from(bus, LATE, 2, 2, 2**20) == found[1:3]
    assert await reads.messages_from(bus, LATE, 6, 1000, 2**20) == []
    # One at least, however large it is.
    assert 1 <= len(await reads.messages_from(bus, LATE, 1, 1000, 1)) < 5


async def test_messages_of_any_size_come_bit_by_bit(bus: Bus) -> None:
    await _late(bus, 7, 100_000)
    seq, found = 1, []
    while part := await reads.messages_from(bus, LATE, seq, 1000, 250_000):
        assert len(part) < 7
        found += part
        seq = part[-1][0] + 1
    assert [data.lstrip(b"0") for _, _, data in found] == [b"", *(b"%d" % number for number in range(1, 7))]


async def test_what_was_purged_is_left_out(bus: Bus) -> None:
    await _late(bus, 6)
    await bus.js.purge_stream(LATE, seq=3)
    assert [seq for seq, _, _ in await reads.messages_from(bus, LATE, *_ALL)] == [3, 4, 5, 6]
    await bus.js.delete_msg(LATE, 4)
    assert [seq for seq, _, _ in await reads.messages_from(bus, LATE, *_ALL)] == [3, 5, 6]
    await bus.js.purge_stream(LATE)
    assert await reads.messages_from(bus, LATE, *_ALL) == []
    await _late(bus, 1)
    assert [seq for seq, _, _ in await reads.messages_from(bus, LATE, *_ALL)] == [7]


async def test_a_question_that_the_broker_refuses_is_an_error(bus: Bus) -> None:
    with pytest.raises(ConnectError, match=f"nats: {LATE} answered 4"):
        await reads._request(bus, LATE, {"batch": -1, "multi_last": ["a"], "seq": -1})


async def test_a_task_that_reads_can_be_cancelled_at_any_moment(bus: Bus, state: State) -> None:
    for number in range(20):
        await state.put(f"mark.{number}", number)

    async def read() -> None:
        while True:
            await reads.state_values(bus, "mark.>")

    await assert_cancelled_at_any_moment(read, times=300, begun_s=0.001, steps=40, within_s=DEADLINE_S)
