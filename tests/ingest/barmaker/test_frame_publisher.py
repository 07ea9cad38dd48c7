"""Frames reach readers whole, and requests that are not valid get an empty snapshot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from nats.errors import NoRespondersError

from ingest.barmaker.frame_publisher import FramePublisher
from tapehouse.bars.engine import RING_SIZES, BarEngine
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MINUTE, NAMES, parse_ns
from tapehouse.model import TRADES
from tapehouse.settings import BarMaker
from tapehouse.stream.bus import Bus
from tapehouse.stream.frame_reader import Frames
from tapehouse.stream.frames import Frame, decode
from tests.broker import Broker
from tests.waiting import DEADLINE_S, until

_BEGIN = parse_ns("2024-08-08T12:00:00Z")


def _apply(bars: BarEngine, symbols: list[str], ts: int, seq: int) -> None:
    """A trade of each symbol."""
    rows = len(symbols)
    columns: dict[str, Any] = {
        "ts_event": np.full(rows, ts),
        "ts_recv": np.full(rows, ts),
        "symbol": Strings.of(symbols),
        "seq": np.full(rows, seq),
        "price": np.full(rows, float(seq)),
        "size": np.ones(rows),
        "side": np.ones(rows, np.int8),
        "flags": np.zeros(rows, np.int16),
    }
    row = 0
    while (row := bars.apply(Batch(TRADES, "V", rows, columns), row)) < rows:
        bars.take_changes()


@asynccontextmanager
async def _connected(broker: Broker) -> AsyncIterator[tuple[Bus, Bus, Frames]]:
    """Connections of the bar maker and of a reader, and the frames that the reader receives."""
    async with (
        Bus.opened(broker.settings, "barmaker") as bus,
        Bus.opened(broker.settings, "gateway") as reader,
        Frames.listening(reader) as frames,
    ):
        await reader.client.flush()
        yield bus, reader, frames


@pytest.mark.parametrize("length", [8, 300])
async def test_changes_of_very_many_symbols_reach_a_reader_whole(broker: Broker, length: int) -> None:
    symbols = [f"{n:0{length}}" for n in range(12_000)]
    bars = BarEngine(len(symbols), dict.fromkeys(RING_SIZES, 64))
    _apply(bars, symbols, _BEGIN, 1)
    async with _connected(broker) as (bus, _, frames):
        publisher = FramePublisher(BarMaker(ranked=500), bus, bars, "all")
        publisher.build_frames()
        made = publisher.n
        await publisher.publish_due()  # and the rankings
        closes: dict[tuple[str, int], float] = {}
        last: dict[str, float] = {}
        for n in range(1, made + 1):
            received = await frames.next(DEADLINE_S)
            assert received.needs_snapshot == (n == 1)
            frame = received.frame
            closes |= {(frame.keys[bar["key"]][1], int(bar["interval"])): bar["close"] for bar in frame.bars}
            last |= {frame.keys[row["key"]][1]: row["price"] for row in frame.latest}
        ranked = await frames.next(DEADLINE_S)
    assert closes == {(symbol, interval): 1.0 for symbol in symbols for interval in range(len(NAMES))}
    assert last == dict.fromkeys(symbols, 1.0)
    assert not ranked.needs_snapshot
    assert set(ranked.frame.rankings or {}) == {"1h", "24h", "7d"}


@asynccontextmanager
async def _serving(broker: Broker, bars: BarEngine) -> AsyncIterator[Bus]:
    """A publisher that answers; yields the connection of a client."""
    async with _connected(broker) as (bus, reader, _):
        publisher = FramePublisher(BarMaker(), bus, bars, "all")
        task = asyncio.create_task(publisher.serve_snapshots())

        async def answers() -> bool:
            try:
                await _request(reader, b"")
            except NoRespondersError:
                return False
            return True

        await until(answers, "the publisher to answer")
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _request(bus: Bus, request: bytes) -> Frame:
    return decode((await bus.client.request("bars.snapshot.all", request, timeout=DEADLINE_S)).data)


async def test_requests_that_are_not_valid_get_an_empty_snapshot(broker: Broker) -> None:
    bars = BarEngine(4)
    for n in range(100):
        _apply(bars, ["S", 'a "b" .*>\\ ü😀'], _BEGIN + n * MINUTE, n + 1)
    wrong = [
        b"",
        b"\xff",
        b"[1]",
        b"null",
        b'"V"',
        b"[" * 100_000,
        b'{"venue": "V"}',
        b'{"venue": ["V"], "symbol": {}}',
        b'{"venue": "V", "symbol": "T"}',
        b'{"venue": "V", "symbol": "\\ud800"}',
        b'{"venue": "V", "symbol": "S", "intervals": "1m"}',
        b'{"venue": "V", "symbol": "S", "intervals": 7}',
        b'{"venue": "V", "symbol": "S", "intervals": ["1m", "2m"]}',
        b'{"venue": "V", "symbol": "S", "intervals": [["1m"]]}',
    ]
    async with _serving(broker, bars) as reader:
        for request in wrong:
            assert not (await _request(reader, request)).keys, request
        for symbol in ("S", 'a "b" .*>\\ ü😀'):
            request = json.dumps({"venue": "V", "symbol": symbol, "intervals": ["1m"] * 50_000}).encode()
            frame = await _request(reader, request)
            assert frame.keys == [("V", symbol)]
            assert frame.bars["ts"].tolist() == [_BEGIN + n * MINUTE for n in range(100)]
        everything = await _request(reader, b'{"venue": "V", "symbol": "S", "intervals": null}')
    assert set(everything.bars["interval"]) == set(range(len(NAMES)))
    assert everything.latest["price"].tolist() == [100.0]
