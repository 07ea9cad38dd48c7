"""The last price and the rankings of all live symbols, cached from the frames of all bar makers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from tapehouse.bars.rankings import RANKING_ROW, merge_rankings
from tapehouse.errors import ConnectError, WireError
from tapehouse.stream.bus import Bus
from tapehouse.stream.frame_reader import Frames, ReceivedFrame
from tapehouse.stream.frames import Frame

VenueSymbol = tuple[str, str]
"""Venue and symbol."""
LastPrice = tuple[int, int, int, float, float]
"""seq, ts_event, ts_recv, price, size; times in ns."""
_FIELDS = ["seq", "ts_event", "ts_recv", "price", "size"]
_MAKER_TIMEOUT_S = 5.0
"""A bar maker publishes at least one frame a second; without one for this long its prices are discarded."""
_POLL_S = 1.0
_SNAPSHOT_INTERVALS = ("1M",)
"""The interval with the fewest bars: only the snapshot's last price is used."""
_CONCURRENT_REQUESTS = 16
_MAX_TRACKED = 100_000


@dataclass
class _BarMakerState:
    """What one bar maker has published in its current epoch."""

    epoch: int
    last_frame_s: float
    prices: dict[VenueSymbol, tuple[int, LastPrice]] = field(default_factory=dict)
    """By symbol the number of the frame, and the last price in it."""
    untimed: set[VenueSymbol] = field(default_factory=set)
    """Symbols whose last price has no known time."""
    rankings: dict[str, tuple[list[VenueSymbol], NDArray[Any]]] = field(default_factory=dict)


class LastPrices:
    """A cache that is current while `run` runs; only for the thread of its event loop.

    If a bar maker begins a new epoch, frames of it are missing, or it stops publishing, its prices are discarded and
    requested again. Prices without a known time are not cached.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._makers: dict[str, _BarMakerState] = {}
        self._venues: dict[str, dict[str, LastPrice]] = {}
        self._known: set[VenueSymbol] = set()
        self._missing: set[VenueSymbol] = set()
        self._has_missing = asyncio.Event()
        self._frames: Frames | None = None
        self.listeners: list[Callable[[ReceivedFrame], None]] = []
        """Called with each frame once its prices are cached."""

    def by_symbol(self, venue: str) -> Mapping[str, LastPrice]:
        """The last price of each live symbol of a venue."""
        return self._venues.get(venue, {})

    def live_symbols(self, venue: str) -> set[str]:
        """The live symbols of a venue, including those without a cached price."""
        untimed = [key for maker in self._makers.values() for key in maker.untimed]
        return {*self.by_symbol(venue), *(symbol for name, symbol in untimed if name == venue)}

    def ranking(self, window: str, measure: str, most: int) -> list[tuple[str, str, float, float, float]]:
        """(venue, symbol, change, volatility, turnover) of at most `most` symbols, highest `measure` first."""
        keys: list[VenueSymbol] = []
        shards = []
        for maker in self._makers.values():
            if window in maker.rankings:
                named, rows = maker.rankings[window]
                numbered = rows.astype(RANKING_ROW)
                numbered["key"] += len(keys)
                keys += named
                shards.append(numbered)
        return [(*keys[key], *measures) for key, *measures in merge_rankings(shards, measure, most).tolist()]

    def track(self, keys: Iterable[VenueSymbol]) -> None:
        """Add symbols that may be live; the prices of new ones are requested."""
        found = {*keys} - self._known
        if found and len(self._known) < _MAX_TRACKED:
            self._known |= found
            self._missing |= found
            self._has_missing.set()

    async def snapshot(self, venue: str, symbol: str, intervals: Sequence[str]) -> Frame:
        """A symbol's bars in memory: see `Frames.snapshot`, which this raises the errors of."""
        if self._frames is None:
            raise ConnectError("bars: expected frames of bar makers, were none yet")
        return await self._frames.snapshot(venue, symbol, intervals)

    async def run(self) -> None:
        """Receive frames until cancelled."""
        loop = asyncio.get_running_loop()
        async with Frames.listening(self._bus) as frames, asyncio.TaskGroup() as tasks:
            self._frames = frames
            for _ in range(_CONCURRENT_REQUESTS):
                tasks.create_task(self._fetch_missing(frames))
            while True:
                with contextlib.suppress(TimeoutError, WireError):
                    received = await frames.next(_POLL_S)
                    self._apply_frame(received, loop.time())
                    for listener in self.listeners:
                        listener(received)
                for name, maker in list(self._makers.items()):
                    if loop.time() - maker.last_frame_s > _MAKER_TIMEOUT_S:
                        self._discard_maker(name)

    def _apply_frame(self, received: ReceivedFrame, now: float) -> None:
        frame = received.frame
        maker = self._makers.get(frame.maker)
        if received.needs_snapshot or maker is None:
            self._discard_maker(frame.maker)
            maker = self._makers[frame.maker] = _BarMakerState(frame.epoch, now)
            self._request_unpriced()
        maker.last_frame_s = now
        self._apply_prices(maker, frame)
        # A bar maker that started from stored bars publishes a price only when it changes; request the others.
        self.track(frame.keys)
        for window, rows in (frame.rankings or {}).items():
            maker.rankings[window] = (list(frame.keys), rows)

    def _apply_prices(self, maker: _BarMakerState, frame: Frame) -> None:
        """Store the last prices of a frame or snapshot, except where a later frame had that symbol."""
        rows: list[LastPrice] = frame.latest[_FIELDS].tolist()
        for key, row in zip(frame.latest["key"].tolist(), rows, strict=True):
            named = frame.keys[key]
            if named in maker.prices and maker.prices[named][0] > frame.n:
                continue
            if row[1] == 0:
                self._discard_price(maker, named)
                maker.untimed.add(named)
                continue
            maker.untimed.discard(named)
            maker.prices[named] = (frame.n, row)
            self._venues.setdefault(named[0], {})[named[1]] = row

    def _discard_maker(self, name: str) -> None:
        maker = self._makers.pop(name, None)
        for key in list(maker.prices) if maker else ():
            assert maker is not None
            self._discard_price(maker, key)

    def _discard_price(self, maker: _BarMakerState, key: VenueSymbol) -> None:
        """Remove a price, unless another bar maker has replaced it since."""
        discarded = maker.prices.pop(key, None)
        venue = self._venues.get(key[0], {})
        if discarded is not None and venue.get(key[1]) is discarded[1]:
            del venue[key[1]]

    def _request_unpriced(self) -> None:
        """Request the prices of all known symbols that have none."""
        self._missing |= {key for key in self._known if key[1] not in self.by_symbol(key[0])}
        if self._missing:
            self._has_missing.set()

    async def _fetch_missing(self, frames: Frames) -> None:
        """Fetch the missing prices from the bar makers, one symbol at a time."""
        while True:
            await self._has_missing.wait()
            if not self._missing:
                self._has_missing.clear()
                continue
            venue, symbol = self._missing.pop()
            if symbol in self.by_symbol(venue):
                continue
            # If no bar maker has the symbol, its next trade brings the price.
            with contextlib.suppress(ConnectError, WireError):
                frame = await frames.snapshot(venue, symbol, _SNAPSHOT_INTERVALS)
                maker = self._makers.get(frame.maker)
                if maker is not None and maker.epoch == frame.epoch:
                    self._apply_prices(maker, frame)
