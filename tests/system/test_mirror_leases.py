"""Several mirrors: one works at a time, and one that is killed or paused does no harm."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import pytest
from polars.testing import assert_frame_equal

from analytics.mirror.ledger import Ledger, LedgerEntry
from ops.drill.proxy import Proxy
from tapehouse.model import TRADES
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stream.bus import Bus
from tests.system.mirrored import Mirrored
from tests.system.pouring import Pouring, closed
from tests.system.struck import RECORD, REPLACE, is_paused, struck
from tests.waiting import until

_DAY = "2024-07-08"


async def _touched(platform: Mirrored, feed: Pouring) -> None:
    await feed.some(_DAY, 500, (TRADES,))
    await feed.written()
    async with Bus.opened(platform.settings, "mirror") as bus:
        await closed(bus, (TRADES,))


def _entry(platform: Mirrored) -> LedgerEntry:
    client = ClickHouseClient(platform.settings.clickhouse)
    try:
        return Ledger(client).get("trades", _DAY)
    finally:
        client.close()


async def _ended(process: subprocess.Popen[str]) -> str:
    said, _ = await asyncio.to_thread(process.communicate, timeout=60)
    return str(said)


async def test_a_second_mirror_waits_and_goes_on_when_the_first_is_killed(mirrored: Mirrored) -> None:
    proxy = Proxy(mirrored.settings.questdb.http_port)
    await proxy.open()
    await proxy.cut(silent=True)
    try:
        async with Pouring(mirrored.settings, 51) as feed:
            await _touched(mirrored, feed)
            stuck = {"TAPEHOUSE_QUESTDB__HTTP_PORT": str(proxy.port)}
            first = mirrored.started("mirror", "run", **stuck)
            await until(lambda: proxy.connections > 0, "the first mirror's export")
            async with Bus.opened(mirrored.settings, "mirror") as bus:
                state = await bus.shared_state()
                second = mirrored.started("mirror", "run")
                moves: set[int] = set()

                async def renewed() -> bool:
                    owner, revision = await state.get_revised("lease.mirror")
                    assert owner["pid"] == first.pid
                    moves.add(revision)
                    # It moves four times a lease: the second had its chance for the length of two.
                    return len(moves) > 8

                await until(renewed, "the first mirror to renew its lease")
            assert second.poll() is None
            first.kill()
            await _ended(first)
            said = await _ended(second)
            assert second.returncode == 0, said
            assert f"{_DAY} trades: " in said
            assert_frame_equal(mirrored.cold(TRADES, _DAY), feed.expected(TRADES, _DAY), check_exact=True)
            assert mirrored.staging() == []
    finally:
        await proxy.close()


@pytest.mark.long
@pytest.mark.parametrize("place", [pytest.param(REPLACE, id="replace"), pytest.param(RECORD, id="record")])
async def test_a_mirror_paused_for_longer_than_its_lease_does_no_harm(
    mirrored: Mirrored, place: tuple[str, str, str]
) -> None:
    async with Pouring(mirrored.settings, 52 if place is REPLACE else 53) as feed:
        await _touched(mirrored, feed)
        old = struck(mirrored, place, 1, "mirror", "run", signal="SIGSTOP")
        try:
            await until(lambda: is_paused(old), "the first mirror to be paused")
            await asyncio.to_thread(mirrored.run, "mirror", "run")
            await _touched(mirrored, feed)
            await asyncio.to_thread(mirrored.run, "mirror", "run")
            proven = _entry(mirrored)
        finally:
            os.kill(old.pid, signal.SIGCONT)
        said = await _ended(old)
        assert old.returncode == 1, said
        assert "lease was lost" in said
        assert _entry(mirrored) == proven
        assert proven.rows == mirrored.hot(TRADES, _DAY).height
        assert_frame_equal(mirrored.cold(TRADES, _DAY), mirrored.hot(TRADES, _DAY), check_exact=True)
        await asyncio.to_thread(mirrored.verified)
        assert mirrored.staging() == []
