"""Late ticks of days that the cold store owns: merged once whatever is killed, and never into a damaged day."""

from __future__ import annotations

import asyncio
import signal

import pytest
from polars.testing import assert_frame_equal

from tapehouse.model import TRADES
from tests.system.mirrored import Mirrored
from tests.system.pouring import ago, poured
from tests.system.struck import RECORD, REPLACE, struck

_WAITED = "SETTINGS mutations_sync = 2, max_threads = 1"


@pytest.mark.long
async def test_a_damaged_day_of_the_cold_store_alone_is_reported_and_takes_nothing(handing: Mirrored) -> None:
    feed = await poured(handing.settings, 7, [19, 18, 17], (TRADES,))
    day = ago(19)
    try:
        handing.run("mirror", "retain", "--hot-days", "15")
        assert handing.hot(TRADES, day).is_empty()
        whole = handing.cold(TRADES, day)
        name = day.replace("-", "")
        handing.tell_cold(
            f"ALTER TABLE trades UPDATE side = -side WHERE toYYYYMMDD(ts_event) = {name} {_WAITED}"
        )
        damaged = handing.cold(TRADES, day)
        assert not damaged.equals(whole)
        said = handing.run("mirror", "verify", status=1)
        assert f"differs: trades of {day}: expected " in said
        assert "NOT healed" in said
        await feed.some(day, 50, (TRADES,))
        await feed.written()
        said = handing.run("mirror", "run", status=1)
        assert f"failed: trades of {day}: " in said
        assert "the day is damaged, so nothing was merged into it" in said
        assert_frame_equal(handing.cold(TRADES, day), damaged, check_exact=True)
        # Brought back by hand, the day takes what waited for it.
        handing.tell_cold(
            f"ALTER TABLE trades UPDATE side = -side WHERE toYYYYMMDD(ts_event) = {name} {_WAITED}"
        )
        await asyncio.to_thread(handing.mirror)
        assert_frame_equal(handing.cold(TRADES, day), feed.expected(TRADES, day), check_exact=True)
        await asyncio.to_thread(handing.verified)
    finally:
        await feed.__aexit__()


@pytest.mark.long
async def test_late_ticks_are_merged_once_whenever_the_merge_is_killed(handing: Mirrored) -> None:
    feed = await poured(handing.settings, 54, [14, 13, 12], (TRADES,))
    day = ago(14)
    try:
        await asyncio.to_thread(handing.run, "mirror", "retain", "--hot-days", "11")
        assert handing.hot(TRADES, day).is_empty()
        for place, turn, before in (
            (REPLACE, 1, True),
            (REPLACE, 1, False),
            (RECORD, 1, True),
            (RECORD, 1, False),
            (RECORD, 2, True),
            (RECORD, 2, False),
        ):
            await feed.some(day, 40, (TRADES,))
            await feed.written()
            killed = struck(handing, place, turn, "mirror", "run", before=before)
            said = (await asyncio.to_thread(killed.communicate, timeout=60))[0]
            assert killed.returncode == -signal.SIGKILL, said
        await asyncio.to_thread(handing.mirror)
        assert_frame_equal(handing.cold(TRADES, day), feed.expected(TRADES, day), check_exact=True)
        await asyncio.to_thread(handing.verified)
        assert handing.staging() == []
    finally:
        await feed.__aexit__()
