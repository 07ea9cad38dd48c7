"""The bar maker on real servers: live bars are those of the store, whatever comes in which order."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateway.query import Query
from gateway.stores.questdb import QuestStore
from ingest import sharding
from ingest.applied import wait_queryable
from ingest.barmaker import BarMaker
from ingest.floor import floor_key
from ingest.publisher import Publisher
from ingest.writer import Writer
from tapehouse.bars import NAMES, RINGS
from tapehouse.barstate import number, start
from tapehouse.batch import Batch, Strings
from tapehouse.bus import Bus
from tapehouse.clock import INTERVALS, MINUTE, SECOND, parse_ns
from tapehouse.errors import ConnectError, UsageError
from tapehouse.frames import Frame, decode
from tapehouse.health import Health
from tapehouse.live import Frames
from tapehouse.model import TRADES, Flags
from tapehouse.questdb import QuestReader
from tapehouse.settings import Settings
from tapehouse.wire import pack
from tests.broker import Broker
from tests.conftest import Platform
from tests.waiting import DEADLINE_S, until

_BEGIN = parse_ns("2024-02-29T22:10:00Z")
"""Before the end of a day, a leap one, and of a month."""
_EXACT = ("open", "high", "low", "close", "trades", "seq_first", "seq_last")
_SUMS = ("volume", "turnover", "buy_volume")


@pytest.fixture
def settings(provisioned: Platform, broker: Broker) -> Settings:
    """A broker of the test's own, and the QuestDB that all share."""
    shared = provisioned.settings
    writer = shared.writer.model_copy(update={"lease_s": 1.0})
    maker = shared.barmaker.model_copy(update={"frame_ms": 20})
    return shared.model_copy(update={"nats": broker.settings.nats, "writer": writer, "barmaker": maker})


@asynccontextmanager
async def connected(settings: Settings, role: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(settings, role, DEADLINE_S)
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def writing(settings: Settings, shard: int = 0) -> AsyncIterator[None]:
    async with connected(settings, "writer") as bus:
        task = asyncio.create_task(Writer(settings, bus, shard, Health("writer", str(shard))).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def making(settings: Settings, place: int | None = None) -> AsyncIterator[Health]:
    """A bar maker at work, cut off at the end."""
    async with connected(settings, "barmaker") as bus:
        health = Health("barmaker")
        task = asyncio.create_task(BarMaker(settings, bus, health, place).run())
        try:
            yield health
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def trades(venue: str, rows: Sequence[tuple[int, str, int, float, float, int, int]]) -> Batch:
    """Of (ts, symbol, seq, price, size, side, flags)."""
    ts, symbols, seqs, prices, sizes, sides, flags = zip(*rows, strict=True)
    columns: dict[str, Any] = {
        "ts_event": np.array(ts, np.int64),
        "ts_recv": np.array(ts, np.int64) + 5,
        "symbol": Strings.of(symbols),
        "seq": np.array(seqs, np.int64),
        "price": np.array(prices, np.float64),
        "size": np.array(sizes, np.float64),
        "side": np.array(sides, np.int8),
        "flags": np.array(flags, np.int16),
        "exchange": Strings.constant(None, len(rows)),
        "conditions": Strings.constant(None, len(rows)),
    }
    return Batch(TRADES, venue, len(rows), columns)


async def publish(bus: Bus, *batches: Batch, shard: int = 0) -> int:
    async with asyncio.timeout(DEADLINE_S), Publisher(bus) as publisher:
        for one in batches:
            await publisher.publish(f"ticks.trades.{one.venue}.{shard}", pack(one))
        await publisher.drain()
        return publisher.last_seq


def _stored(settings: Settings, venue: str, symbol: str, interval: str, since: int) -> pl.DataFrame:
    with QuestStore(settings.questdb) as store:
        return store.read(
            Query(kind="bars", venue=venue, symbol=symbol, interval=interval, start_ns=since, end_ns=2**62)
        )


def _differing(settings: Settings, frame: Frame) -> list[str]:
    """The intervals in which a symbol's snapshot is not what the store holds within the rings."""
    (venue, symbol) = frame.keys[0]
    with QuestReader(settings.questdb) as reader:
        wait_queryable(reader, {"trades"})
        clock = reader.fetch("SELECT cast(max(ts_event) AS long) FROM trades WHERE venue = %s", [venue])[0][0]
    found = []
    for at, name in enumerate(NAMES):
        # The venue's clock goes on while we wait: the oldest bars may have left the ring.
        since = int(start(at, number(at, clock) - RINGS[name] + 6))
        stored = _stored(settings, venue, symbol, name, since)
        live = frame.bars[(frame.bars["interval"] == at) & (frame.bars["ts"] >= since)]
        same = len(stored) == len(live) and np.array_equal(stored["ts"].cast(pl.Int64), live["ts"])
        same = same and all(np.array_equal(stored[column], live[column]) for column in _EXACT)
        if not (same and all(np.allclose(stored[column], live[column], 1e-9, 0) for column in _SUMS)):
            found.append(name)
    return found


async def _equal(settings: Settings, venue: str, symbols: Sequence[str]) -> None:
    """Wait until the live bars of symbols are those of the store."""
    async with connected(settings, "gateway") as bus, Frames.listening(bus) as frames:
        for symbol in symbols:
            differing = ["not held"]

            async def equal(symbol: str = symbol) -> bool:
                nonlocal differing
                await frames.next(DEADLINE_S)
                try:
                    snapshot = await frames.snapshot(venue, symbol)
                except ConnectError:
                    return False
                differing = await asyncio.to_thread(_differing, settings, snapshot)
                return not differing

            await until(equal, lambda: f"the live bars of {symbol} to be those of the store: {differing}")  # noqa: B023


def _market(chance: random.Random, rows: int) -> list[tuple[int, str, int, float, float, int, int]]:
    """Trades of six symbols over three hours, some of them late by up to twenty minutes."""
    made = []
    for seq in range(1, rows + 1):
        ts = _BEGIN + seq * (3 * 60 * MINUTE) // rows
        if chance.random() < 0.05:
            ts -= chance.randrange(20 * MINUTE)
        flags = int(Flags.NOT_IN_BARS) if chance.random() < 0.02 else 0
        price = round(100 + chance.gauss(0, 3), 2)
        made.append(
            (
                ts,
                f"S{chance.randrange(6)}",
                seq,
                price,
                float(chance.randrange(5)),
                chance.choice((-1, 0, 1)),
                flags,
            )
        )
    return made


@pytest.mark.parametrize("seed", [1, 2])
async def test_bars_equal_the_stores_through_restarts_doubles_corrections_and_disorder(
    settings: Settings, venue: str, seed: int
) -> None:
    chance = random.Random(seed)
    rows = _market(chance, 6_000)
    cut = sorted(chance.sample(range(1, 6_000), 80))
    parts = [rows[a:b] for a, b in zip([0, *cut], [*cut, 6_000], strict=True)]
    for place in chance.sample(range(len(parts) - 1), 12):
        parts[place], parts[place + 1] = parts[place + 1], parts[place]
    for _ in range(10):
        parts.insert(chance.randrange(40, len(parts)), chance.sample(chance.choice(parts[:40]), 1))
    cancelled = [(*row[:6], int(Flags.CANCELLED)) for row in chance.sample(rows[:4_000], 5)]
    parts += [[row] for row in cancelled]
    batches = [trades(venue, part) for part in parts]
    async with writing(settings), connected(settings, "feed") as feed:
        while batches:
            async with making(settings):
                for _ in range(chance.randrange(8, 40)):
                    if batches:
                        await publish(feed, batches.pop(0))
        async with making(settings):
            await _equal(settings, venue, [f"S{place}" for place in range(6)])
    last = {(row[1], row[2]): row for part in (rows, cancelled) for row in part}
    assert_bars_of_rows(settings, venue, [row for row in last.values() if not row[6]])


def assert_bars_of_rows(settings: Settings, venue: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """That the store's bars, which the live ones equal, are those of the rows that were sent."""
    columns = ["ts", "symbol", "seq", "price", "size", "side", "flags"]
    frame = pl.DataFrame(rows, columns, orient="row").filter(pl.col("symbol") == "S0").sort("seq")
    for name in ("15s", "1h", "1w", "1M"):
        bucket = INTERVALS[name].bucket(frame["ts"].to_numpy())
        made = (
            frame.with_columns(bar=pl.Series(bucket))
            .group_by("bar")
            .agg(
                pl.col("price").first().alias("open"),
                pl.col("price").last().alias("close"),
                pl.col("size").sum().alias("volume"),
                pl.len().cast(pl.Int64).alias("trades"),
            )
            .sort("bar")
        )
        stored = _stored(settings, venue, "S0", name, 0)
        assert stored["ts"].cast(pl.Int64).to_list() == made["bar"].to_list()
        assert stored.select("open", "close", "volume", "trades").equals(made.drop("bar"))


async def test_a_late_trade_raises_the_revision_of_final_bars_and_one_seen_before_changes_nothing(
    settings: Settings, venue: str
) -> None:
    rows = [(_BEGIN + n * SECOND, "S", n + 10, 100.0, 1.0, 1, 0) for n in range(120)]
    async with (
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        await publish(feed, trades(venue, rows))
        await _equal(settings, venue, ["S"])
        await frames.next(DEADLINE_S)
        before = await frames.snapshot(venue, "S", ["15s"])
        # Of a seq below the last one: it may have been seen, so the bars are read back.
        await publish(feed, trades(venue, [(_BEGIN + SECOND, "S", 5, 90.0, 7.0, -1, 0), rows[3]]))
        await _equal(settings, venue, ["S"])
        after = await frames.snapshot(venue, "S", ["15s"])
    assert before.bars["final"][:6].all()
    assert not before.bars["revision"].any()
    assert after.bars["low"][0] == after.bars["open"][0] == 90.0
    assert after.bars["revision"].tolist() == [1] + [0] * (len(after.bars) - 1)


async def test_in_a_quiet_market_the_timer_closes_bars(settings: Settings, venue: str) -> None:
    maker = settings.barmaker.model_copy(update={"grace_s": 0.2})
    settings = settings.model_copy(update={"barmaker": maker})
    async with (
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        await frames.next(DEADLINE_S)  # the maker is at work
        await publish(feed, trades(venue, [(_BEGIN + 14 * SECOND, "S", 1, 1.0, 1.0, 1, 0)]))
        told: list[tuple[int, bool]] = []

        async def closed() -> bool:
            frame = (await frames.next(DEADLINE_S)).frame
            told.extend(
                (int(bar["ts"]), bool(bar["final"]))
                for bar in frame.bars[frame.bars["interval"] == 0]
                if frame.keys[bar["key"]] == (venue, "S")
            )
            return bool(told and told[-1][1])

        await until(closed, "the bar to be told final")
    assert told[0] == (_BEGIN, False)
    assert told[-1] == (_BEGIN, True)


async def test_a_snapshot_with_the_frames_after_it_is_a_later_snapshot(
    settings: Settings, venue: str
) -> None:
    chance = random.Random(5)
    parts = [part.tolist() for part in np.array_split(np.array(_market(chance, 900), object), 60)]
    async with (
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        first = await frames.next(DEADLINE_S)
        assert first.broken
        await publish(feed, *(trades(venue, part) for part in parts[:20]))
        await _equal(settings, venue, ["S1"])
        begin = await frames.snapshot(venue, "S1")
        publishing = asyncio.create_task(publish(feed, *(trades(venue, part) for part in parts[20:])))
        held = {(bar["interval"], bar["ts"]): bar for bar in begin.bars}
        await publishing
        await _equal(settings, venue, ["S1"])
        end = await frames.snapshot(venue, "S1")
        last = 0
        while last < end.n + 1:
            heard = await frames.next(DEADLINE_S)
            last = heard.frame.n
            assert heard.frame.epoch == begin.epoch
            assert not heard.broken
            for bar in heard.frame.bars if last > begin.n else ():
                if heard.frame.keys[bar["key"]] == (venue, "S1"):
                    held[bar["interval"], bar["ts"]] = bar
    for bar in end.bars:
        mine = held[bar["interval"], bar["ts"]]
        assert all(mine[name] == bar[name] for name in bar.dtype.names if name not in ("key", "final"))


async def test_a_flood_of_symbols_is_limited_and_told(settings: Settings, venue: str) -> None:
    maker = settings.barmaker.model_copy(update={"max_symbols": 7})
    settings = settings.model_copy(update={"barmaker": maker})
    async with connected(settings, "feed") as feed, connected(settings, "monitor") as bus:
        heard: list[bytes] = []

        async def hear(message: Any) -> None:
            heard.append(message.data)

        await bus.client.subscribe("health.barmaker.>", cb=hear)
        async with writing(settings), connected(settings, "barmaker") as own:
            health = Health("barmaker", "all")
            task = asyncio.create_task(health.alongside(own, BarMaker(settings, own, health).run()))
            await until(lambda: any(b'"state": "ready"' in one for one in heard), "the bar maker")
            flood = [(_BEGIN, f"F{n}", n + 1, 1.0, 1.0, 1, 0) for n in range(1_000)]
            await publish(feed, *(trades(venue, flood[at : at + 250]) for at in range(0, 1_000, 250)))
            await until(
                lambda: any(b"barmaker.max_symbols" in one and b'"rows": 1000' in one for one in heard),
                lambda: f"the bar maker to tell of the flood: {heard[-1:]!r}",
            )
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_row_that_questdb_refused_is_taken_out_of_the_bars(settings: Settings, venue: str) -> None:
    rows = [(_BEGIN + n * SECOND, "S", n + 1, 100.0 + n, 1.0, 1, 0) for n in range(10)]
    async with (
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "writer") as writer,
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        async with writing(settings):
            await publish(feed, trades(venue, rows))
            await _equal(settings, venue, ["S"])
        # As if the writer had not been able to store one: it is in the stream and not in the store.
        seq = await publish(feed, trades(venue, [(_BEGIN + 11 * SECOND, "S", 99, 1.0, 1.0, 1, 0)]))

        async def added() -> bool:
            await frames.next(DEADLINE_S)
            last: list[int] = (await frames.snapshot(venue, "S", ["15s"])).latest["seq"].tolist()
            return last == [99]

        await until(added, "the row to be in the bars")
        state = await writer.state()
        await state.put(floor_key(0), {**await state.get(floor_key(0)), "seq": seq})
        for told in (b"{", b"[1]", b'["1", 2, null, []]', f'[{seq}, "{venue}", "S", {_BEGIN}]'.encode()):
            await writer.client.publish("bars.refused", told)
        await _equal(settings, venue, ["S"])


async def test_two_makers_hold_the_symbols_of_their_shards(
    settings: Settings, broker: Broker, venue: str
) -> None:
    symbols = ["A", "B", "C", "D", "E"]
    rows = [(_BEGIN + n, symbol, n + 1, 1.0 + n, 2.0, 1, 0) for n, symbol in enumerate(symbols)]
    async with connected(settings, "feed") as feed:
        await publish(feed, trades(venue, rows))
    settings = settings.model_copy(update={"shards": 2})
    await broker.provision(settings)
    async with (
        writing(settings, 0),
        writing(settings, 1),
        writing(settings, 2),
        making(settings, 0),
        making(settings, 1),
        connected(settings, "feed") as feed,
        connected(settings, "gateway") as bus,
    ):
        shards = await sharding.current(await feed.state())
        for n, symbol in enumerate(symbols[:3], 10):
            row = (_BEGIN + n, symbol, n, 1.0 + n, 2.0, 1, 0)
            await publish(feed, trades(venue, [row]), shard=shards.of(symbol))
        await _equal(settings, venue, symbols)
        for symbol in symbols:
            asked = json.dumps({"venue": venue, "symbol": symbol}).encode()
            answers = [await bus.client.request(f"bars.snapshot.{place}", asked) for place in (0, 1)]
            held = [bool(decode(answer.data).keys) for answer in answers]
            assert held == [shards.of(symbol) == number for number in (1, 2)]
    async with connected(settings, "barmaker") as bus:
        with pytest.raises(UsageError, match="expected a number below 2"):
            await BarMaker(settings, bus, Health("barmaker"), 2).run()


async def test_a_symbol_that_nobody_holds_is_said_to_be(settings: Settings, venue: str) -> None:
    async with (
        writing(settings),
        making(settings),
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        await frames.next(DEADLINE_S)
        with pytest.raises(ConnectError, match="expected a bar maker that holds S of"):
            await frames.snapshot(venue, "S")


async def test_a_maker_goes_on_after_an_outage_and_anew_where_rows_were_refused_meanwhile(
    settings: Settings, broker: Broker, venue: str
) -> None:
    rows = [(_BEGIN + n * SECOND, "S", n + 1, 100.0 + n, 1.0, 1, 0) for n in range(20)]
    epochs = []
    async with writing(settings), making(settings):
        for cut, refused in ((rows[:10], 0), (rows[10:], 7)):
            async with connected(settings, "feed") as feed, connected(settings, "writer") as writer:
                if refused:
                    await (await writer.state()).put("refused.0", refused)
                await publish(feed, trades(venue, cut))
            await _equal(settings, venue, ["S"])
            async with connected(settings, "gateway") as bus, Frames.listening(bus) as frames:
                epochs.append((await frames.next(DEADLINE_S)).frame.epoch)
            await broker.kill()
            await broker.start()
        await _equal(settings, venue, ["S"])
        async with connected(settings, "gateway") as bus, Frames.listening(bus) as frames:
            epochs.append((await frames.next(DEADLINE_S)).frame.epoch)
    assert epochs[0] == epochs[1] != epochs[2]
