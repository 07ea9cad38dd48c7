"""What was refused is kept with its reason, whatever it is and however much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.quarantine import Origin, Quarantine
from ingest.rejected import Rejected
from tapehouse.clock import now_ns
from tapehouse.stream.bus import QUARANTINE, Bus
from tapehouse.stream.quarantine_pages import QuarantineEntry, expectation
from tests.broker import Broker
from tests.conftest import Platform
from tests.waiting import DEADLINE_S


@pytest.fixture
async def bus(provisioned: Platform) -> AsyncIterator[Bus]:
    bus = await Bus.connect(provisioned.settings, "feed")
    yield bus
    await bus.close()


async def _entries(bus: Bus, venue: str) -> list[QuarantineEntry]:
    return [entry async for entry in Quarantine(bus).entries() if entry.venue == venue]


def _rejected(count: int, original: bytes = b"row") -> list[Rejected]:
    return [Rejected(original, f"price: expected a number {n}", f"a.csv line {n}") for n in range(count)]


async def test_an_entry_has_all_that_is_needed_to_judge_it_and_to_read_it_again(bus: Bus, venue: str) -> None:
    before = now_ns()
    origin = Origin("trades", venue, "a.csv", {"format": "csv", "header": "ts,price", "map": {"ts": "time"}})
    quarantine = Quarantine(bus)
    original = b"\x00\xff,x"
    await quarantine.put(origin, [Rejected(original, "price: expected a number, was 'x'", "a.csv line 7")])
    [entry] = await _entries(bus, venue)
    assert before <= entry.at_ns <= now_ns()
    assert (entry.kind, entry.venue, entry.source, entry.reader) == (
        "trades",
        venue,
        "a.csv",
        {"format": "csv", "header": "ts,price", "map": {"ts": "time"}},
    )
    assert (entry.original, entry.reason, entry.where) == (
        original,
        "price: expected a number, was 'x'",
        "a.csv line 7",
    )
    assert quarantine.count == 1
    assert entry.id == f"{entry.page}.0"
    assert await Quarantine(bus).page(entry.page) == [entry]


async def test_thousands_of_rows_are_kept_in_order(bus: Bus, venue: str) -> None:
    rejected = _rejected(1_234)
    quarantine = Quarantine(bus)
    await quarantine.put(Origin("trades", venue, "a.csv", {}), rejected)
    entries = await _entries(bus, venue)
    assert [(entry.original, entry.reason, entry.where) for entry in entries] == [
        (one.original, one.reason, one.where) for one in rejected
    ]
    assert len({entry.id for entry in entries}) == 1_234
    assert len({entry.page for entry in entries}) == 3
    assert quarantine.count == 1_234


async def test_large_originals_are_cut_and_say_so(bus: Bus, venue: str) -> None:
    rejected = [
        Rejected(bytes([number]) * (60_000 + 5_000 * number), f"reason {number}", "x") for number in range(40)
    ]
    await Quarantine(bus).put(Origin("trades", venue, "a.csv", {}), rejected)
    entries = await _entries(bus, venue)
    assert [entry.original for entry in entries] == [one.original[: 64 * 2**10] for one in rejected]
    for entry, one in zip(entries, rejected, strict=True):
        cut = len(one.original) > 64 * 2**10
        assert entry.reason == one.reason + (" (original cut at 64 KB)" if cut else "")


async def test_reasons_and_places_of_any_length_fit(bus: Bus, venue: str) -> None:
    rejected = [Rejected(b"x", f"{'𝄞' * 100_000}", f"{'𝄞' * 100_000} line {line}") for line in range(1_000)]
    await Quarantine(bus).put(Origin("trades", venue, "s", {"header": "h" * 65_000}), rejected)
    entries = await _entries(bus, venue)
    assert len(entries) == 1_000
    assert entries[7].reason == "𝄞" * 1_000
    assert entries[7].where.endswith("𝄞 line 7")


async def test_nothing_to_keep_keeps_nothing(bus: Bus, venue: str) -> None:
    await Quarantine(bus).put(Origin("trades", venue, "a.csv", {}), [])
    assert await _entries(bus, venue) == []


async def test_the_same_rows_of_the_same_source_are_kept_once(bus: Bus, venue: str) -> None:
    for _ in range(2):
        await Quarantine(bus).put(Origin("trades", venue, "a.csv", {}), _rejected(700))
    await Quarantine(bus).put(Origin("trades", venue, "b.csv", {}), _rejected(1))
    assert len(await _entries(bus, venue)) == 701


async def test_entries_are_taken_out_one_by_one(bus: Bus, venue: str) -> None:
    quarantine = Quarantine(bus)
    await quarantine.put(Origin("trades", venue, "a.csv", {"format": "csv"}), _rejected(5))
    before = await _entries(bus, venue)
    await quarantine.replace_page(before[0].page, [before[1], before[3]])
    after = await _entries(bus, venue)
    assert [(entry.reason, entry.at_ns, entry.reader) for entry in after] == [
        (entry.reason, entry.at_ns, entry.reader) for entry in (before[1], before[3])
    ]
    assert await quarantine.page(before[0].page) == []
    await quarantine.replace_page(after[0].page, [])
    assert await _entries(bus, venue) == []


async def test_a_message_that_is_gone_has_no_entries(bus: Bus) -> None:
    assert await Quarantine(bus).page(2**40) == []


async def test_rows_are_kept_though_the_broker_is_killed(broker: Broker) -> None:
    bus = await Bus.connect(broker.settings, "writer")
    quarantine = Quarantine(bus)

    async def put() -> None:
        for number in range(200):
            await quarantine.put(Origin("trades", "T", f"{number}.csv", {}), _rejected(3))

    async with asyncio.timeout(DEADLINE_S):
        putting = asyncio.create_task(put())
        for _ in range(3):
            await asyncio.sleep(0.02)
            await broker.kill()
            await broker.start()
        await putting
    monitor = await Bus.connect(broker.settings, "admin")
    sources = [entry.source async for entry in Quarantine(monitor).entries()]
    assert sorted(sources) == sorted(f"{number}.csv" for number in range(200) for _ in range(3))
    assert (await monitor.js.stream_info(QUARANTINE)).state.messages == 200
    await monitor.close()
    await bus.close()


async def test_its_rows_are_counted_as_they_are_now_whoever_put_them(bus: Bus, venue: str) -> None:
    before = await Quarantine(bus).rows()
    await Quarantine(bus).put(Origin("trades", venue, "a.csv", {}), _rejected(1_203))
    quarantine = Quarantine(bus)
    assert await quarantine.rows() == before + 1_203
    *_, entry = await _entries(bus, venue)
    left = [one for one in await quarantine.page(entry.page) if one != entry]
    await quarantine.replace_page(entry.page, left)
    assert await quarantine.rows() == before + 1_202


@pytest.mark.parametrize(
    ("reason", "summed"),
    [
        ("seq: expected an id, was 'a (--b)' (--map id=- does so)", "seq: expected an id (--map id=- does so)"),
        ("price: expected a number, was '1 (2)'", "price: expected a number"),
        ("ts_event: expected a time (--time-unit tells)", "ts_event: expected a time (--time-unit tells)"),
    ],
)  # fmt: skip
def test_a_reason_is_summed_up_without_its_value_and_with_its_remedy(reason: str, summed: str) -> None:
    assert expectation(reason) == summed
