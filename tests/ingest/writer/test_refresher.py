"""The views of bars are refreshed: closed minutes, late rows, and again after what refreshed them has died."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from ingest.writer import refresher as module
from ingest.writer.refresher import BarViewsRefresher, is_refresh_due
from ingest.writer.store import QuestDBWriter
from tapehouse.clock import DAY, MINUTE, SECOND, now_ns
from tapehouse.errors import ConnectError
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader
from tapehouse.stores.questdb_bars import read_refreshed_views
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.stream.bus import Bus, State
from tests.broker import Broker
from tests.conftest import Platform
from tests.ingest.barmaker.livebars import trades
from tests.waiting import until

Commit = Callable[[int], None]
_LEASE_S = 2.0


@pytest.fixture
def questdb(provisioned: Platform) -> QuestDB:
    refresh_bar_views(provisioned.settings.questdb)
    return provisioned.settings.questdb


@pytest.fixture
def commit(questdb: QuestDB, venue: str) -> Commit:
    """Commits a trade of a time, and waits until it is visible."""

    def put(ts_event: int) -> None:
        writer = QuestDBWriter(questdb)
        assert not writer.commit([trades(venue, [(ts_event, "S", ts_event, 1.0, 1.0, 1, 0)])])
        writer.close()
        with QuestReader(questdb) as reader:
            reader.wait_applied("trades")

    return put


@pytest.fixture
async def state(broker: Broker) -> AsyncIterator[State]:
    bus = await Bus.connect(broker.settings, "writer")
    yield await bus.shared_state()
    await bus.close()


def _unrefreshed(questdb: QuestDB) -> tuple[tuple[int, int], ...]:
    with QuestReader(questdb) as reader:
        return read_refreshed_views(reader, "1m").unrefreshed


async def _until_refreshed(questdb: QuestDB) -> None:
    await until(lambda: not _unrefreshed(questdb), "the views to be refreshed")


def test_the_open_minute_is_not_refreshed_and_a_closed_one_is_two_seconds_later(
    questdb: QuestDB, commit: Commit
) -> None:
    now = now_ns()
    closed = now // MINUTE * MINUTE + MINUTE
    with QuestReader(questdb) as reader:
        assert not is_refresh_due(reader, now)
        commit(now)
        assert not is_refresh_due(reader, closed + 2 * SECOND - 1)
        assert is_refresh_due(reader, closed + 2 * SECOND)
        refresh_bar_views(questdb)
        assert not is_refresh_due(reader, closed + 2 * SECOND)
        # A row of yesterday.
        commit(now - DAY)
        assert is_refresh_due(reader, now)


async def test_late_rows_are_refreshed_by_one_and_after_it_has_died_by_another(
    questdb: QuestDB, commit: Commit, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECK_S", 0.05)
    first = asyncio.create_task(BarViewsRefresher(questdb, state, _LEASE_S).run())
    try:
        await asyncio.to_thread(commit, now_ns() - DAY)
        await _until_refreshed(questdb)
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    await asyncio.to_thread(commit, now_ns() - 2 * DAY)
    assert _unrefreshed(questdb)
    second = asyncio.create_task(BarViewsRefresher(questdb, state, _LEASE_S).run())
    try:
        await _until_refreshed(questdb)
    finally:
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


async def test_a_refresh_that_hangs_is_given_up_and_tried_again(
    questdb: QuestDB, commit: Commit, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECK_S", 0.05)
    monkeypatch.setattr(module, "_PAUSE_S", 0.05)
    hung: list[float] = []

    def hangs_once(settings: QuestDB, timeout_s: float) -> None:
        if not hung:
            hung.append(timeout_s)
            raise ConnectError(f"questdb: expected bars_1m to be up to date within {timeout_s:g} s, was not")
        refresh_bar_views(settings, timeout_s)

    monkeypatch.setattr(module, "refresh_bar_views", hangs_once)
    await asyncio.to_thread(commit, now_ns() - DAY)
    task = asyncio.create_task(BarViewsRefresher(questdb, state, _LEASE_S).run())
    try:
        await _until_refreshed(questdb)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert hung
