"""Bars that may lack rows are read again, and live bars equal the stored ones."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ingest.barmaker.store import BarStore
from tapehouse.clock import SECOND
from tapehouse.settings import Settings
from tapehouse.stream.floor import floor_key
from tapehouse.stream.frame_reader import Frames
from tests.ingest.barmaker.livebars import (
    BEGIN,
    connected,
    making,
    publish,
    settings,
    trades,
    until_equal,
    writing,
)
from tests.waiting import DEADLINE_S, until

__all__ = ["settings"]


async def test_a_late_trade_raises_the_revision_of_final_bars_and_one_seen_before_changes_nothing(
    settings: Settings, venue: str
) -> None:
    rows = [(BEGIN + n * SECOND, "S", n + 10, 100.0, 1.0, 1, 0) for n in range(120)]
    async with (
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        await publish(feed, trades(venue, rows))
        await until_equal(settings, venue, ["S"])
        await frames.next(DEADLINE_S)
        before = await frames.snapshot(venue, "S", ["15s"])
        # The seq is below the last one: it may be a repeat, so the bars are read again.
        await publish(feed, trades(venue, [(BEGIN + SECOND, "S", 5, 90.0, 7.0, -1, 0), rows[3]]))
        await until_equal(settings, venue, ["S"])
        after = await frames.snapshot(venue, "S", ["15s"])
    assert before.bars["final"][:6].all()
    assert not before.bars["revision"].any()
    assert after.bars["low"][0] == after.bars["open"][0] == 90.0
    assert after.bars["revision"].tolist() == [1] + [0] * (len(after.bars) - 1)


async def test_a_row_that_questdb_rejected_is_removed_from_the_bars(settings: Settings, venue: str) -> None:
    rows = [(BEGIN + n * SECOND, "S", n + 1, 100.0 + n, 1.0, 1, 0) for n in range(10)]
    async with (
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "writer") as writer,
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        async with writing(settings):
            await publish(feed, trades(venue, rows))
            await until_equal(settings, venue, ["S"])
        # As if the writer had not been able to store one: it is in the stream and not in the store.
        seq = await publish(feed, trades(venue, [(BEGIN + 11 * SECOND, "S", 99, 1.0, 1.0, 1, 0)]))

        async def added() -> bool:
            await frames.next(DEADLINE_S)
            last: list[int] = (await frames.snapshot(venue, "S", ["15s"])).latest["seq"].tolist()
            return last == [99]

        await until(added, "the row to be in the bars")
        state = await writer.shared_state()
        await state.put(floor_key(0), {**await state.get(floor_key(0)), "seq": seq})
        for payload in (b"{", b"[1]", b'["1", 2, null, []]', f'[{seq}, "{venue}", "S", {BEGIN}]'.encode()):
            await writer.client.publish("bars.refused", payload)
        await until_equal(settings, venue, ["S"])


async def test_ticks_that_arrive_while_bars_are_read_again_are_applied_on_top(
    settings: Settings, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    was_read, go_on = threading.Event(), threading.Event()
    read = BarStore.read_symbols

    def read_and_wait(store: BarStore, name: str, cuts: dict[str, int], head_ns: int) -> Any:
        found = read(store, name, cuts, head_ns)
        if name == venue and not was_read.is_set():
            was_read.set()
            assert go_on.wait(DEADLINE_S)
        return found

    monkeypatch.setattr(BarStore, "read_symbols", read_and_wait)
    rows = [(BEGIN + n * SECOND, "S", n + 10, 100.0 + n, 1.0, 1, 0) for n in range(40)]
    async with writing(settings), making(settings), connected(settings, "feed") as feed:
        async with connected(settings, "gateway") as bus, Frames.listening(bus) as frames:
            await frames.next(DEADLINE_S)
            await publish(feed, trades(venue, rows[:20]))
            await publish(feed, trades(venue, [(BEGIN + SECOND, "S", 5, 90.0, 7.0, -1, 0)]))
            await until(was_read.is_set, "the bars to be read again")
            for row in rows[20:]:
                await publish(feed, trades(venue, [row]))
            received = 0
            while received < rows[-1][2]:
                latest = (await frames.next(DEADLINE_S)).frame.latest
                received = max([received, *latest["seq"].tolist()])
            go_on.set()
        await until_equal(settings, venue, ["S"])
