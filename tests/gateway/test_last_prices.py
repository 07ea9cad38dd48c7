"""Last prices and rankings by what makers tell: missing frames, new epochs, makers that fall silent."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from nats.aio.msg import Msg

from gateway import last_prices
from gateway.last_prices import LastPrice, LastPrices
from tapehouse.bars.rankings import RANKING_ROW
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus
from tapehouse.stream.frames import FRAME_LATEST, encode
from tests.broker import Broker
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
from tests.waiting import until

__all__ = ["settings"]


@dataclass
class _Maker:
    """A bar maker that tells what a test has it tell, and answers for what it holds."""

    bus: Bus
    name: str = "all"
    epoch: int = 1
    n: int = 0
    held: dict[str, LastPrice] = field(default_factory=dict)

    async def tell(self, prices: Mapping[str, float], **more: object) -> None:
        """The next frame, with the last trades of some symbols; their seq is the frame's n."""
        self.n += 1
        self.held |= {
            symbol: (self.n, 10 * self.n, 10 * self.n + 1, price, 1.0) for symbol, price in prices.items()
        }
        await self.bus.client.publish(f"frames.{self.name}", self._frame(list(prices), **more))

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        async with self.bus.subscribed(f"bars.snapshot.{self.name}", self._answer):
            yield

    async def _answer(self, message: Msg) -> None:
        symbol = json.loads(message.data)["symbol"]
        await self.bus.client.publish(message.reply, self._frame([symbol] if symbol in self.held else []))

    def _frame(self, symbols: list[str], **more: object) -> bytes:
        rows = np.array([(place, *self.held[symbol]) for place, symbol in enumerate(symbols)], FRAME_LATEST)
        keys = [("V", symbol) for symbol in symbols]
        return encode(self.name, self.epoch, self.n, keys, latest=rows, **more)  # type: ignore[arg-type]


@asynccontextmanager
async def _listening(settings: Settings) -> AsyncIterator[tuple[LastPrices, Bus]]:
    async with connected(settings, "gateway") as bus, connected(settings, "barmaker") as makers:
        prices = LastPrices(bus)
        task = asyncio.create_task(prices.run())
        try:
            # What is told before it listens is not heard.
            await until(lambda: bus.client._subs != {}, "it to listen")
            await bus.client.flush()
            yield prices, makers
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _held(prices: LastPrices) -> dict[str, float]:
    return {symbol: last[3] for symbol, last in prices.by_symbol("V").items()}


async def _shows(prices: LastPrices, expected: Mapping[str, float]) -> None:
    await until(lambda: _held(prices) == expected, lambda: f"{expected}, was {_held(prices)}")


async def test_what_is_told_is_held_and_the_later_replaces_the_earlier(broker: Broker) -> None:
    async with _listening(broker.settings) as (prices, bus):
        maker = _Maker(bus)
        await maker.tell({"A": 1.0, "B": 2.0})
        await maker.tell({"A": 3.0})
        await _shows(prices, {"A": 3.0, "B": 2.0})
        assert prices.by_symbol("V")["A"] == (2, 20, 21, 3.0, 1.0)
        assert prices.by_symbol("W") == {}


async def test_after_missing_frames_all_is_asked_for_anew(broker: Broker) -> None:
    async with _listening(broker.settings) as (prices, bus):
        maker = _Maker(bus)
        async with maker.answering():
            await maker.tell({"A": 1.0, "B": 2.0, "C": 3.0})
            await _shows(prices, {"A": 1.0, "B": 2.0, "C": 3.0})
            # A frame that is lost, and that told of B and C; C is held no more.
            maker.n += 1
            maker.held["B"] = (maker.n, 5, 6, 20.0, 1.0)
            del maker.held["C"]
            await maker.tell({"A": 10.0})
            await _shows(prices, {"A": 10.0, "B": 20.0})


async def test_a_new_epoch_voids_what_was_told(broker: Broker) -> None:
    async with _listening(broker.settings) as (prices, bus):
        maker = _Maker(bus)
        await maker.tell({"A": 1.0, "B": 2.0})
        await _shows(prices, {"A": 1.0, "B": 2.0})
        async with maker.answering():
            maker.epoch, maker.n, maker.held = 2, 0, {"B": (1, 5, 6, 7.0, 1.0)}
            await maker.tell({})
            await _shows(prices, {"B": 7.0})


async def test_a_price_of_unknown_time_is_not_held(broker: Broker) -> None:
    async with _listening(broker.settings) as (prices, bus):
        maker = _Maker(bus)
        await maker.tell({"A": 1.0, "B": 2.0})
        await _shows(prices, {"A": 1.0, "B": 2.0})
        maker.held["A"] = (3, 0, 0, 1.0, 1.0)
        maker.n += 1
        await bus.client.publish("frames.all", maker._frame(["A"]))
        await _shows(prices, {"B": 2.0})
        assert prices.live_symbols("V") == {"A", "B"}


async def test_a_maker_that_fell_silent_is_believed_no_more_and_asked_when_it_is_back(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_prices, "_MAKER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(last_prices, "_POLL_S", 0.05)
    async with _listening(broker.settings) as (prices, bus):
        maker = _Maker(bus)
        async with maker.answering():
            await maker.tell({"A": 1.0, "B": 2.0})
            await _shows(prices, {})
            monkeypatch.setattr(last_prices, "_MAKER_TIMEOUT_S", 60.0)
            await maker.tell({"A": 3.0})
            await _shows(prices, {"A": 3.0, "B": 2.0})


async def test_symbols_of_several_makers_are_side_by_side_and_ranked_together(broker: Broker) -> None:
    async with _listening(broker.settings) as (prices, bus):
        makers = [_Maker(bus, str(place)) for place in range(2)]
        for place, maker in enumerate(makers):
            rows = np.array([(0, 0.1 + place, 5.0, 9.0), (1, np.nan, 0.5, 1.0 + place)], RANKING_ROW)
            await maker.tell({f"{place}A": 1.0, f"{place}B": 2.0}, rankings={"1h": rows, "24h": rows[:1]})
        await _shows(prices, {"0A": 1.0, "0B": 2.0, "1A": 1.0, "1B": 2.0})
        assert prices.ranking("1h", "change", 9) == [("V", "1A", 1.1, 5.0, 9.0), ("V", "0A", 0.1, 5.0, 9.0)]
        assert [row[1] for row in prices.ranking("1h", "turnover", 3)] == ["0A", "1A", "1B"]
        assert [row[1] for row in prices.ranking("24h", "volatility", 1)] == ["0A"]
        assert prices.ranking("7d", "change", 9) == []
        makers[0].epoch = 2
        await makers[0].tell({})
        await until(lambda: len(prices.ranking("1h", "change", 9)) == 1, "the ranking of the new epoch")


async def test_what_is_expected_is_asked_for_once_a_maker_is_heard(broker: Broker) -> None:
    async with _listening(broker.settings) as (prices, bus):
        maker = _Maker(bus, held={"A": (1, 2, 3, 4.0, 5.0)})
        prices.track([("V", "A"), ("V", "gone")])
        async with maker.answering():
            await maker.tell({})
            await _shows(prices, {"A": 4.0})


async def test_they_are_those_of_the_real_bar_maker(settings: Settings, venue: str) -> None:
    rows = market(random.Random(11), 300)
    newest = max(row[0] for row in rows)
    later = [(newest + place, f"S{place}", 1_000 + place, 50.0 + place, 1.0, 1, 0) for place in range(1, 6)]
    async with (
        _listening(settings) as (prices, _),
        writing(settings),
        making(settings),
        connected(settings, "feed") as feed,
    ):
        await publish(feed, trades(venue, rows))
        await until_equal(settings, venue, ["S1"])
        await until(lambda: len(prices.live_symbols(venue)) == 6, "all symbols to be live")
        await publish(feed, trades(venue, later))
        await until(
            lambda: all(prices.by_symbol(venue).get(row[1], (0,))[0] == row[2] for row in later),
            "the later trades",
        )
        for ts, symbol, seq, price, size, _, _ in later:
            assert prices.by_symbol(venue)[symbol] == (seq, ts, ts + 5, price, size)
