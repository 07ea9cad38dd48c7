"""Live loops while ticks pour in and parts are killed: no seam, nothing lost, nothing double.

In the end the bars of every loop are those that the gateway answers with, and so are the trades but those that a loop
was told it has missed.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
import pytest

import tapehouse
from tapehouse.client.database import Database
from tapehouse.client.live_records import Bar, Reconnected, Skipped, Trade
from tapehouse.client.live_socket import LiveStream
from tapehouse.stream.live_messages import BAR_FIELDS
from tests.system.up import Up

_RATE = {"TAPEHOUSE_SIMULATOR__RATE": "400", "TAPEHOUSE_SIMULATOR__SYMBOLS": "8"}
_EQUAL_S = 120
_LOOK_S = 0.5
_LIVE_ALONE = ("revision", "venue", "symbol", "ts")
_SUMS = ("volume", "turnover", "buy_volume")
_FIELDS = [name for name in BAR_FIELDS if name not in _LIVE_ALONE]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One with the simulated venue."""
    platform = Up(tmp_path_factory.mktemp("live") / "home", feed="sim", **_RATE)
    yield platform
    platform.stop()


@pytest.fixture(scope="module")
def db(platform: Up) -> Iterator[Database]:
    with tapehouse.connect(home=platform.home, venue="sim") as db:
        yield db


@pytest.fixture(scope="module")
def symbols(platform: Up, db: Database) -> list[str]:
    platform.until(lambda: db.catalog("trades").height >= 8, "all symbols", 60)
    return sorted(db.catalog("trades")["symbol"].to_list())


@dataclass
class _Loop:
    """A user's loop that runs beside others, and what it has received."""

    symbol: str
    interval: str
    stream: LiveStream[Any]
    records: list[Any] = field(default_factory=list)
    task: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for record in self.stream:
            self.records.append(record)

    def bars(self) -> dict[datetime, tuple[Any, ...]]:
        """The newest record of each bar."""
        newest: dict[datetime, Bar] = {bar.ts: bar for bar in self.records}
        return {
            ts: tuple(getattr(bar, name) for name in _FIELDS)
            for ts, bar in sorted(newest.items())
            if not bar.is_removed
        }

    @property
    def reconnected(self) -> int:
        return sum(isinstance(notice, Reconnected) for notice in self.stream.notices)


@asynccontextmanager
async def _loops() -> AsyncIterator[list[_Loop]]:
    loops: list[_Loop] = []
    try:
        yield loops
    finally:
        for loop in loops:
            await loop.stream.aclose()
        for loop in loops:
            loop.task.cancel()
        await asyncio.gather(*(loop.task for loop in loops), return_exceptions=True)


def _stored_bars(db: Database, loop: _Loop, start: datetime) -> dict[datetime, tuple[Any, ...]]:
    frame = db.bars(loop.symbol, loop.interval, start)
    return dict(zip(frame["ts"].to_list(), frame.select(_FIELDS).rows(), strict=True))


def _is_same(found: tuple[Any, ...] | None, stored: tuple[Any, ...] | None) -> bool:
    """Whether two bars are one; sums may differ by the order in which they were added."""
    if found is None or stored is None:
        return False
    pairs = zip(_FIELDS, found, stored, strict=True)
    return all(
        one == other if name not in _SUMS else math.isclose(one, other, rel_tol=1e-9)
        for name, one, other in pairs
    )


def _kill(up: Up, part: str) -> None:
    """Kill a part; return when the platform has it ready again."""
    killed = up.pid(part)
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        found = next(row for row in up.parts() if row["name"] == part)
        return found["pid"] not in (None, killed) and found["state"] == "ready"

    up.until(is_back, f"{part} to be ready again", _EQUAL_S)


async def _until_equal(loops: list[_Loop], differs: Callable[[_Loop], object]) -> None:
    """Wait until no loop differs any more; each may have to receive what is on its way."""
    deadline = asyncio.get_running_loop().time() + _EQUAL_S
    left = list(loops)
    while left:
        for loop in loops:
            assert not loop.task.done(), loop.task
        found = [(loop, await asyncio.to_thread(differs, loop)) for loop in left]
        left = [loop for loop, difference in found if difference]
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(
                "\n".join(f"{one.symbol} {one.interval}: {differs}" for one, differs in found if differs)
            )
        await asyncio.sleep(_LOOK_S)


@pytest.mark.long
async def test_bars_have_no_seam_whoever_is_killed_and_whenever_a_loop_begins(
    platform: Up, db: Database, symbols: list[str]
) -> None:
    chance = random.Random(4)
    async with _loops() as loops:

        def begin(count: int) -> None:
            for _ in range(count):
                symbol, interval = chance.choice(symbols), chance.choice(["15s", "30s", "1m"])
                last = chance.choice([1, 3, 100, 300])
                loops.append(_Loop(symbol, interval, db.live.bars(symbol, interval, last=last, full=True)))

        for part in ("barmaker", "gateway", "nats", "barmaker", "gateway"):
            begin(3)
            await asyncio.sleep(chance.uniform(0, 3))
            killing = asyncio.create_task(asyncio.to_thread(_kill, platform, part))
            await asyncio.sleep(chance.uniform(0, 1))
            begin(3)
            await killing
        begin(3)

        def differs(loop: _Loop) -> object:
            """The bars other than the gateway's; the open one may differ while ticks pour in."""
            found = loop.bars()
            if len(found) < 2:
                return "too few bars"
            stored = _stored_bars(db, loop, min(found))
            *closed, _ = sorted({*found, *stored})
            return [
                (ts, found.get(ts), stored.get(ts))
                for ts in closed
                if not _is_same(found.get(ts), stored.get(ts))
            ]

        await _until_equal(loops, differs)
        assert sum(loop.reconnected for loop in loops) >= 12


@pytest.mark.long
async def test_trades_come_once_and_those_that_do_not_are_told(
    platform: Up, db: Database, symbols: list[str]
) -> None:
    chance = random.Random(5)
    async with _loops() as loops:

        def begin(count: int) -> None:
            for _ in range(count):
                symbol = chance.choice(symbols)
                stream = db.live.trades(symbol, last=chance.choice([1, 10, 1000]), on_notice=lambda _: None)
                loops.append(_Loop(symbol, "", stream))

        for part in ("gateway", "nats", "writer", "gateway", "questdb"):
            begin(3)
            await asyncio.sleep(chance.uniform(0, 3))
            killing = asyncio.create_task(asyncio.to_thread(_kill, platform, part))
            await asyncio.sleep(chance.uniform(0, 1))
            begin(3)
            await killing
        begin(3)

        def differs(loop: _Loop) -> object:
            records: list[Trade] = list(loop.records)
            if len(records) < 5:
                return "too few trades"
            # A late trade may be of before the snapshot, which the loop does not have to know.
            trades = [trade for trade in records if trade.seq >= records[0].seq]
            seqs = [trade.seq for trade in trades]
            first, last = min(seqs), max(seqs)
            start = min(trade.ts_event for trade in trades)
            stored = db.trades(loop.symbol, start).filter(pl.col("seq").is_between(first, last))
            skipped = [notice for notice in loop.stream.notices if isinstance(notice, Skipped)]
            missing = set(stored["seq"].to_list()) - set(seqs)
            untold = {seq for seq in missing if not any(one.seq_from <= seq <= one.seq_to for one in skipped)}
            values = dict(
                zip(
                    stored["seq"].to_list(),
                    stored.select("price", "size", "side", "flags").rows(),
                    strict=True,
                )
            )
            other = [trade for trade in trades if values.get(trade.seq) != trade[4:8]]
            twice = sorted(seq for seq in set(seqs) if seqs.count(seq) > 1) if len(seqs) < 20_000 else []
            return [*sorted(untold)[:5], *other[:5], *twice[:5]]

        await _until_equal(loops, differs)
        assert sum(loop.reconnected for loop in loops) >= 6


def test_quotes_last_prices_and_rankings_are_those_of_the_gateway(
    platform: Up, db: Database, symbols: list[str]
) -> None:
    symbol = symbols[0]

    def stored_from(query: Callable[..., pl.DataFrame], first: Any, last: Any) -> pl.DataFrame:
        """The rows of the store once it has the last one: live ones come earlier."""
        found: list[pl.DataFrame] = [pl.DataFrame()]

        def has_last() -> bool:
            found[0] = query(symbol, first.ts_event)
            return last.seq in found[0]["seq"]

        platform.until(has_last, "the last row to be stored", _EQUAL_S)
        return found[0]

    quotes = [quote for quote, _ in zip(db.live.quotes(symbol), range(5), strict=False)]
    assert [quote.seq for quote in quotes] == sorted({quote.seq for quote in quotes})
    stored = stored_from(db.quotes, quotes[0], quotes[-1])
    rows = {row["seq"]: row for row in stored.iter_rows(named=True)}
    for quote in quotes:
        for name in ("bid", "bid_size", "ask", "ask_size", "venue", "symbol"):
            assert getattr(quote, name) == rows[quote.seq][name]
    prices = [price for price, _ in zip(db.live.latest(symbol), range(5), strict=False)]
    traded = stored_from(db.trades, prices[0], prices[-1])
    by_seq = dict(zip(traded["seq"].to_list(), traded.select("price", "size").rows(), strict=True))
    assert all(by_seq[price.seq] == (price.price, price.size) for price in prices)
    for ranking in db.live.rankings("1h", "turnover", limit=3):
        assert len(ranking) == 3
        turnovers = [one.turnover for one in ranking]
        assert turnovers == sorted(turnovers, reverse=True)
        assert {one.symbol for one in ranking} <= set(symbols)
        break


def test_a_frame_is_made_of_records(db: Database, symbols: list[str]) -> None:
    found = [bar for bar, _ in zip(db.live.bars(symbols[0], "15s", full=True), range(3), strict=False)]
    frame = pl.DataFrame([bar._asdict() for bar in found])
    assert set(db.bars(symbols[0], "15s", last=1).columns) <= set(frame.columns)
    assert frame["ts"].dtype == pl.Datetime("us", "UTC")
