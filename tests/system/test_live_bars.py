"""Live bars of real ticks that come late, out of order and twice, to a bar maker that is killed meanwhile.

In the end they are the stored bars, those of a rebuild from the raw files, and the exchange's or vendor's own.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gateway.query import Query
from ingest.files.options import ReadOptions
from ingest.imports.row_sources import open_row_source
from ingest.intake import split_by_shard
from ingest.numbering import BY_TIME, number_by_time
from ingest.publisher import Publisher
from tapehouse.bars.engine import RING_SIZES
from tapehouse.bars.state import bucket_number, bucket_start
from tapehouse.batch import Batch
from tapehouse.clock import MILLISECOND, MINUTE, NAMES, SECOND
from tapehouse.errors import ConnectError
from tapehouse.model import TRADES
from tapehouse.settings import Settings, load
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus
from tapehouse.stream.frame_reader import Frames
from tapehouse.stream.progress import wait_until_written
from tapehouse.stream.wire import pack
from tests.reads import read_hot
from tests.system.test_real_data import OHLC, TIME, assert_same_bars, rebuilt
from tests.system.up import Up
from tests.waiting import DEADLINE_S, until

_FILES = {  # by venue
    "binance": "binance_xrp_eth_2019/trades.parquet",
    "comex": "comex_gold_2013/trades.parquet",
    "us": "us_equities_2013/bac_trades.parquet",
    "us-spy": "us_equities_2013/spy_trades.parquet",
    "spot": "binance_raw_2024/spot_*.gz",
    "usdm": "binance_raw_2024/usdm_*.gz",
    "cm": "binance_raw_2024/cm_*.gz",
}
_SHORT = ("binance", "comex", "spot")
_LONG = ("us", "usdm", "cm")
_RINGS = {"15s": 400, "30s": 200, "1m": 4400, "3m": 1000, "5m": 900, "15m": 480, "30m": 240}
"""For all of the candles that a venue or vendor has; late rows fall behind the shorter ones."""
_LATE_NS = 5 * MINUTE
_SPELLS = 24
_KILLS = 3


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One whose rings hold days."""
    platform = Up(
        tmp_path_factory.mktemp("live") / "home",
        TAPEHOUSE_BARMAKER__RINGS=json.dumps(_RINGS),
        TAPEHOUSE_BARMAKER__MAX_SYMBOLS="64",
    )
    yield platform
    platform.stop()


@pytest.fixture(scope="module")
def played(platform: Up, data: Path) -> float:
    """The shorter sets were played; when that began."""
    return _begun(platform, data, _SHORT, seed=1)


@pytest.fixture(scope="module")
def played_long(platform: Up, data: Path) -> float:
    """The longer sets but the longest were played; when that began."""
    return _begun(platform, data, _LONG, seed=3)


def _begun(platform: Up, data: Path, venues: tuple[str, ...], seed: int) -> float:
    began = time.monotonic()
    asyncio.run(_play(platform, [_read(data, venue) for venue in venues], seed))
    return began


def _read(data: Path, venue: str) -> Batch:
    """The trades of a set as a feed would number them, in the source's order."""
    batches: list[Batch] = []
    previous: dict[str, int] = {}
    mapping = {"exchange": "venue"} if venue.startswith("us") and venue != "usdm" else None
    for file in sorted(data.glob(_FILES[venue])):
        with open_row_source(file, TRADES, venue, options=ReadOptions(mapping or {})) as source:
            for batch in (batch for piece in source.chunks() for batch in piece.batches):
                timed = source.numbering(TRADES) == BY_TIME
                batches.append(number_by_time(batch, previous) if timed else batch)
    return Batch.concat(batches)


def _shuffled(batch: Batch, chance: random.Random) -> list[Batch]:
    """The rows as messages: some late by minutes, neighbours and messages swapped, parts of messages again."""
    rows = np.random.default_rng(chance.randrange(2**32))
    # By spells, so that most bars are made from what came in order.
    spells = np.repeat(rows.random(_SPELLS) < 0.25, batch.rows // _SPELLS + 1)[: batch.rows]
    arrival = batch.array("ts_recv").copy()
    late = spells & (rows.random(batch.rows) < 0.02)
    arrival[late] += rows.integers(0, _LATE_NS, int(late.sum()))
    order = np.argsort(arrival, kind="stable")
    swapped = np.flatnonzero((spells & (rows.random(batch.rows) < 0.02))[1::2]) * 2
    order[swapped], order[swapped + 1] = order[swapped + 1], order[swapped]
    cuts = np.cumsum(rows.integers(1, 3_000, batch.rows // 500))
    parts = [batch.take(part) for part in np.split(order, cuts[cuts < batch.rows])]
    for place in chance.sample(range(len(parts) - 1), len(parts) // 10):
        parts[place], parts[place + 1] = parts[place + 1], parts[place]
    for _ in range(len(parts) // 10):
        again = chance.randrange(len(parts))
        first = chance.randrange(parts[again].rows)
        part = parts[again].slice(first, first + chance.randrange(1, 200))
        parts.insert(chance.randrange(again, len(parts)) + 1, part)
    return parts


async def _play(up: Up, sets: list[Batch], seed: int) -> None:
    """Publish the sets side by side, and kill the bar maker meanwhile; return when all can be queried."""
    chance = random.Random(seed)
    messages = [_shuffled(batch, chance) for batch in sets]
    waiting = [rest for parts in messages for rest in [iter(parts)] * len(parts)]
    chance.shuffle(waiting)
    # The last part is for the bar maker to make bars of itself: what is stored before it starts is read.
    kills = chance.sample(range(len(waiting) * 2 // 3), _KILLS)
    returns = {place + chance.randrange(2, len(waiting) // 10) for place in kills}
    kills.append(kills[0] + 1)  # the one that is starting
    settings = load(up.home)
    bus = await Bus.connect(settings, "feed", DEADLINE_S)
    try:
        state = await bus.shared_state()
        shards = await sharding.current(state)
        async with Publisher(bus) as publisher:
            for place, rest in enumerate(waiting):
                for shard, part in split_by_shard(next(rest), shards):
                    await publisher.publish(f"ticks.trades.{part.venue}.{shard}", pack(part))
                if place in kills:
                    await asyncio.to_thread(_kill, up)
                if place in returns:
                    await asyncio.to_thread(_until_ready, up)
            await publisher.drain()
            await wait_until_written(bus, state, publisher.last_seq)
    finally:
        await bus.close()
    with QuestReader(settings.questdb) as reader:
        reader.wait_applied("trades")


def _kill(up: Up) -> None:
    """Kill the bar maker that runs, ready or not; return when it is started again."""
    killed: int | None = None

    def runs_anew() -> bool:
        return _maker(up)["pid"] not in (None, killed)

    up.until(runs_anew, "the bar maker to run", DEADLINE_S)
    killed = up.pid("barmaker")
    os.kill(killed, signal.SIGKILL)
    up.until(runs_anew, "the bar maker to be started again", DEADLINE_S)


def _until_ready(up: Up) -> None:
    up.until(lambda: _maker(up)["state"] == "ready", "the bar maker to be ready again", DEADLINE_S)


def _maker(up: Up) -> dict[str, Any]:
    return next(part for part in up.parts() if part["name"] == "barmaker")


def _raw(data: Path, venue: str) -> pl.DataFrame:
    """The trades of a set straight from its files: ts_event, symbol, seq, price, size, side."""
    files = sorted(data.glob(_FILES[venue]))
    if files[0].suffix == ".gz":
        return _captured(files)
    ts = pl.col("ts_event").cast(pl.Int64)
    row = pl.int_range(pl.len())
    found = pl.read_parquet(files[0])
    seq = pl.col("trade_id") if "trade_id" in found.columns else (ts - row).cum_max() + row
    side = pl.col("side").replace_strict({"buy": 1, "sell": -1}) if "side" in found.columns else pl.lit(0)
    return found.select("ts_event", "symbol", "price", "size", seq=seq, side=side)


def _captured(files: list[Path]) -> pl.DataFrame:
    found = {}
    for file in files:
        with gzip.open(file) as lines:
            for line in lines:
                if b"@trade" in line:
                    trade = json.loads(line.partition(b" ")[2])["data"]
                    if trade.get("X", "MARKET") == "MARKET":
                        found[trade["s"], trade["t"]] = trade
    rows = [
        (t["T"] * MILLISECOND, t["s"], float(t["p"]), float(t["q"]), t["t"], -1 if t["m"] else 1)
        for t in found.values()
    ]
    columns = ["ts_event", "symbol", "price", "size", "seq", "side"]
    return pl.DataFrame(rows, columns, orient="row").with_columns(pl.col("ts_event").cast(TIME))


async def _compare(
    up: Up, venue: str, raw: pl.DataFrame, began: float
) -> dict[tuple[str, str], pl.DataFrame]:
    """Wait until the live bars of a set are those of its files, as the stored ones are; returns the live ones."""
    settings = load(up.home)
    last = int(raw["ts_event"].cast(pl.Int64).to_numpy().max())
    live = {}
    bus = await Bus.connect(settings, "gateway", DEADLINE_S)
    try:
        async with Frames.listening(bus) as frames:
            await frames.next(DEADLINE_S)
            for (symbol,), trades in raw.group_by("symbol"):
                for interval in NAMES:
                    expected = rebuilt(trades, interval)
                    stored = await asyncio.to_thread(_stored, settings, venue, str(symbol), interval)
                    assert_same_bars(stored, expected)
                    since = _reach(interval, last + int((time.monotonic() - began) * SECOND))
                    name = (str(symbol), interval)
                    live[name] = await _equal(frames, venue, *name, expected.filter(pl.col("ts") >= since))
    finally:
        await bus.close()
    return live


def _reach(interval: str, clock_ns: int) -> pl.Expr:
    """From when on the ring of an interval holds bars: the venue's clock goes on in silence."""
    at = NAMES.index(interval)
    size = {**RING_SIZES, **_RINGS}[interval]
    return pl.lit(max(0, int(bucket_start(at, bucket_number(at, clock_ns) - size + 6)))).cast(TIME)


def _stored(settings: Settings, venue: str, symbol: str, interval: str) -> pl.DataFrame:
    return read_hot(settings, Query("bars", venue, (symbol,), 0, 2**62, interval=interval))


async def _equal(
    frames: Frames, venue: str, symbol: str, interval: str, expected: pl.DataFrame
) -> pl.DataFrame:
    """Wait until the live bars from the first expected one on are as expected."""
    found = expected.clear()

    async def equal() -> bool:
        nonlocal found
        try:
            bars = (await frames.snapshot(venue, symbol, [interval])).bars
        except ConnectError:
            await frames.next(DEADLINE_S)
            return False
        columns = {name: pl.Series(bars[name]) for name in expected.columns}
        found = pl.DataFrame(columns).with_columns(pl.col("ts").cast(TIME))
        found = found.filter(pl.col("ts") >= expected["ts"][0])
        try:
            assert_same_bars(found, expected)
        except AssertionError:
            await frames.next(DEADLINE_S)
            return False
        return True

    await until(equal, lambda: f"live {interval} bars of {symbol} to be {expected}, was {found}")
    return found


async def test_live_bars_are_the_stored_ones_and_those_of_the_raw_files(
    platform: Up, played: float, data: Path
) -> None:
    await _compare_all(platform, data, "spot", played)


@pytest.mark.long
@pytest.mark.parametrize("venue", _LONG)
async def test_live_bars_of_longer_sets_are_the_stored_ones_and_those_of_the_raw_files(
    platform: Up, played_long: float, data: Path, venue: str
) -> None:
    await _compare_all(platform, data, venue, played_long)


async def _compare_all(platform: Up, data: Path, venue: str, began: float) -> None:
    raw = _raw(data, venue)
    live = await _compare(platform, venue, raw, began)
    assert len(live) == raw["symbol"].n_unique() * len(NAMES)


async def test_live_bars_of_a_venue_are_its_own_candles(platform: Up, played: float, data: Path) -> None:
    live = await _compare(platform, "binance", _raw(data, "binance"), played)
    for interval, count in (("1m", 3_560), ("5m", 712)):
        candles = pl.read_parquet(data / "binance_xrp_eth_2019" / f"bars_{interval}.parquet")
        # The venue's candles without trades are flat at the close before.
        close = pl.col("close").forward_fill()
        flat = candles.select("ts").join(
            live["XRP-ETH", interval], on="ts", how="left", maintain_order="left"
        )
        flat = flat.with_columns(close, *(pl.col(name).fill_null(close) for name in OHLC[:3]))
        flat = flat.with_columns(pl.col("volume").fill_null(0.0)).select(candles.columns)
        assert flat.height == count
        assert flat.drop("volume").equals(candles.drop("volume"))
        np.testing.assert_allclose(flat["volume"], candles["volume"], rtol=1e-9)


async def test_live_bars_of_gold_are_the_vendors(platform: Up, played: float, data: Path) -> None:
    live = await _compare(platform, "comex", _raw(data, "comex"), played)
    vendor = pl.read_parquet(data / "comex_gold_2013" / "bars_1m.parquet")
    bars = live["GCZ3", "1m"]
    assert bars.select("ts", *OHLC).equals(vendor.select("ts", *OHLC))
    # The vendor's last bar of each of the three days is cut short.
    assert bars.filter(bars["volume"] != vendor["volume"].cast(pl.Float64)).height <= 3


@pytest.mark.long
async def test_live_bars_of_the_largest_set(platform: Up, data: Path) -> None:
    began = time.monotonic()
    await _play(platform, [_read(data, "us-spy")], seed=2)
    await _compare(platform, "us-spy", _raw(data, "us-spy"), began)
