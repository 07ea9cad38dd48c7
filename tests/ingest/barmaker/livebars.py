"""Runs a bar maker and a writer, and compares live bars with the stored ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateway.query import Query
from ingest.barmaker.maker import BarMaker
from ingest.publisher import Publisher
from ingest.writer.writer import Writer
from tapehouse.bars.engine import RING_SIZES
from tapehouse.bars.state import bucket_number, bucket_start
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MINUTE, NAMES, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import TRADES, Flags
from tapehouse.settings import Settings
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream.bus import Bus
from tapehouse.stream.frame_reader import Frames
from tapehouse.stream.frames import Frame
from tapehouse.stream.health import Health
from tapehouse.stream.wire import pack
from tests.broker import Broker
from tests.conftest import Platform
from tests.reads import read_hot
from tests.waiting import DEADLINE_S, until

BEGIN = parse_ns("2024-02-29T22:10:00Z")
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
    """Run a bar maker, cancelled at the end."""
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
    """A batch of (ts, symbol, seq, price, size, side, flags)."""
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


def stored_bars(settings: Settings, venue: str, symbol: str, interval: str, since: int) -> pl.DataFrame:
    return read_hot(settings, Query("bars", venue, (symbol,), since, 2**62, interval=interval))


def _differing(settings: Settings, frame: Frame) -> list[str]:
    """The intervals in which a symbol's snapshot differs from the store, within the rings."""
    (venue, symbol) = frame.keys[0]
    with QuestReader(settings.questdb) as reader:
        reader.wait_applied("trades")
        newest = reader.fetch("SELECT cast(max(ts_event) AS long) FROM trades WHERE venue = %s", [venue])
    if not newest or newest[0][0] is None:  # the writer may not have committed the venue yet
        return list(NAMES)
    clock = newest[0][0]
    found = []
    for at, name in enumerate(NAMES):
        # The venue's clock goes on while we wait: the oldest bars may have left the ring.
        since = int(bucket_start(at, bucket_number(at, clock) - RING_SIZES[name] + 6))
        stored = stored_bars(settings, venue, symbol, name, since)
        live = frame.bars[(frame.bars["interval"] == at) & (frame.bars["ts"] >= since)]
        same = len(stored) == len(live) and np.array_equal(stored["ts"].cast(pl.Int64), live["ts"])
        same = same and all(np.array_equal(stored[column], live[column]) for column in _EXACT)
        if not (same and all(np.allclose(stored[column], live[column], 1e-9, 0) for column in _SUMS)):
            found.append(name)
    return found


async def until_equal(settings: Settings, venue: str, symbols: Sequence[str]) -> None:
    """Wait until the live bars of symbols are those of the store."""
    async with connected(settings, "gateway") as bus, Frames.listening(bus) as frames:
        for symbol in symbols:
            differing = ["no snapshot"]

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


def market(rng: random.Random, rows: int) -> list[tuple[int, str, int, float, float, int, int]]:
    """Trades of six symbols over three hours, some of them late by up to twenty minutes."""
    made = []
    for seq in range(1, rows + 1):
        ts = BEGIN + seq * (3 * 60 * MINUTE) // rows
        if rng.random() < 0.05:
            ts -= rng.randrange(20 * MINUTE)
        flags = int(Flags.NOT_IN_BARS) if rng.random() < 0.02 else 0
        price = round(100 + rng.gauss(0, 3), 2)
        made.append(
            (
                ts,
                f"S{rng.randrange(6)}",
                seq,
                price,
                float(rng.randrange(5)),
                rng.choice((-1, 0, 1)),
                flags,
            )
        )
    return made
