"""Features of final bars, published as they become final, equal those computed from history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from gateway.query import Query
from ingest.publisher import Publisher
from tapehouse.bars.state import BAR
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, INTERVALS, MINUTE, SECOND, parse_ns
from tapehouse.errors import UsageError
from tapehouse.features.candle import compute, document
from tapehouse.model import QUOTES
from tapehouse.settings import Settings
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream.bus import Bus
from tapehouse.stream.frame_reader import Frames, features
from tapehouse.stream.progress import wait_until_written
from tapehouse.stream.wire import pack
from tests.ingest.barmaker.livebars import connected, making, publish, settings, trades, writing
from tests.reads import read_hot
from tests.waiting import DEADLINE_S

__all__ = ["settings"]
_BEGIN = parse_ns("2024-02-29T16:00:00Z")


def _minutes(venue: str, first: int, last: int) -> Batch:
    """Four trades a minute."""
    rng = np.random.default_rng(first)
    rows = [
        (
            _BEGIN + n * 15 * SECOND,
            "S",
            n + 1,
            round(100 + float(rng.normal()), 2),
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
    """The document of a minute, computed from stored bars."""
    with QuestReader(settings.questdb) as reader:
        reader.wait_applied("trades")
    end = _BEGIN + (minute + 1) * MINUTE
    stored = read_hot(settings, Query("bars", venue, ("S",), _BEGIN - DAY, end, interval="1m"))
    bars = np.zeros(len(stored), BAR)
    for name in stored.columns:
        if name in (BAR.names or ()):
            bars[name] = stored[name].to_numpy().astype(BAR[name])
    quotes = np.full((2, len(bars)), np.nan)
    quotes[:, -1] = 99.0 + minute / 1000, 101.0 + minute / 1000
    row = compute(bars, INTERVALS["1m"], len(bars) - 1, *quotes, starts_day=True)[0]
    return {**document(bars[-1], row, venue, "S", INTERVALS["1m"]), "revision": 0}


def _assert_alike(received: Any, expected: Any) -> None:
    """Equal but for rounding."""
    assert type(received) is type(expected)
    if isinstance(received, dict):
        assert received.keys() == expected.keys()
        for name in received:
            _assert_alike(received[name], expected[name])
    elif isinstance(received, float):
        assert received == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert received == expected


async def test_each_final_bar_is_published_with_the_features_of_history(
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
        await wait_until_written(feed, await feed.shared_state(), seq)
        await _until_ready(bus)
        # The last minute is open, or closed by the clock: the one before is final.
        async with aclosing(features(bus, venue, "S", "1m")) as received:
            first = await _next(received)
            assert first["start"] >= "2024-03-01T03:38"
            await publish(feed, _minutes(venue, 700, 704))
            documents = [first]
            while documents[-1]["start"] < "2024-03-01T03:42":
                documents.append(await _next(received))
        starts = [one["start"] for one in documents]
        assert starts == sorted(set(starts))
        for one in documents:
            minute = (parse_ns(one["start"]) - _BEGIN) // MINUTE
            _assert_alike(one, await asyncio.to_thread(_history, settings, venue, minute))
            assert len(json.dumps(one)) < 3_000


async def _until_ready(bus: Bus) -> None:
    """Wait until the bar maker publishes frames."""
    async with Frames.listening(bus) as frames:
        await frames.next(DEADLINE_S)


async def _next(received: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(received)


@asynccontextmanager
async def _client(settings: Settings) -> AsyncIterator[Bus]:
    async with writing(settings), making(settings), connected(settings, "gateway") as bus:
        await _until_ready(bus)
        yield bus


async def test_requests_that_cannot_be_answered_get_an_error(settings: Settings, venue: str) -> None:
    async with _client(settings) as bus, connected(settings, "feed") as feed:
        async with aclosing(features(bus, venue, "S", "1m")) as received:
            with pytest.raises(UsageError, match=r"S of .* has no live bars"):
                await _next(received)
        await publish(feed, _minutes(venue, 0, 3))
        for request in (b"", b"[]", b'{"venue": 1}', b'{"venue":"V","symbol":"S","interval":"2m"}', b"\xff"):
            answer = json.loads((await bus.client.request("bars.features", request, timeout=5)).data)
            assert "expected" in answer["error"]
