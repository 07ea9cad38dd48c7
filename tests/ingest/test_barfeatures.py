"""Features of final bars, told as they become final: those that history gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from gateway.query import Query
from ingest.applied import until_written, wait_queryable
from ingest.publisher import Publisher
from tapehouse.barstate import BAR
from tapehouse.batch import Batch, Strings
from tapehouse.bus import Bus
from tapehouse.clock import DAY, INTERVALS, MINUTE, SECOND, parse_ns
from tapehouse.errors import UsageError
from tapehouse.features import compute, document
from tapehouse.live import Frames, features
from tapehouse.model import QUOTES
from tapehouse.questdb import QuestReader
from tapehouse.settings import Settings
from tapehouse.wire import pack
from tests.ingest.livebars import connected, making, publish, settings, trades, writing
from tests.reads import read_hot
from tests.waiting import DEADLINE_S

__all__ = ["settings"]
_BEGIN = parse_ns("2024-02-29T16:00:00Z")


def _minutes(venue: str, first: int, last: int) -> Batch:
    """Four trades a minute."""
    chance = np.random.default_rng(first)
    rows = [
        (
            _BEGIN + n * 15 * SECOND,
            "S",
            n + 1,
            round(100 + float(chance.normal()), 2),
            1.0 + n % 3,
            n % 3 - 1,
            0,
        )
        for n in range(4 * first, 4 * last)
    ]
    return trades(venue, rows)


def _quotes(venue: str, minutes: int) -> Batch:
    """One a minute, half a second before its end."""
    ts = _BEGIN + np.arange(1, minutes + 1) * MINUTE - SECOND // 2
    columns: dict[str, Any] = {
        "ts_event": ts,
        "ts_recv": ts,
        "symbol": Strings.constant("S", minutes),
        "seq": np.arange(1, minutes + 1),
        "bid": 99.0 + np.arange(minutes) / 1000,
        "bid_size": np.ones(minutes),
        "ask": 101.0 + np.arange(minutes) / 1000,
        "ask_size": np.ones(minutes),
        "flags": np.zeros(minutes, np.int16),
    }
    return Batch(QUOTES, venue, minutes, columns)


def _history(settings: Settings, venue: str, minute: int) -> dict[str, Any]:
    """The document of a minute from what is stored."""
    with QuestReader(settings.questdb) as reader:
        wait_queryable(reader, {"trades"})
    end = _BEGIN + (minute + 1) * MINUTE
    stored = read_hot(settings, Query("bars", venue, ("S",), _BEGIN - DAY, end, interval="1m"))
    bars = np.zeros(len(stored), BAR)
    for name in stored.columns:
        if name in (BAR.names or ()):
            bars[name] = stored[name].to_numpy().astype(BAR[name])
    quotes = np.full((2, len(bars)), np.nan)
    quotes[:, -1] = 99.0 + minute / 1000, 101.0 + minute / 1000
    row = compute(bars, INTERVALS["1m"], len(bars) - 1, *quotes, whole_day=True)[0]
    return {**document(bars[-1], row, venue, "S", INTERVALS["1m"]), "revision": 0}


def _assert_alike(told: Any, expected: Any) -> None:
    """Equal but for rounding."""
    assert type(told) is type(expected)
    if isinstance(told, dict):
        assert told.keys() == expected.keys()
        for name in told:
            _assert_alike(told[name], expected[name])
    elif isinstance(told, float):
        assert told == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert told == expected


async def test_each_final_bar_is_told_with_the_features_that_history_gives(
    settings: Settings, venue: str
) -> None:
    # Far more bars than the rings hold, over the end of a day.
    async with (
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
        connected(settings, "gateway") as bus,
    ):
        async with Publisher(feed) as publisher:
            await publisher.publish(f"ticks.quotes.{venue}.0", pack(_quotes(venue, 705)))
            await publisher.drain()
        seq = await publish(feed, _minutes(venue, 0, 700))
        await until_written(feed, await feed.state(), seq)
        await _heard(bus)
        # The last minute is open, or closed by the clock: the one before is final.
        async with aclosing(features(bus, venue, "S", "1m")) as told:
            first = await _next(told)
            assert first["start"] >= "2024-03-01T03:38"
            await publish(feed, _minutes(venue, 700, 704))
            documents = [first]
            while documents[-1]["start"] < "2024-03-01T03:42":
                documents.append(await _next(told))
        starts = [one["start"] for one in documents]
        assert starts == sorted(set(starts))
        for one in documents:
            minute = (parse_ns(one["start"]) - _BEGIN) // MINUTE
            _assert_alike(one, await asyncio.to_thread(_history, settings, venue, minute))
            assert len(json.dumps(one)) < 3_000


async def _heard(bus: Bus) -> None:
    """Wait until the bar maker is at work."""
    async with Frames.listening(bus) as frames:
        await frames.next(DEADLINE_S)


async def _next(told: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(told)


@asynccontextmanager
async def _asking(settings: Settings) -> AsyncIterator[Bus]:
    async with writing(settings), making(settings), connected(settings, "gateway") as bus:
        await _heard(bus)
        yield bus


async def test_what_cannot_be_told_is_said(settings: Settings, venue: str) -> None:
    async with _asking(settings) as bus, connected(settings, "feed") as feed:
        async with aclosing(features(bus, venue, "S", "1m")) as told:
            with pytest.raises(UsageError, match=r"S of .* has no live bars"):
                await _next(told)
        await publish(feed, _minutes(venue, 0, 3))
        for asked in (b"", b"[]", b'{"venue": 1}', b'{"venue":"V","symbol":"S","interval":"2m"}', b"\xff"):
            answer = json.loads((await bus.client.request("bars.features", asked, timeout=5)).data)
            assert "expected" in answer["error"]
