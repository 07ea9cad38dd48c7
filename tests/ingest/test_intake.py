"""From a feed's rows to messages on the stream, and to the quarantine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.js.errors import NotFoundError

from ingest.intake import BATCH_BYTES, BATCH_ROWS, Intake, pack_messages, row_json, split_by_shard
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MINUTE, now_ns
from tapehouse.model import ACCOUNT_TRADES, DEPTH, TRADES, Kind
from tapehouse.stream import sharding
from tapehouse.stream.bus import QUARANTINE, TICKS, Bus, word
from tapehouse.stream.sharding import Shards, shard_of
from tapehouse.stream.wire import unpack
from tests.batches import NAMES, batch, batches, decimals, rows_of, same
from tests.broker import Broker
from tests.conftest import Platform


@given(batches(), st.integers(0, 9), st.integers(1, 5))
def test_a_split_loses_nothing_and_keeps_the_order_within_a_shard(
    whole: Batch, first: int, count: int
) -> None:
    rows = rows_of(whole)
    names = list(whole.columns)
    owner = names.index("account_id" if whole.kind is ACCOUNT_TRADES else "symbol")
    expected = defaultdict(list)
    for row in rows:
        place = row[owner] % count if whole.kind is ACCOUNT_TRADES else shard_of(row[owner], count)
        expected[first + place].append(row)
    assert {shard: rows_of(part) for shard, part in split_by_shard(whole, Shards(first, count))} == expected


@pytest.mark.parametrize("kind", [TRADES, DEPTH, ACCOUNT_TRADES], ids=lambda kind: kind.name)
@pytest.mark.parametrize("rows", [1, BATCH_ROWS, BATCH_ROWS + 1, 3 * BATCH_ROWS])
def test_messages_hold_all_rows_in_order_within_the_limits(kind: Kind, rows: int) -> None:
    whole = batch(kind, rows, rows)
    packed = list(pack_messages(whole))
    parts = [unpack(message) for message in packed]
    assert same(Batch.concat(parts), whole)
    assert max(part.rows for part in parts) <= BATCH_ROWS
    assert max(len(message) for message in packed) <= BATCH_BYTES


def _books(levels: list[int]) -> Batch:
    whole = batch(DEPTH, len(levels))
    for name in ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes"):
        whole.columns[name] = Lists.of([np.full(count, 1.5) for count in levels])
    return whole


def test_large_rows_travel_in_messages_of_few_and_a_larger_one_alone() -> None:
    whole = _books([10] * 50 + [5_000] * 50 + [20_000] + [1] * 3)
    packed = list(pack_messages(whole))
    parts = [unpack(message) for message in packed]
    assert same(Batch.concat(parts), whole)
    large = [part.rows for part, message in zip(parts, packed, strict=True) if len(message) > BATCH_BYTES]
    assert large == [1]
    assert len(packed) < 40


@pytest.fixture
async def bus(provisioned: Platform) -> AsyncIterator[Bus]:
    bus = await Bus.connect(provisioned.settings, "admin")
    yield bus
    await bus.close()


async def _stored(bus: Bus, stream: str, subjects: str) -> list[tuple[str, bytes]]:
    """(subject, data) of every message of a stream under some subjects, in order."""
    found: list[tuple[str, bytes]] = []
    seq = 0
    while True:
        try:
            message = await bus.js.get_msg(stream, seq + 1, subjects, direct=True, next=True)
        except NotFoundError:
            return found
        seq = message.seq or 0
        found.append((message.subject or "", message.data or b""))


def _origin(kind: Kind, venue: str) -> Origin:
    return Origin(kind.name, venue, "a file", {"format": "csv"})


async def test_good_rows_are_on_the_stream_and_bad_ones_in_quarantine_with_their_reasons(
    bus: Bus, venue: str
) -> None:
    whole = batch(TRADES, 6, venue=venue)
    whole.columns["price"] = np.array([1.0, np.nan, 2.0, np.inf, 3.0, 4.0])
    times = np.full(6, now_ns() - MINUTE)
    times[4] = now_ns() + 3 * MINUTE
    whole.columns["ts_event"] = times
    async with Publisher(bus) as publisher:
        quarantine = Quarantine(bus)
        intake = Intake(publisher, quarantine, Shards(0, 1))
        ticket = await intake.put(whole, _origin(TRADES, venue))
        await publisher.wait_acknowledged(ticket)
        assert (intake.rows, quarantine.count, publisher.first_pending) == (3, 3, ticket + 1)
    [(subject, data)] = await _stored(bus, TICKS, f"ticks.*.{venue}.*")
    assert subject == f"ticks.trades.{venue}.0"
    assert same(unpack(data), whole.take(np.array([0, 2, 5])))
    [(subject, _)] = await _stored(bus, QUARANTINE, f"quarantine.*.{venue}.*")
    assert subject == f"quarantine.trades.{venue}.3"
    entries = [entry async for entry in Quarantine(bus).entries() if entry.venue == venue]
    assert [entry.reason.partition(":")[0] for entry in entries] == ["price", "price", "ts_event"]
    assert entries[0].reason == "price: expected -1e+12 to 1e+12, was nothing"
    assert {(entry.kind, entry.source) for entry in entries} == {("trades", "a file")}
    assert orjson.loads(entries[1].original)["seq"] == whole.array("seq")[3]


async def test_rows_go_to_the_subject_of_their_shard(broker: Broker) -> None:
    venue = NAMES[2]
    whole = batch(TRADES, 200, venue=venue)
    whole.columns["symbol"] = Strings.of([f"S{row % 20}" for row in range(200)])
    await broker.provision(broker.settings.model_copy(update={"shards": 4}))
    bus = await Bus.connect(broker.settings, "feed")
    async with Publisher(bus) as publisher:
        shards = await sharding.current(await bus.shared_state())
        await Intake(publisher, Quarantine(bus), shards).put(whole, _origin(TRADES, venue))
        await publisher.drain()
    found = await _stored(bus, TICKS, f"ticks.trades.{word(venue)}.*")
    await bus.close()
    expected = {f"ticks.trades.{word(venue)}.{shard}": part for shard, part in split_by_shard(whole, shards)}
    assert len(found) == len(expected) == 4
    for subject, data in found:
        assert same(unpack(data), expected[subject])


async def test_a_batch_without_good_rows_publishes_nothing(bus: Bus, venue: str) -> None:
    whole = batch(TRADES, 2, venue=venue)
    whole.columns["size"] = np.array([-1.0, -1.0])
    async with Publisher(bus) as publisher:
        intake = Intake(publisher, Quarantine(bus), Shards(0, 1))
        assert await intake.put(whole, _origin(TRADES, venue)) == -1
        assert await intake.put(whole.slice(0, 0), _origin(TRADES, venue)) == -1
        assert intake.rows == 0
    assert await _stored(bus, TICKS, f"ticks.*.{venue}.*") == []


def test_a_row_as_json_has_every_column_and_can_be_read_again() -> None:
    trade = batch(TRADES, 1)
    trade.columns["price"] = np.array([np.nan])
    trade.columns["exchange"] = Strings.of([None])
    values = orjson.loads(row_json(trade, 0))
    assert list(values) == [name for name in TRADES.names if name != "venue"]
    assert (values["price"], values["exchange"]) == (None, None)
    assert values["ts_event"] == trade.array("ts_event")[0]
    assert values["symbol"] == trade.strings("symbol").to_list()[0]
    book = _books([2, 3])
    assert orjson.loads(row_json(book, 1))["ask_sizes"] == [1.5, 1.5, 1.5]
    account = batch(ACCOUNT_TRADES, 2)
    account.columns["amount"] = decimals([-15 * 10**17, 1])
    assert orjson.loads(row_json(account, 0))["amount"] == "-1500000000000000000e-18"


def test_refusals_fit_the_quarantine() -> None:
    row = row_json(_books([20_000]), 0)
    entry: Any = msgpack.packb([row[: 64 * 2**10], "reason", "where"])
    assert len(entry) < 2**20
