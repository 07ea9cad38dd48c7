"""Copies proven while everything is killed: in the end both stores hold the same, field by field."""

from __future__ import annotations

import asyncio
import random

import pytest
from polars.testing import assert_frame_equal

from analytics.mirror.fingerprint import of_frame
from analytics.mirror.inventory import read_marks
from analytics.mirror.ledger import Ledger, LedgerEntry
from tapehouse.model import TICKS
from tapehouse.stores.clickhouse import ClickHouseClient
from tests.system.mirrored import Mirrored
from tests.system.pouring import Pouring
from tests.waiting import until

_VICTIMS = ("mirror", "clickhouse", "questdb")
_SUMS = ("volume", "turnover", "buy_volume")


@pytest.mark.parametrize(
    ("year", "each"), [(2020, 1), pytest.param(2021, 20, marks=pytest.mark.long, id="long")]
)
async def test_copies_are_whole_though_everything_is_killed_while_ticks_pour_in(
    mirrored: Mirrored, year: int, each: int
) -> None:
    days = [f"{year}-02-{day:02}" for day in range(20, 20 + 9)]
    chance = random.Random(year)
    kills = [*_VICTIMS] * each
    chance.shuffle(kills)
    async with Pouring(mirrored.settings, year) as feed:
        stopping = asyncio.Event()
        pouring = asyncio.create_task(_pour(feed, days, chance, stopping))
        mirrored.start_part("mirror")
        try:
            for victim in kills:
                await until(lambda: bool(mirrored.staging()), "a copy under way")
                await asyncio.sleep(chance.uniform(0, 0.2))
                pid = await asyncio.to_thread(mirrored.pid, victim)
                mirrored.kill(victim)
                await asyncio.to_thread(mirrored.replaced, victim, pid)
                assert not pouring.done(), pouring.exception()
            await until(lambda: any(entry.proven_ns for entry in _entries(mirrored, year)), "a proven copy")
        finally:
            stopping.set()
            await pouring
            await asyncio.to_thread(mirrored.stop_part, "mirror")
        await feed.written()
        await asyncio.to_thread(_mirror_when_quiet, mirrored)
        seen = 0
        for kind in TICKS:
            for day in days:
                hot = mirrored.hot(kind, day)
                assert_frame_equal(hot, mirrored.cold(kind, day), check_exact=True)
                assert_frame_equal(hot, feed.expected(kind, day), check_exact=True)
                if hot.is_empty():
                    continue
                seen += 1
                entry = next(e for e in _entries(mirrored, year) if e.key == (kind.name, day))
                assert (entry.rows, entry.fingerprint) == (hot.height, of_frame(kind, hot).digest)
                assert entry.marks == await read_marks(feed.bus, kind, day)
                assert entry.owner == "hot"
                assert not entry.fault
        assert seen > 20
    assert mirrored.staging() == []
    for day in days:
        by_hot, by_cold = mirrored.bars(day)
        assert_frame_equal(by_hot.drop(_SUMS), by_cold.drop(_SUMS), check_exact=True)
        assert_frame_equal(by_hot.select(_SUMS), by_cold.select(_SUMS), rel_tol=1e-9, abs_tol=0)
    assert "0 differed, 0 healed, 0 not compared" in await asyncio.to_thread(mirrored.run, "mirror", "verify")


async def _pour(feed: Pouring, days: list[str], chance: random.Random, stopping: asyncio.Event) -> None:
    """A day after another, and days of before again, each quiet for a time."""
    known = 1
    while not stopping.is_set():
        await feed.some(chance.choice(days[:known]))
        known = min(known + 1, len(days))
        await asyncio.sleep(chance.uniform(0.1, 0.6))


def _mirror_when_quiet(mirrored: Mirrored) -> None:
    """One clean run over days that are written no more."""
    for _ in range(20):
        said = mirrored.run("mirror", "run")
        if "being written" not in said:
            return
    pytest.fail(f"days were being written for too long:\n{said}")


def _entries(mirrored: Mirrored, year: int) -> list[LedgerEntry]:
    client = ClickHouseClient(mirrored.settings.clickhouse)
    try:
        return [entry for entry in Ledger(client).read().values() if entry.day.startswith(str(year))]
    finally:
        client.close()
