"""What one store has lost is not lost in the other."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from polars.testing import assert_frame_equal

from analytics.mirror.ledger import Ledger
from tapehouse.model import TRADES
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stream.bus import Bus
from tests.system.mirrored import Mirrored
from tests.system.pouring import Pouring, ago, closed, poured

_WAITED = "SETTINGS mutations_sync = 2, max_threads = 1"


async def test_a_hot_store_that_lost_rows_is_not_copied_over_what_is_left_of_them(mirrored: Mirrored) -> None:
    day = "2022-05-01"
    async with Pouring(mirrored.settings, 61) as feed:
        await feed.some(day, 60, (TRADES,))
        await feed.written()
        async with Bus.opened(mirrored.settings, "mirror") as bus:
            await closed(bus)
        await asyncio.to_thread(mirrored.mirror)
        whole = mirrored.cold(TRADES, day)
        # As if the hot store had had more.
        client = ClickHouseClient(mirrored.settings.clickhouse)
        entry = Ledger(client).get("trades", day)
        Ledger(client).put(replace(entry, rows=entry.rows + 1, fault="touched"))
        client.close()
        for words in (("mirror", "run"), ("mirror", "verify")):
            said = mirrored.run(*words, status=1)
            assert f"trades of {day}: expected at least the {entry.rows + 1:,} rows that were proven" in said
            assert "--accept-loss" in said
            assert_frame_equal(mirrored.cold(TRADES, day), whole, check_exact=True)
        mirrored.run("mirror", "run", "--accept-loss")
        await asyncio.to_thread(mirrored.verified)


@pytest.mark.long
async def test_a_damaged_copy_keeps_its_day_in_the_hot_store_and_comes_back_from_there(
    handing: Mirrored,
) -> None:
    feed = await poured(handing.settings, 62, [9, 8, 7, 6], (TRADES,))
    day = ago(7)
    damage = f"ALTER TABLE trades UPDATE size = size + 1 WHERE toYYYYMMDD(ts_event) = {day.replace('-', '')} {_WAITED}"
    try:
        handing.run("mirror", "retain", "--hot-days", "6")
        assert handing.hot(TRADES, ago(9)).is_empty()
        said = handing.run("query", "trades", "A,B,C/D", "--venue", "V", "--start", ago(9), "--end", ago(5))
        kept = [handing.cold(TRADES, ago(days)) for days in (9, 8, 7)] + [handing.hot(TRADES, ago(6))]
        assert len(said.splitlines()) == 1 + sum(map(len, kept))
        # It is the cold store's, and leaves the hot one a day later.
        whole = handing.cold(TRADES, day)
        assert_frame_equal(handing.hot(TRADES, day), whole, check_exact=True)
        handing.tell_cold(damage)
        said = handing.run("mirror", "retain", "--hot-days", "5", status=1)
        assert f"{day} trades: kept: its copy in ClickHouse is damaged: expected 60 rows" in said
        assert_frame_equal(handing.hot(TRADES, day), whole, check_exact=True)
        said = handing.run("mirror", "verify")
        assert f"differs: trades of {day}: " in said
        assert "1 differed, 1 healed" in said
        assert_frame_equal(handing.cold(TRADES, day), whole, check_exact=True)
        handing.run("mirror", "retain", "--hot-days", "5")
        assert handing.hot(TRADES, day).is_empty()
        await asyncio.to_thread(handing.verified)
    finally:
        await feed.__aexit__()
