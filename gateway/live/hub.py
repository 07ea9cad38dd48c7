"""The hub: topics that sockets follow, kept up by the bar makers' frames and by the stream of ticks."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from gateway.last_prices import LastPrices
from gateway.live.account_candles import AccountCandlesTopic
from gateway.live.bars import BarSeries, BarsTopic, frame_rows
from gateway.live.candle_refresher import CandleRefresher
from gateway.live.client import LiveClient
from gateway.live.history import History
from gateway.live.message import Message
from gateway.live.outbox import Outbox
from gateway.live.prices import LatestTopic, RankingsTopic
from gateway.live.requests import Subscribe
from gateway.live.tick_source import TickSource
from gateway.live.ticks import GapsTopic, QuotesTopic, Row, TradesTopic
from gateway.live.topic import Topic
from tapehouse.clock import MAX_TS, NAMES, now_ns
from tapehouse.errors import ConnectError, WireError
from tapehouse.stream.bus import Bus
from tapehouse.stream.frame_reader import ReceivedFrame
from tapehouse.stream.frames import Frame
from tapehouse.stream.live_messages import HEARTBEAT, HEARTBEAT_S

_KEPT_S = 60.0
"""How long a topic that nobody follows is kept up, for clients that come back."""
_SWEEP_S = 1.0
_RETRY_S = 5.0
_HEARTBEAT_TURNS = 50
_PENDING_FRAMES = 1_000
_READY_S = 10.0
_SOURCES = {"account_candles": "account_trades"}
"""The kind of the stream's rows by channel, where they are not called the same."""
SeriesKey = tuple[str, str, str]
"""(venue, symbol, interval)."""


class Hub:
    """All topics. Only for the thread of its event loop; current while `run` runs.

    The version of all topics is one number that rises with each frame and each message of ticks.
    """

    def __init__(self, bus: Bus, prices: LastPrices, history: History) -> None:
        self.epoch = now_ns()
        self.n = 1
        self._bus = bus
        self._prices = prices
        self._history = history
        self._topics: dict[tuple[Any, ...], Topic] = {}
        self._numbers = 0
        self._series: dict[SeriesKey, BarSeries] = {}
        self._loading: dict[SeriesKey, asyncio.Task[None]] = {}
        self._waiting_frames: dict[SeriesKey, list[Frame]] = {}
        """Frames that came while the snapshot of a series was requested."""
        self._failed: set[SeriesKey] = set()
        """Series whose snapshot no bar maker has given; it is requested again."""
        self._sources: dict[str, tuple[TickSource, asyncio.Task[None]]] = {}
        self._candles = CandleRefresher(history, self._next_version)
        self._received: asyncio.Queue[ReceivedFrame] = asyncio.Queue(_PENDING_FRAMES)
        self._incomplete: set[str] = set()
        """Makers of which a frame was dropped."""
        self.outbox = Outbox()
        self._awaited: Counter[SeriesKey | str] = Counter()
        """How many clients wait for a series, or the source of a kind: it is not dropped meanwhile."""
        self.lag_ms: float | None = None
        """From published to here, of the newest frame."""
        self.clients: set[LiveClient] = set()

    async def run(self) -> None:
        """Publish what changes until cancelled."""
        self._prices.listeners.append(self._on_frame)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._apply_frames())
                tasks.create_task(self._candles.run())
                tasks.create_task(self._send_heartbeats())
                tasks.create_task(self._sweep())
        finally:
            self._prices.listeners.remove(self._on_frame)
            for client in list(self.clients):
                client.close(1001, "the gateway stops")
            running = [*self._loading.values(), *(task for _, task in self._sources.values())]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def topic(self, request: Subscribe) -> Topic:
        """The topic that a request is for, whose rows are there. Raises TapehouseError."""
        venue = request.venue
        if request.symbol and not venue:
            kind = "quotes" if request.channel == "quotes" else "trades"
            venue = await self._history.venue_of(kind, request.symbol)
        if request.channel == "bars":
            key = (venue, request.symbol, request.interval, request.full)
            with self._waiting_for(key[:3]):
                series = await self._loaded_series(key[:3])
                return self._known(("bars", *key), lambda number: self._bars_topic(number, key, series))
        if request.channel == "rankings":
            ranked = (request.window, request.measure, request.limit)
            return self._known(
                ("rankings", *ranked),
                lambda number: RankingsTopic(number, self.epoch, self.n, ranked, self._prices.ranking),
            )
        if request.channel == "latest":
            return self._known(
                ("latest", venue, request.symbol),
                lambda number: self._latest_topic(number, venue, request.symbol),
            )
        if request.channel == "account_candles":
            return await self._candles_topic(request.account, request.interval)
        with self._waiting_for(request.channel):
            return await self._tick_topic(request.channel, venue, request.symbol)

    @contextlib.contextmanager
    def _waiting_for(self, key: SeriesKey | str) -> Iterator[None]:
        self._awaited[key] += 1
        try:
            yield
        finally:
            self._awaited[key] -= 1
            if not self._awaited[key]:
                del self._awaited[key]

    async def _tick_topic(self, channel: str, venue: str, symbol: str) -> Topic:
        source = await self._ready_source(channel)
        if channel == "gaps":
            return self._known(("gaps",), lambda number: GapsTopic(number, self.epoch, self.n))
        source.wanted.add((venue, symbol))

        def read_last(count: int) -> Any:
            return self._history.ticks(channel, venue, symbol, count)

        def create(number: int) -> Topic:
            key = (venue, symbol)
            if channel == "quotes":
                quotes = QuotesTopic(number, self.epoch, self.n, key, read_last)
                recent = source.recent(venue, symbol)
                if recent:
                    quotes.add(recent, self.n)
                return quotes
            return TradesTopic(number, self.epoch, self.n, key, source.recent(venue, symbol), read_last)

        return self._known((channel, venue, symbol), create)

    async def _candles_topic(self, account: str, interval: str) -> Topic:
        with self._waiting_for("account_trades"):
            source = await self._ready_source("account_trades")
            key = (account, interval)
            return self._known(
                ("account_candles", *key),
                lambda number: self._candles.create(number, self.epoch, self.n, key, source),
            )

    def _known(self, key: tuple[Any, ...], create: Callable[[int], Topic]) -> Topic:
        if key not in self._topics:
            self._numbers += 1
            self._topics[key] = create(self._numbers)
            self._topics[key].idle_since = asyncio.get_running_loop().time()
        return self._topics[key]

    def _bars_topic(self, number: int, key: tuple[str, str, str, bool], series: BarSeries) -> BarsTopic:
        def read_older(end_ns: int, count: int) -> Any:
            return self._history.bars(*key[:3], end_ns, count)

        return BarsTopic(number, self.epoch, self.n, key, series, read_older)

    def _latest_topic(self, number: int, venue: str, symbol: str) -> LatestTopic:
        last = self._prices.by_symbol(venue).get(symbol)
        return LatestTopic(
            number,
            self.epoch,
            self.n,
            (venue, symbol),
            last,
            lambda: self._history.last_price(venue, symbol),
        )

    # Frames of bar makers

    def _on_frame(self, received: ReceivedFrame) -> None:
        """Take a frame from the reader; where there is no room for it, the oldest one is as good as missing."""
        if self._received.full():
            self._incomplete.add(self._received.get_nowait().frame.maker)
        self._received.put_nowait(received)

    async def _apply_frames(self) -> None:
        while True:
            received = await self._received.get()
            frame = received.frame
            self.n += 1
            self.lag_ms = max(0.0, (now_ns() - frame.sent_ns) / 1e6)
            if received.needs_snapshot or frame.maker in self._incomplete:
                self._incomplete.discard(frame.maker)
                self._reload(frame.maker)
            for key, rows in self._followed_bars(frame):
                if key in self._waiting_frames:
                    self._waiting_frames[key].append(frame)
                elif self._series[key].is_before(frame):
                    self._apply_bars(key, frame, rows)
            self._apply_revised(frame)
            self._apply_prices(frame)
            # Other work has its turn also while frames wait.
            await asyncio.sleep(0)

    def _followed_bars(self, frame: Frame) -> Iterable[tuple[SeriesKey, Any]]:
        """The bars of each followed series in a frame."""
        if not len(frame.bars) or not self._series:
            return
        symbols = {key[:2] for key in self._series}
        for place, named in enumerate(frame.keys):
            if named not in symbols:
                continue
            of_symbol = frame.bars[frame.bars["key"] == place]
            for interval in np.unique(of_symbol["interval"]).tolist():
                key = (*named, NAMES[interval])
                if key in self._series:
                    yield key, of_symbol[of_symbol["interval"] == interval]

    def _apply_bars(self, key: SeriesKey, frame: Frame, rows: Any) -> None:
        changes = self._series[key].apply(frame_rows(frame, rows), self.n)
        for topic in self._bars_topics(key):
            topic.publish_changes(changes, self.n)

    def _apply_revised(self, frame: Frame) -> None:
        for place, start, end in frame.revised:
            for key, series in list(self._series.items()):
                if key[:2] == frame.keys[place]:
                    series.note_revised(start, end, self.n)
                    self._publish_revised(key, start, end)

    def _publish_revised(self, key: SeriesKey, start_ns: int, end_ns: int) -> None:
        for topic in self._bars_topics(key):
            topic.publish_revised(start_ns, end_ns, self.n)

    def _apply_prices(self, frame: Frame) -> None:
        for place in frame.latest["key"].tolist():
            venue, symbol = frame.keys[place]
            topic = self._topics.get(("latest", venue, symbol))
            last = self._prices.by_symbol(venue).get(symbol)
            if isinstance(topic, LatestTopic) and last is not None:
                topic.update(last, self.n)
        if frame.rankings is not None:
            for topic in list(self._topics.values()):
                if isinstance(topic, RankingsTopic):
                    topic.update(self.n)

    def _bars_topics(self, key: SeriesKey) -> list[BarsTopic]:
        found = (self._topics.get(("bars", *key, full)) for full in (False, True))
        return [topic for topic in found if isinstance(topic, BarsTopic)]

    # Snapshots of bars

    async def _loaded_series(self, key: SeriesKey) -> BarSeries:
        if key not in self._series:
            self._series[key] = BarSeries(self.n)
            self._load(key)
        while key in self._loading:
            # Not awaited itself: it is cancelled where a newer request takes its place.
            await asyncio.wait({self._loading[key]})
        return self._series[key]

    def _reload(self, maker: str) -> None:
        """Request all series anew that are a maker's, or nobody's yet."""
        for key, series in self._series.items():
            if series.loaded is None or series.loaded[0] == maker:
                self._load(key)

    def _load(self, key: SeriesKey) -> None:
        if key in self._loading:
            # Its snapshot may be of before the frames that are missing.
            self._loading[key].cancel()
        self._waiting_frames[key] = []
        self._loading[key] = asyncio.create_task(self._load_snapshot(key))

    async def _load_snapshot(self, key: SeriesKey) -> None:
        """Replace a series by its snapshot, then apply the frames that came meanwhile and are newer."""
        series, is_first = self._series[key], self._series[key].loaded is None
        self._failed.add(key)
        with contextlib.suppress(ConnectError, WireError):
            venue, symbol, interval = key
            frame = await self._prices.snapshot(venue, symbol, [interval])
            rows = frame_rows(frame, frame.bars)
            changes = series.replace(rows, self.n + 1)
            series.loaded = (frame.maker, frame.epoch, frame.n)
            self._failed.discard(key)
            self.n += 1
            for topic in self._bars_topics(key):
                topic.publish_changes(changes, self.n)
            if not is_first:
                # Frames are missing: they may have announced changes of older bars.
                end = min(series.first, MAX_TS) - 1
                series.note_revised(0, end, self.n)
                self._publish_revised(key, 0, end)
        waiting = self._waiting_frames.pop(key, [])
        self._loading.pop(key, None)
        for frame in waiting:
            for found, rows in self._followed_bars(frame):
                if found == key and series.is_before(frame):
                    self.n += 1
                    self._apply_bars(key, frame, rows)

    # The stream of ticks

    async def _ready_source(self, kind: str) -> TickSource:
        if kind not in self._sources:
            source = TickSource(
                self._bus, kind, lambda *rows: self._on_rows(kind, *rows), self._candles.on_written
            )
            self._sources[kind] = source, asyncio.create_task(source.run())
        source, _ = self._sources[kind]
        try:
            async with asyncio.timeout(_READY_S):
                await source.is_ready.wait()
        except TimeoutError:
            raise ConnectError(
                f"{kind}: no answer of the stream within {_READY_S:g} s", remedy="Look at `tapehouse status`."
            ) from None
        return source

    def _on_rows(self, kind: str, venue: str, symbol: str, rows: Sequence[Row]) -> None:
        if kind == "account_trades":
            self._candles.touch(symbol, [ts for (ts,) in rows])
            return
        topic = self._topics.get(("gaps",) if kind == "gaps" else (kind, venue, symbol))
        if isinstance(topic, TradesTopic | QuotesTopic | GapsTopic):
            self.n += 1
            topic.add(rows, self.n)

    def _next_version(self) -> int:
        self.n += 1
        return self.n

    # Time

    async def _send_heartbeats(self) -> None:
        """Send each client one every HEARTBEAT_S: some at a time, so that no frame waits for those of all."""
        while True:
            turns: list[list[LiveClient]] = [[] for _ in range(_HEARTBEAT_TURNS)]
            for client in self.clients:
                turns[client.number % _HEARTBEAT_TURNS].append(client)
            for clients in turns:
                await asyncio.sleep(HEARTBEAT_S / _HEARTBEAT_TURNS)
                self._send_heartbeat(clients)

    def _send_heartbeat(self, clients: Iterable[LiveClient]) -> None:
        sent, lag = now_ns(), None if self.lag_ms is None else round(self.lag_ms)
        message = Message([HEARTBEAT, sent, lag], partial(dict, type="heartbeat", sent=sent, lag=lag))
        for client in self.clients.intersection(clients):
            client.check_alive()
            if not client.is_slow and client in self.clients:
                client.send(message)

    async def _sweep(self) -> None:
        """Drop what nobody follows, cut clients that stay slow, request missing snapshots again."""
        loop = asyncio.get_running_loop()
        requested_at = loop.time()
        while True:
            await asyncio.sleep(_SWEEP_S)
            if loop.time() - requested_at > _RETRY_S:
                requested_at = loop.time()
                for key in self._failed - self._loading.keys():
                    self._load(key)
            for client in list(self.clients):
                client.check_speed()
            for key, topic in list(self._topics.items()):
                if topic.idle_since is not None and loop.time() - topic.idle_since > _KEPT_S:
                    self._drop(key)
            for series in [series for series in self._series if not self._is_used(series)]:
                self._drop_series(series)
            for kind in [kind for kind in self._sources if not self._has_topics(kind)]:
                _, task = self._sources.pop(kind)
                task.cancel()

    def _is_used(self, key: SeriesKey) -> bool:
        return bool(self._bars_topics(key)) or key in self._loading or key in self._awaited

    def _has_topics(self, kind: str) -> bool:
        return kind in self._awaited or any(_SOURCES.get(key[0], key[0]) == kind for key in self._topics)

    def _drop(self, key: tuple[Any, ...]) -> None:
        topic = self._topics.pop(key)
        if isinstance(topic, AccountCandlesTopic):
            self._candles.drop(topic)
        elif key[0] in self._sources and len(key) == 3:
            self._sources[key[0]][0].wanted.discard(key[1:])

    def _drop_series(self, key: SeriesKey) -> None:
        del self._series[key]
        self._failed.discard(key)
