"""The bar maker on real servers: live bars equal those of the store, in whatever order messages arrive."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from ingest.barmaker.maker import BarMaker
from tapehouse.clock import INTERVALS, SECOND
from tapehouse.errors import UsageError
from tapehouse.model import Flags
from tapehouse.settings import Settings
from tapehouse.stream import sharding
from tapehouse.stream.frame_reader import Frames
from tapehouse.stream.frames import decode
from tapehouse.stream.health import Health
from tests.broker import Broker
from tests.ingest.barmaker.livebars import (
    BEGIN,
    connected,
    making,
    market,
    publish,
    settings,
    stored_bars,
    trades,
    until_equal,
    writing,
)
from tests.waiting import DEADLINE_S, until

__all__ = ["settings"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_bars_equal_the_stores_through_restarts_repeats_cancellations_and_disorder(
    settings: Settings, venue: str, seed: int
) -> None:
    rng = random.Random(seed)
    rows = market(rng, 6_000)
    cut = sorted(rng.sample(range(1, 6_000), 80))
    parts = [rows[a:b] for a, b in zip([0, *cut], [*cut, 6_000], strict=True)]
    for place in rng.sample(range(len(parts) - 1), 12):
        parts[place], parts[place + 1] = parts[place + 1], parts[place]
    for _ in range(10):
        parts.insert(rng.randrange(40, len(parts)), rng.sample(rng.choice(parts[:40]), 1))
    cancelled = [(*row[:6], int(Flags.CANCELLED)) for row in rng.sample(rows[:4_000], 5)]
    parts += [[row] for row in cancelled]
    batches = [trades(venue, part) for part in parts]
    async with writing(settings), connected(settings, "feed") as feed:
        while batches:
            async with making(settings):
                for _ in range(rng.randrange(8, 40)):
                    if batches:
                        await publish(feed, batches.pop(0))
        async with making(settings):
            await until_equal(settings, venue, [f"S{place}" for place in range(6)])
    last = {(row[1], row[2]): row for part in (rows, cancelled) for row in part}
    assert_bars_of_rows(settings, venue, [row for row in last.values() if not row[6]])


def assert_bars_of_rows(settings: Settings, venue: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Assert that the stored bars, which the live ones equal, are those of the published rows."""
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
        stored = stored_bars(settings, venue, "S0", name, 0)
        assert stored["ts"].cast(pl.Int64).to_list() == made["bar"].to_list()
        assert stored.select("open", "close", "volume", "trades").equals(made.drop("bar"))


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
        await frames.next(DEADLINE_S)  # the bar maker is running
        await publish(feed, trades(venue, [(BEGIN + 14 * SECOND, "S", 1, 1.0, 1.0, 1, 0)]))
        received: list[tuple[int, bool]] = []

        async def closed() -> bool:
            frame = (await frames.next(DEADLINE_S)).frame
            received.extend(
                (int(bar["ts"]), bool(bar["final"]))
                for bar in frame.bars[frame.bars["interval"] == 0]
                if frame.keys[bar["key"]] == (venue, "S")
            )
            return bool(received and received[-1][1])

        await until(closed, "the bar to be published final")
    assert received[0] == (BEGIN, False)
    assert received[-1] == (BEGIN, True)


async def test_symbols_above_the_limit_are_dropped_and_reported(settings: Settings, venue: str) -> None:
    maker = settings.barmaker.model_copy(update={"max_symbols": 7})
    settings = settings.model_copy(update={"barmaker": maker})
    async with connected(settings, "feed") as feed, connected(settings, "monitor") as bus:
        received: list[bytes] = []

        async def receive(message: Any) -> None:
            received.append(message.data)

        await bus.client.subscribe("health.barmaker.>", cb=receive)
        async with writing(settings), connected(settings, "barmaker") as own:
            health = Health("barmaker", "all")
            task = asyncio.create_task(health.alongside(own, BarMaker(settings, own, health).run()))
            await until(lambda: any(b'"state": "ready"' in one for one in received), "the bar maker")
            flood = [(BEGIN, f"F{n}", n + 1, 1.0, 1.0, 1, 0) for n in range(1_000)]
            await publish(feed, *(trades(venue, flood[at : at + 250]) for at in range(0, 1_000, 250)))
            await until(
                lambda: any(b"barmaker.max_symbols" in one and b'"rows": 1000' in one for one in received),
                lambda: f"the bar maker to report dropped trades: {received[-1:]!r}",
            )
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_two_bar_makers_have_the_symbols_of_their_shards(
    settings: Settings, broker: Broker, venue: str
) -> None:
    symbols = ["A", "B", "C", "D", "E"]
    rows = [(BEGIN + n, symbol, n + 1, 1.0 + n, 2.0, 1, 0) for n, symbol in enumerate(symbols)]
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
        shards = await sharding.current(await feed.shared_state())
        for n, symbol in enumerate(symbols[:3], 10):
            row = (BEGIN + n, symbol, n, 1.0 + n, 2.0, 1, 0)
            await publish(feed, trades(venue, [row]), shard=shards.of(symbol))
        await until_equal(settings, venue, symbols)
        for symbol in symbols:
            request = json.dumps({"venue": venue, "symbol": symbol}).encode()
            answers = [await bus.client.request(f"bars.snapshot.{place}", request) for place in (0, 1)]
            known = [bool(decode(answer.data).keys) for answer in answers]
            assert known == [shards.of(symbol) == number for number in (1, 2)]
    async with connected(settings, "barmaker") as bus:
        with pytest.raises(UsageError, match="expected a number below 2"):
            await BarMaker(settings, bus, Health("barmaker"), 2).run()


async def test_a_bar_maker_continues_after_an_outage_and_rebuilds_when_rows_were_rejected_meanwhile(
    settings: Settings, broker: Broker, venue: str
) -> None:
    rows = [(BEGIN + n * SECOND, "S", n + 1, 100.0 + n, 1.0, 1, 0) for n in range(20)]
    epochs = []
    async with writing(settings), making(settings):
        for cut, refused in ((rows[:10], 0), (rows[10:], 7)):
            async with connected(settings, "feed") as feed, connected(settings, "writer") as writer:
                if refused:
                    await (await writer.shared_state()).put("refused.0", refused)
                await publish(feed, trades(venue, cut))
            await until_equal(settings, venue, ["S"])
            async with connected(settings, "gateway") as bus, Frames.listening(bus) as frames:
                epochs.append((await frames.next(DEADLINE_S)).frame.epoch)
            await broker.kill()
            await broker.start()
        await until_equal(settings, venue, ["S"])
        async with connected(settings, "gateway") as bus, Frames.listening(bus) as frames:
            epochs.append((await frames.next(DEADLINE_S)).frame.epoch)
    assert epochs[0] == epochs[1] != epochs[2]
