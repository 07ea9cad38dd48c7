"""What is told reaches its readers whole, and who asks wrongly is answered with nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from nats.errors import NoRespondersError

from ingest.barteller import Teller
from tapehouse.bars import RINGS, Bars
from tapehouse.batch import Batch, Strings
from tapehouse.bus import Bus
from tapehouse.clock import MINUTE, NAMES, parse_ns
from tapehouse.frames import Frame, decode
from tapehouse.live import Frames
from tapehouse.model import TRADES
from tapehouse.settings import BarMaker
from tests.broker import Broker
from tests.waiting import DEADLINE_S, until

_BEGIN = parse_ns("2024-08-08T12:00:00Z")


def _apply(bars: Bars, symbols: list[str], ts: int, seq: int) -> None:
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
        bars.changes()


@asynccontextmanager
async def _read(broker: Broker) -> AsyncIterator[tuple[Bus, Bus, Frames]]:
    """The connections of the maker and of a reader, and what the reader hears."""
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
    bars = Bars(len(symbols), dict.fromkeys(RINGS, 64))
    _apply(bars, symbols, _BEGIN, 1)
    async with _read(broker) as (bus, _, frames):
        teller = Teller(BarMaker(ranked=500), bus, bars, "all")
        teller.gather()
        made = teller.n
        await teller.beat()  # and the rankings
        told: dict[tuple[str, int], float] = {}
        last: dict[str, float] = {}
        for n in range(1, made + 1):
            heard = await frames.next(DEADLINE_S)
            assert heard.broken == (n == 1)
            frame = heard.frame
            told |= {(frame.keys[bar["key"]][1], int(bar["interval"])): bar["close"] for bar in frame.bars}
            last |= {frame.keys[row["key"]][1]: row["price"] for row in frame.latest}
        ranked = await frames.next(DEADLINE_S)
    assert told == {(symbol, interval): 1.0 for symbol in symbols for interval in range(len(NAMES))}
    assert last == dict.fromkeys(symbols, 1.0)
    assert not ranked.broken
    assert set(ranked.frame.rankings or {}) == {"1h", "24h", "7d"}


@asynccontextmanager
async def _serving(broker: Broker, bars: Bars) -> AsyncIterator[Bus]:
    """A teller that answers; gives the connection of who asks."""
    async with _read(broker) as (bus, reader, _):
        teller = Teller(BarMaker(), bus, bars, "all")
        task = asyncio.create_task(teller.serve())

        async def answers() -> bool:
            try:
                await _ask(reader, b"")
            except NoRespondersError:
                return False
            return True

        await until(answers, "the teller to listen")
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _ask(bus: Bus, asked: bytes) -> Frame:
    return decode((await bus.client.request("bars.snapshot.all", asked, timeout=DEADLINE_S)).data)


async def test_who_asks_wrongly_is_answered_with_nothing_and_costs_nothing(broker: Broker) -> None:
    bars = Bars(4)
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
        for asked in wrong:
            assert not (await _ask(reader, asked)).keys, asked
        for symbol in ("S", 'a "b" .*>\\ ü😀'):
            asked = json.dumps({"venue": "V", "symbol": symbol, "intervals": ["1m"] * 50_000}).encode()
            frame = await _ask(reader, asked)
            assert frame.keys == [("V", symbol)]
            assert frame.bars["ts"].tolist() == [_BEGIN + n * MINUTE for n in range(100)]
        everything = await _ask(reader, b'{"venue": "V", "symbol": "S", "intervals": null}')
    assert set(everything.bars["interval"]) == set(range(len(NAMES)))
    assert everything.latest["price"].tolist() == [100.0]
