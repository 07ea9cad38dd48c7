"""The hub before a bar maker that publishes what a test has it publish: snapshots and frames without a seam."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgpack
import numpy as np
import pytest
from nats.aio.msg import Msg

from gateway.last_prices import LastPrice, LastPrices
from gateway.live.bars import BarRow
from gateway.live.hub import Hub
from gateway.live.message import Message
from gateway.live.requests import Subscribe
from gateway.live.ticks import Row
from gateway.live.topic import Subscription
from tapehouse.clock import MINUTE, NAMES, SECOND, parse_ns
from tapehouse.stream.bus import Bus
from tapehouse.stream.frames import FRAME_BAR, FRAME_LATEST, encode
from tapehouse.stream.live_messages import BAR_FIELDS, BARS, LATEST, REVISED, SUBSCRIBED, unscaled
from tests.broker import Broker
from tests.ingest.barmaker.livebars import connected
from tests.waiting import until

_FIRST = parse_ns("2024-03-01T10:00:00Z")
_PRICES = ("open", "high", "low", "close")


@dataclass
class _Maker:
    """A bar maker of one symbol's 1-minute bars."""

    bus: Bus
    name: str = "all"
    epoch: int = 1
    n: int = 0
    closes: dict[int, float] = field(default_factory=dict)
    """By minute since the first."""
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    """Snapshots are given while it is set."""

    async def publish(self, changed: dict[int, float | None], *, lost: bool = False, **more: Any) -> None:
        """The next frame: closes by minute, None for a bar that is removed."""
        self.n += 1
        for minute, close in changed.items():
            if close is None:
                self.closes.pop(minute, None)
            else:
                self.closes[minute] = close
        frame = self._frame(changed, **more)
        if not lost:
            await self.bus.client.publish(f"frames.{self.name}", frame)
            await self.bus.client.flush()

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        self.answers.set()
        async with self.bus.subscribed(f"bars.snapshot.{self.name}", self._answer):
            await self.bus.client.flush()
            yield

    async def _answer(self, message: Msg) -> None:
        await self.answers.wait()
        asked = json.loads(message.data)
        known = asked["symbol"] == "A"
        await self.bus.client.publish(
            message.reply, self._frame(dict(self.closes) if known else {}, empty=not known)
        )

    def _frame(self, closes: dict[int, float | None], *, empty: bool = False, **more: Any) -> bytes:
        bars = np.zeros(len(closes), FRAME_BAR)
        bars["interval"] = NAMES.index("1m")
        for place, (minute, close) in enumerate(closes.items()):
            bars["ts"][place] = _FIRST + minute * MINUTE
            bars["trades"][place] = 0 if close is None else 1
            for name in _PRICES:
                bars[name][place] = close or 0.0
        latest = np.zeros(1 if closes else 0, FRAME_LATEST)
        if closes:
            latest["seq"], latest["ts_event"], latest["price"] = (
                self.n,
                _FIRST + self.n,
                list(closes.values())[-1] or 1.0,
            )
        keys = [] if empty else [("V", "A")]
        return encode(self.name, self.epoch, self.n, keys, bars, latest if keys else None, **more)


@dataclass(eq=False)
class _Client:
    """A socket's end: what it was sent, and the bars that follow from it."""

    of_bars: bool = True
    is_slow: bool = False
    wants_text: bool = False
    sent: list[Any] = field(default_factory=list)
    behind: list[Subscription] = field(default_factory=list)
    closes: dict[int, float] = field(default_factory=dict)

    def send(self, message: Message) -> None:
        items = msgpack.unpackb(message.binary[2:] if message.binary[1] < 126 else message.binary[4:])
        self.sent.append(items)
        if items[0] == SUBSCRIBED:
            self.decimals = items[6]
            if not items[5]:
                self.closes = {}
            if self.of_bars:
                self._apply(items[7])
        elif items[0] == BARS:
            self._apply(items[3])
        elif items[0] == REVISED:
            # The store has none of before the bars in memory.
            first, last = ((ts - _FIRST) // MINUTE for ts in items[2:])
            self.closes = {at: close for at, close in self.closes.items() if not first <= at <= last}

    def fall_behind(self, subscription: Subscription) -> None:
        self.behind.append(subscription)

    def catch_up(self) -> None:
        """Take again what is sent, after what was missed."""
        self.is_slow = False
        behind, self.behind = self.behind, []
        for subscription in behind:
            after, subscription.missed_after = subscription.missed_after, None
            assert after is not None
            for message in subscription.topic.catch_up(after):
                self.send(message)

    @property
    def version(self) -> int:
        return max(items[4] if items[0] == SUBSCRIBED else items[2] for items in self.sent)

    def of(self, kind: int) -> list[Any]:
        return [items for items in self.sent if items[0] == kind]

    def _apply(self, rows: list[list[Any]]) -> None:
        for ts, mask, *values in rows:
            minute = (ts * SECOND - _FIRST) // MINUTE
            if not mask:
                self.closes.pop(minute, None)
            elif mask & 1:
                self.closes[minute] = unscaled(values[0], self.decimals)


class _Stored:
    """What the stores have; the query surface itself is tested with the real ones."""

    def __init__(self) -> None:
        self.closes: dict[int, float] = {}
        self.reads = 0

    async def bars(
        self, venue: str, symbol: str, interval: str, end_ns: int, count: int
    ) -> list[tuple[int, BarRow]]:
        self.reads += 1
        found = [(_FIRST + minute * MINUTE, close) for minute, close in sorted(self.closes.items())]
        found = [(ts, close) for ts, close in found if ts < end_ns]
        return [(ts, _row(close)) for ts, close in found[-count:]]

    async def ticks(self, kind: str, venue: str, symbol: str, count: int) -> list[Row]:
        return []

    async def last_price(self, venue: str, symbol: str) -> LastPrice | None:
        return None

    async def venue_of(self, kind: str, symbol: str) -> str:
        return "V"


def _row(close: float) -> BarRow:
    values = dict.fromkeys(_PRICES, close) | {"trades": 1, "final": True}
    return tuple(values.get(name, 0) for name in BAR_FIELDS)


@dataclass
class _Stand:
    hub: Hub
    maker: _Maker
    stored: _Stored
    prices: LastPrices

    async def follow(self, client: _Client, **more: Any) -> Subscription:
        request = Subscribe(1, "bars", "V", "A", "1m", **({"last": 100} | more))
        topic = await self.hub.topic(request)
        history = await topic.read_history(request)
        return topic.subscribe(client, request, history)

    async def shows(self, client: _Client, expected: dict[int, float] | None = None) -> None:
        def right() -> bool:
            return client.closes == (self.maker.closes if expected is None else expected)

        await until(right, lambda: f"{self.maker.closes}, was {client.closes}")


@asynccontextmanager
async def _running(broker: Broker) -> AsyncIterator[_Stand]:
    async with connected(broker.settings, "gateway") as bus, connected(broker.settings, "barmaker") as makers:
        prices, stored = LastPrices(bus), _Stored()
        hub = Hub(bus, prices, stored)  # type: ignore[arg-type]  # as much of it as is used here
        tasks = [asyncio.create_task(prices.run()), asyncio.create_task(hub.run())]
        maker = _Maker(makers)
        try:
            await until(lambda: bus.client._subs != {}, "it to listen")
            await bus.client.flush()
            async with maker.answering():
                yield _Stand(hub, maker, stored, prices)
                assert not any(task.done() for task in tasks), tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _known_to(stand: _Stand) -> None:
    """Wait until the hub has received a frame of the maker."""
    await stand.maker.publish({0: 1.0})
    before = stand.hub.n
    await until(lambda: stand.hub.n > 1 or before > 1, "a frame")


async def test_a_snapshot_is_followed_by_what_changes(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        await stand.maker.publish({1: 2.0, 2: 3.5})
        client = _Client()
        await stand.follow(client)
        await stand.maker.publish({2: 4.25, 3: 5.0})
        await stand.maker.publish({1: None})
        await stand.shows(client, {0: 1.0, 2: 4.25, 3: 5.0})
        # What has not changed is not sent again.
        assert next(len(row) for items in client.of(BARS) for row in items[3]) < 8


async def test_older_bars_of_a_snapshot_come_from_the_stores(broker: Broker) -> None:
    async with _running(broker) as stand:
        stand.stored.closes = {minute: 10.0 + minute for minute in range(-5, 2)}
        await _known_to(stand)
        await stand.maker.publish({1: 2.0})
        client = _Client()
        await stand.follow(client, last=4)
        assert client.closes == {-2: 8.0, -1: 9.0, 0: 1.0, 1: 2.0}
        # Bars that are all in memory are not read.
        await stand.follow(_Client(), last=2)
        assert stand.stored.reads == 1


async def test_frames_that_come_while_a_snapshot_is_made_are_in_no_bar_twice(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        stand.maker.answers.clear()
        client = _Client()
        following = asyncio.create_task(stand.follow(client))
        for minute in range(1, 8):
            await stand.maker.publish({minute: float(minute)})
        stand.maker.answers.set()
        await following
        await stand.maker.publish({8: 8.0})
        await stand.shows(client)


async def test_missing_frames_bring_a_new_snapshot_and_word_of_older_bars(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        client = _Client()
        await stand.follow(client)
        await stand.maker.publish({1: 2.0, 0: None}, lost=True)
        await stand.maker.publish({2: 3.0})
        await stand.shows(client, {1: 2.0, 2: 3.0})
        (revised,) = client.of(REVISED)
        assert revised[2:] == [0, _FIRST + MINUTE - 1]


async def test_a_bar_maker_that_starts_again_replaces_the_bars_of_before(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        client = _Client()
        await stand.follow(client)
        stand.maker.epoch, stand.maker.n = 2, 0
        stand.maker.closes = {0: 1.5, 4: 9.0}
        await stand.maker.publish({})
        await stand.shows(client, {0: 1.5, 4: 9.0})
        await stand.maker.publish({4: 9.5})
        await stand.shows(client)


async def test_a_bar_maker_that_gives_no_snapshot_is_asked_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.live.hub._RETRY_S", 0.5)
    monkeypatch.setattr("tapehouse.stream.frame_reader._RESPONSE_TIMEOUT_S", 0.2)
    async with _running(broker) as stand:
        await _known_to(stand)
        await stand.maker.publish({1: 2.0})
        stand.maker.answers.clear()
        client = _Client()
        await stand.follow(client)
        assert 0 not in client.closes
        stand.maker.answers.set()
        await stand.shows(client, {0: 1.0, 1: 2.0})


async def test_changes_of_bars_older_than_those_in_memory_are_announced(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        client = _Client()
        await stand.follow(client)
        await stand.maker.publish({1: 2.0}, revised=[(0, 5, 7)])
        await until(lambda: bool(client.of(REVISED)), "word of the change")
        assert client.of(REVISED)[0][2:] == [5, 7]


async def test_history_read_before_such_a_change_is_out_of_date(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        request = Subscribe(1, "bars", "V", "A", "1m", last=100)
        topic = await stand.hub.topic(request)
        history = await topic.read_history(request)
        assert topic.is_current(history)
        await stand.maker.publish({}, revised=[(0, 5, 7)])
        await until(lambda: not topic.is_current(history), "the history to be out of date")


async def test_a_slow_client_gets_the_newest_state_once(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        slow, quick = _Client(), _Client()
        await stand.follow(slow)
        await stand.follow(quick)
        slow.is_slow = True
        for step in range(20):
            await stand.maker.publish({1: float(step), 2: float(-step), 3 + step: 1.0})
        await stand.maker.publish({0: None})
        await stand.shows(quick)
        assert len(quick.of(BARS)) == 21
        assert not slow.of(BARS)
        slow.catch_up()
        assert slow.closes == quick.closes
        assert len(slow.of(BARS)) == 1


async def test_a_client_that_comes_back_gets_what_it_missed_if_that_is_known(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        client = _Client()
        subscription = await stand.follow(client)
        await stand.maker.publish({1: 2.0})
        await stand.shows(client)
        topic, version = subscription.topic, client.version
        topic.unsubscribe(client, 0.0)
        await stand.maker.publish({1: 3.0, 2: 4.0})
        await until(lambda: topic.n > version, "the change")
        await stand.follow(client, after=(topic.epoch, version))
        assert client.sent[-1][5] is True
        assert [row[0] for row in client.sent[-1][7]] == [
            (_FIRST + minute * MINUTE) // SECOND for minute in (1, 2)
        ]
        assert client.closes == stand.maker.closes
        for after in ((topic.epoch + 1, version), (topic.epoch, 0), (topic.epoch, topic.n + 1)):
            other = _Client()
            await stand.follow(other, after=after)
            assert other.sent[-1][5] is False
            assert other.closes == stand.maker.closes


async def test_last_prices_are_published_as_they_change(broker: Broker) -> None:
    async with _running(broker) as stand:
        await _known_to(stand)
        client = _Client(of_bars=False)
        request = Subscribe(2, "latest", "V", "A")
        topic = await stand.hub.topic(request)
        topic.subscribe(client, request, await topic.read_history(request))
        await stand.maker.publish({1: 2.5})
        await until(lambda: bool(client.of(LATEST)), "a price")
        (latest,) = client.of(LATEST)
        assert (latest[4], unscaled(latest[5], client.decimals)) == (2, 2.5)


async def test_what_nobody_follows_is_dropped(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.live.hub._KEPT_S", 0.1)
    monkeypatch.setattr("gateway.live.hub._SWEEP_S", 0.05)
    async with _running(broker) as stand:
        await _known_to(stand)
        client = _Client()
        subscription = await stand.follow(client)
        number = subscription.topic.number
        await asyncio.sleep(0.3)
        assert (await stand.hub.topic(Subscribe(1, "bars", "V", "A", "1m", last=1))).number == number
        subscription.topic.unsubscribe(client, asyncio.get_running_loop().time())
        await until(lambda: not stand.hub._topics and not stand.hub._series, "the topic to be dropped")


@pytest.mark.parametrize("seed", range(6))
async def test_clients_that_come_at_any_moment_have_the_same_bars(broker: Broker, seed: int) -> None:
    chance = Random(seed)
    async with _running(broker) as stand:
        await _known_to(stand)
        clients: list[_Client] = []
        following: list[asyncio.Task[Subscription]] = []
        for _ in range(120):
            await _act(chance, stand, clients, following)
        await asyncio.gather(*following)
        for client in clients:
            client.catch_up()
        await stand.maker.publish({999: 1.0})
        for client in clients:
            await stand.shows(client)


async def _act(
    chance: Random, stand: _Stand, clients: list[_Client], following: list[asyncio.Task[Subscription]]
) -> None:
    """One thing that may happen, by chance."""
    maker = stand.maker
    some: dict[int, float | None] = {chance.randrange(30): chance.randrange(1, 9999) / 100 for _ in range(3)}
    if chance.random() < 0.2 and maker.closes:
        some[chance.choice(list(maker.closes))] = None
    drawn = chance.random()
    if drawn < 0.6:
        await maker.publish(some)
    elif drawn < 0.65:
        await maker.publish(some, lost=True)
    elif drawn < 0.68:
        maker.epoch, maker.n = maker.epoch + 1, 0
        await maker.publish({})
    elif drawn < 0.8:
        client = _Client()
        clients.append(client)
        following.append(asyncio.create_task(stand.follow(client, last=2_000)))
        await asyncio.sleep(0)
    elif clients:
        client = chance.choice(clients)
        if client.is_slow:
            client.catch_up()
        else:
            client.is_slow = True
