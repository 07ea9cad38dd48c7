"""Stores that refuse, break off or fall silent while a day is copied: never a short day, and the next run heals."""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from polars.testing import assert_frame_equal

from analytics.mirror import hot_store
from analytics.mirror.cold_store import ColdStore
from analytics.mirror.copier import Copier
from analytics.mirror.session import MirrorSession
from tapehouse.errors import ColdStoreError, ConnectError, TapehouseError
from tapehouse.model import TRADES
from tapehouse.stores import clickhouse
from tapehouse.stream.bus import Bus
from tests.cutting import Cutting
from tests.system.mirrored import Mirrored
from tests.system.pouring import Pouring, closed
from tests.waiting import until

_DAY = "2023-05-06"
_ROWS = 3_000


@asynccontextmanager
async def _touched(platform: Mirrored, seed: int) -> AsyncIterator[MirrorSession]:
    """The day proven, and then touched: its copy is to be made again."""
    async with Pouring(platform.settings, seed) as feed, Bus.opened(platform.settings, "mirror") as bus:
        await feed.some(_DAY, _ROWS, (TRADES,))
        await feed.written()
        await closed(bus, (TRADES,))
        async with MirrorSession.leased(platform.settings, bus) as mirror:
            await mirror.copier.copy(TRADES, _DAY)
            await feed.some(_DAY, _ROWS, (TRADES,))
            await feed.written()
            await _quiet(mirror)
            yield mirror


async def _fails(
    platform: Mirrored, mirror: MirrorSession, copier: Copier, error: type[TapehouseError]
) -> TapehouseError:
    """Expect a copy to fail, and the old day and its entry to stay as they are."""
    before, rows = mirror.ledger.get("trades", _DAY), platform.cold(TRADES, _DAY)
    assert rows.height == before.rows > 0
    with pytest.raises(error) as told:
        await copier.copy(TRADES, _DAY)
    assert mirror.ledger.get("trades", _DAY) == before
    assert not (await mirror.read_days())["trades", _DAY].is_proven
    assert_frame_equal(platform.cold(TRADES, _DAY), rows, check_exact=True)
    assert platform.staging() == []
    return told.value


async def _heals(platform: Mirrored) -> None:
    async with Bus.opened(platform.settings, "mirror") as bus:
        await closed(bus, (TRADES,))
    await asyncio.to_thread(platform.mirror)
    assert_frame_equal(platform.cold(TRADES, _DAY), platform.hot(TRADES, _DAY), check_exact=True)
    assert platform.staging() == []


async def test_a_cold_store_short_of_memory(mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _touched(mirrored, 41) as mirror:
        with monkeypatch.context() as patch:
            patch.setitem(clickhouse._SETTINGS, "max_memory_usage", 1_000_000)
            cold = ColdStore(mirrored.settings.clickhouse)
            # Its connection keeps to this from now on.
            assert cold.client.fetch("SELECT 1")
        try:
            copier = Copier(mirrored.settings, mirror.bus, cold, mirror.ledger, mirror.confirm_lease)
            refused = await _fails(mirrored, mirror, copier, ColdStoreError)
        finally:
            cold.close()
        assert "memory limit" in str(refused).lower()
        assert "max_memory_usage" in str(refused)
    await _heals(mirrored)


async def test_a_cold_store_that_cannot_write_its_files(mirrored: Mirrored) -> None:
    async with _touched(mirrored, 42) as mirror:
        pid = mirrored.pid("clickhouse")
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        copier = Copier(mirrored.settings, mirror.bus, mirror.cold, mirror.ledger, mirror.confirm_lease)
        before, rows = mirror.ledger.get("trades", _DAY), mirrored.cold(TRADES, _DAY)
        # No file grows beyond this, as where the disk is full.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4_000, limits[1]))
        try:
            with pytest.raises(ColdStoreError, match="clickhouse: "):
                await copier.copy(TRADES, _DAY)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert mirror.ledger.get("trades", _DAY) == before
        assert_frame_equal(mirrored.cold(TRADES, _DAY), rows, check_exact=True)
    await _heals(mirrored)


async def test_an_export_cut_in_the_middle(mirrored: Mirrored) -> None:
    async with _touched(mirrored, 43) as mirror:
        chance = random.Random(43)
        cuts = [1, 400, *(chance.randrange(4_000, 60_000) for _ in range(3))]
        for after in cuts:
            async with _cutting(mirrored, mirror, after) as (copier, _):
                refused = await _fails(mirrored, mirror, copier, ConnectError)
            assert f"export of trades of {_DAY}: questdb: " in str(refused)
            assert "incomplete" in str(refused)
            assert "copies the day again" in str(refused)
        async with _cutting(mirrored, mirror, 2**40) as (copier, proxy):
            await copier.copy(TRADES, _DAY)
            assert proxy.passed > max(cuts), "expected every cut within the export"
    await _heals(mirrored)


async def test_an_export_that_falls_silent_ends_in_time(
    mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_store, "_EXPORT_TIMEOUT_S", 0.5)
    async with _touched(mirrored, 44) as mirror:
        async with _cutting(mirrored, mirror, 2**40) as (copier, proxy):
            await proxy.cut(silent=True)
            refused = await _fails(mirrored, mirror, copier, ConnectError)
        assert "nothing came in time" in str(refused)
    await _heals(mirrored)


@asynccontextmanager
async def _cutting(
    platform: Mirrored, mirror: MirrorSession, after: int
) -> AsyncIterator[tuple[Copier, Cutting]]:
    """A copier whose exports are cut, in slices of which many are under way."""
    asked = platform.settings
    proxy = Cutting(asked.questdb.http_port, after)
    await proxy.open()
    settings = asked.model_copy(
        update={
            "questdb": asked.questdb.model_copy(update={"http_port": proxy.port}),
            "mirror": asked.mirror.model_copy(update={"slice_rows": 1_000}),
        }
    )
    try:
        yield Copier(settings, mirror.bus, mirror.cold, mirror.ledger, mirror.confirm_lease), proxy
    finally:
        await proxy.close()


async def _quiet(mirror: MirrorSession) -> None:
    """Wait until the day is written no more."""

    async def is_quiet() -> bool:
        return not (await mirror.read_days())["trades", _DAY].is_being_written

    await until(is_quiet, "the day's mark to be closed")
