"""Old days leave the hot store once the cold store owns them, and for no other reason."""

from __future__ import annotations

import asyncio
import random
import re

import psycopg
import pytest
from polars.testing import assert_frame_equal

from analytics.mirror.handover import hand_over
from analytics.mirror.inventory import today
from analytics.mirror.session import MirrorProgress, MirrorSession
from ops.drill.proof import count_different_bars, rebuild_bars
from tapehouse.errors import ProofError
from tapehouse.model import DEPTH, QUOTES, TICKS, TRADES, Kind
from tapehouse.stream.bus import LATE, Bus
from tapehouse.stream.mark import DayMark, mark_key
from tests.system.mirrored import Mirrored
from tests.system.pouring import ago, closed, poured

TWO = (TRADES, QUOTES)


def hot_days(platform: Mirrored, kind: Kind) -> set[str]:
    found = platform.ask_hot(f"SELECT name, numRows FROM table_partitions('{kind.name}')")
    return {name[:10] for name, rows in found if rows}


def ttls(platform: Mirrored) -> dict[str, int]:
    names = {*(kind.name for kind in TICKS), "bars_1m", "bars_1d"}
    return {
        name: ttl
        for name, ttl in platform.ask_hot("SELECT table_name, ttlValue FROM tables()")
        if name in names
    }


async def test_nothing_leaves_while_no_mirror_runs_however_the_time_of_the_tables_moves_on(
    handing: Mirrored,
) -> None:
    feed = await poured(handing.settings, 1, [900, 400, 100])
    try:
        for _ in range(3):
            await feed.now()
            await feed.written()
        for kind in TICKS:
            assert {ago(900), ago(400), ago(100)} <= hot_days(handing, kind)
            assert_frame_equal(handing.hot(kind, ago(900)), feed.expected(kind, ago(900)), check_exact=True)
        assert set(ttls(handing).values()) == {0}
    finally:
        await feed.__aexit__()


@pytest.mark.long
async def test_an_unproven_day_stays_and_all_newer_ones_of_its_kind(handing: Mirrored) -> None:
    days = [98, 97, 96, 95, 94, 93, 92, 91, 89]
    feed = await poured(handing.settings, 2, days)
    try:
        key = mark_key("quotes", ago(95), 0)
        async with Bus.opened(handing.settings, "admin") as bus:
            state = await bus.shared_state()
            closed_mark = DayMark.of(await state.get(key))
            await state.put(key, DayMark(closed_mark.created_ns, closed_mark.seq, True).value())
            handing.tell_cold("RENAME TABLE depth TO depth_away")
            try:
                said = handing.run("mirror", "retain", "--hot-days", "90", status=1)
            finally:
                handing.tell_cold("RENAME TABLE depth_away TO depth")
            await state.put(key, closed_mark.value())
        assert f"{ago(95)} quotes: kept: it is being written" in said
        assert re.search(f"{ago(98)} depth: kept: clickhouse: .*depth", said)
        gone = {ago(number) for number in (98, 97, 96, 95, 94, 93, 92)}
        # The last that could go stays, for today may end while others go.
        assert not gone & hot_days(handing, TRADES)
        assert {ago(91), ago(89)} <= hot_days(handing, TRADES)
        quotes = hot_days(handing, QUOTES)
        assert not {ago(98), ago(97)} & quotes
        assert {ago(number) for number in (96, 95, 94, 93, 92, 91, 89)} <= quotes
        assert {ago(number) for number in days} <= hot_days(handing, DEPTH)
        assert set(ttls(handing).values()) == {0}
        handing.run("mirror", "retain", "--hot-days", "90")
        for kind in TICKS:
            assert not gone & hot_days(handing, kind)
            for number in days[:-1]:
                assert_frame_equal(
                    handing.cold(kind, ago(number)), feed.expected(kind, ago(number)), check_exact=True
                )
    finally:
        await feed.__aexit__()


async def test_a_row_far_ahead_of_time_makes_nothing_go_that_is_not_handed_over(handing: Mirrored) -> None:
    feed = await poured(handing.settings, 3, [88, 87, 86, 83, 79, 78], TWO)
    try:
        asked = handing.settings.questdb
        with psycopg.connect(
            host=asked.host, port=asked.pg_port, user=asked.user, dbname="qdb", autocommit=True,
            password=asked.password.get_secret_value(),
        ) as connection:  # fmt: skip
            connection.execute(
                b"INSERT INTO quotes (ts_event, ts_recv, venue, symbol, seq) "
                b"VALUES ('2099-01-01T00:00:00Z', '2099-01-01T00:00:00Z', 'V', 'A', 1)"
            )
        handing.run("mirror", "retain", "--hot-days", "80")
        await feed.now(TWO)
        await feed.written()
        for kind in TWO:
            assert not {ago(88), ago(87), ago(86), ago(83)} & hot_days(handing, kind)
            assert {ago(79), ago(78), today()} <= hot_days(handing, kind)
        assert "2099-01-01" in hot_days(handing, QUOTES)
    finally:
        await feed.__aexit__()


async def test_views_outlive_the_days_that_went_and_late_ticks_find_their_way(handing: Mirrored) -> None:
    feed = await poured(handing.settings, 4, [75, 74, 73, 69, 68], (TRADES,))
    try:
        handing.run("mirror", "retain", "--hot-days", "70")
        assert not {ago(75), ago(74), ago(73)} & hot_days(handing, TRADES)
        for number in (75, 69):
            await feed.some(ago(number), 50, (TRADES,))
        await feed.written()
        assert handing.hot(TRADES, ago(75)).is_empty()
        async with Bus.opened(handing.settings, "admin") as bus:
            assert (await bus.js.stream_info(LATE)).state.messages > 0
        late = await asyncio.to_thread(handing.mirror)
        assert ("trades", ago(75)) in [merged.entry.key for merged in late.late.merged]
        assert not (await asyncio.to_thread(handing.mirror)).late.merged
        for number in (75, 74, 73):
            stored = handing.cold(TRADES, ago(number))
            assert_frame_equal(stored, feed.expected(TRADES, ago(number)), check_exact=True)
        views = handing.ask_hot("SELECT view_name, view_status FROM materialized_views()")
        assert {status for _, status in views} == {"valid"}, views
        for number in (69, 68):
            assert_frame_equal(
                handing.hot(TRADES, ago(number)), feed.expected(TRADES, ago(number)), check_exact=True
            )
            bars = handing.bars(ago(number))[0]
            assert bars.height > 30
            assert count_different_bars(bars, rebuild_bars(feed.expected(TRADES, ago(number)), "1m")) == 0
    finally:
        await feed.__aexit__()


@pytest.mark.long
async def test_a_rehearsal_says_what_then_happens(handing: Mirrored) -> None:
    feed = await poured(handing.settings, 5, [65, 64, 63, 62, 61, 60, 59])
    try:
        before = {kind.name: hot_days(handing, kind) for kind in TICKS}
        rehearsed = handing.run("mirror", "retain", "--rehearse", "--hot-days", "61").splitlines()
        assert {kind.name: hot_days(handing, kind) for kind in TICKS} == before
        done = handing.run("mirror", "retain", "--hot-days", "61").splitlines()
        told = [line for line in done if line[:2] == "20" and " [" not in line]
        assert sorted(line.replace("would be ", "") for line in rehearsed) == sorted(told)
        assert f"{ago(63)} trades: dropped from the hot store" in told
        assert f"{ago(62)} trades: handed over to the cold store" in told
    finally:
        await feed.__aexit__()


async def test_nothing_is_handed_over_while_a_writer_is_down(handing: Mirrored) -> None:
    feed = await poured(handing.settings, 6, [55, 54], (TRADES,))
    try:
        await asyncio.to_thread(handing.stop_part, "writer")
        try:
            async with (
                Bus.opened(handing.settings, "mirror") as bus,
                MirrorSession.leased(handing.settings, bus) as mirror,
            ):
                with pytest.raises(
                    ProofError, match="every writer to confirm the seal, was not confirmed by shard 0"
                ) as told:
                    await hand_over(mirror, "trades", ago(50), MirrorProgress(), timeout_s=1)
                assert "Nothing was handed over" in str(told.value)
                entries = {
                    day.day: day for day in (await mirror.read_days()).values() if day.kind == "trades"
                }
                assert not entries[ago(55)].is_cold
                assert not entries[ago(54)].is_cold
        finally:
            await asyncio.to_thread(handing.start_part, "writer")
        handing.run("mirror", "retain", "--hot-days", "50")
        assert ago(55) not in hot_days(handing, TRADES)
        assert_frame_equal(handing.cold(TRADES, ago(55)), feed.expected(TRADES, ago(55)), check_exact=True)
    finally:
        await feed.__aexit__()


@pytest.mark.long
@pytest.mark.parametrize(("last", "kills"), [(44, 2), (20, 20)])
async def test_no_time_to_live_stays_whatever_is_killed_in_retention(
    handing: Mirrored, last: int, kills: int
) -> None:
    chance = random.Random(last)
    days = [*range(last + kills + 3, last - 1, -1)]
    feed = await poured(handing.settings, 100 + last, days, TWO)
    try:
        for kill in range(kills):
            asked = days[kill + 3] - 1
            with handing.started("mirror", "retain", "--hot-days", str(asked)) as process:
                # It takes a second to begin.
                await asyncio.sleep(chance.uniform(0.8, 2.5))
                if kill % 2:
                    process.kill()
                else:
                    pid = await asyncio.to_thread(handing.pid, "questdb")
                    handing.kill("questdb")
                    await asyncio.to_thread(handing.replaced, "questdb", pid)
                await asyncio.to_thread(process.communicate)
            await feed.now(TWO)
            await feed.written()
            await _run_when_quiet(handing)
            assert set(ttls(handing).values()) == {0}
            for kind in TWO:
                kept = {ago(number) for number in days if number <= asked}
                assert kept <= hot_days(handing, kind)
        handing.run("mirror", "retain", "--hot-days", str(last))
        for kind in TWO:
            for number in days:
                both = handing.hot(kind, ago(number)), handing.cold(kind, ago(number))
                there = both[0] if both[0].height else both[1]
                assert_frame_equal(there, feed.expected(kind, ago(number)), check_exact=True)
    finally:
        await feed.__aexit__()


async def test_a_time_to_live_left_by_a_kill_is_taken_back_by_the_next_run(handing: Mirrored) -> None:
    asked = handing.settings.questdb
    with psycopg.connect(
        host=asked.host, port=asked.pg_port, user=asked.user, dbname="qdb", autocommit=True,
        password=asked.password.get_secret_value(),
    ) as connection:  # fmt: skip
        for kind, name in (("TABLE", "trades"), ("MATERIALIZED VIEW", "bars_1m")):
            connection.execute(f"ALTER {kind} {name} SET TTL 3000 DAYS".encode())
            connection.execute(f"SELECT wait_wal_table('{name}')".encode())
    assert ttls(handing)["trades"] > 0
    assert ttls(handing)["bars_1m"] > 0
    await asyncio.to_thread(handing.mirror)
    assert set(ttls(handing).values()) == {0}


async def _run_when_quiet(platform: Mirrored) -> None:
    async with Bus.opened(platform.settings, "mirror") as bus:
        await closed(bus, TWO)
    await asyncio.to_thread(platform.mirror)
