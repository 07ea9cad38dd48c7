"""What readers of frames see: snapshots, and the frames after them."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from tapehouse.errors import ConnectError
from tapehouse.settings import Settings
from tapehouse.stream.frame_reader import Frames
from tests.ingest.barmaker.livebars import (
    connected,
    making,
    market,
    publish,
    settings,
    trades,
    until_equal,
    writing,
)
from tests.waiting import DEADLINE_S

__all__ = ["settings"]


async def test_a_snapshot_with_the_frames_after_it_is_a_later_snapshot(
    settings: Settings, venue: str
) -> None:
    chance = random.Random(5)
    parts = [part.tolist() for part in np.array_split(np.array(market(chance, 900), object), 60)]
    async with (
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        first = await frames.next(DEADLINE_S)
        assert first.needs_snapshot
        await publish(feed, *(trades(venue, part) for part in parts[:20]))
        await until_equal(settings, venue, ["S1"])
        begin = await frames.snapshot(venue, "S1")
        publishing = asyncio.create_task(publish(feed, *(trades(venue, part) for part in parts[20:])))
        held = {(bar["interval"], bar["ts"]): bar for bar in begin.bars}
        await publishing
        await until_equal(settings, venue, ["S1"])
        end = await frames.snapshot(venue, "S1")
        last = 0
        while last < end.n + 1:
            heard = await frames.next(DEADLINE_S)
            last = heard.frame.n
            assert heard.frame.epoch == begin.epoch
            assert not heard.needs_snapshot
            for bar in heard.frame.bars if last > begin.n else ():
                if heard.frame.keys[bar["key"]] == (venue, "S1"):
                    held[bar["interval"], bar["ts"]] = bar
    for bar in end.bars:
        mine = held[bar["interval"], bar["ts"]]
        assert all(mine[name] == bar[name] for name in bar.dtype.names if name not in ("key", "final"))


async def test_a_symbol_that_nobody_holds_is_said_to_be(settings: Settings, venue: str) -> None:
    async with (
        writing(settings),
        making(settings),
        connected(settings, "gateway") as bus,
        Frames.listening(bus) as frames,
    ):
        await frames.next(DEADLINE_S)
        with pytest.raises(ConnectError, match="expected a bar maker with bars of S of"):
            await frames.snapshot(venue, "S")
