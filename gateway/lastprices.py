"""The last prices and the rankings of all symbols that are live, from the frames of all bar makers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from tapehouse.bus import Bus
from tapehouse.errors import ConnectError, WireError
from tapehouse.frames import Frame
from tapehouse.live import Frames, Heard
from tapehouse.rankings import RANKED, merged

Key = tuple[str, str]
"""Venue and symbol."""
Last = tuple[int, int, int, float, float]
"""seq, ts_event, ts_recv, price, size; times in ns."""
_FIELDS = ["seq", "ts_event", "ts_recv", "price", "size"]
_SILENT_S = 5.0
"""A maker tells at least one frame a second: what one has told that is silent for so long is void."""
_LOOK_S = 1.0
_SHORT = ("1M",)
"""Of a snapshot the interval with the fewest bars: the last price alone is wanted."""
_SIDE_BY_SIDE = 16
_KNOWN_MOST = 100_000


@dataclass
class _Maker:
    """What one bar maker has told in this epoch."""

    epoch: int
    heard_at: float
    told: dict[Key, tuple[int, Last]] = field(default_factory=dict)
    """The last price, and the n of the frame it came with."""
    timeless: set[Key] = field(default_factory=set)
    """Symbols whose last price is of an unknown time."""
    rankings: dict[str, tuple[list[Key], NDArray[Any]]] = field(default_factory=dict)


class LastPrices:
    """Kept as long as `run` runs, in the thread of its loop.

    Held is what was told without a break since: what a maker told before a new epoch or missing frames, or before it
    fell silent, is let go, and asked for anew. A price whose time is not known is not held.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._makers: dict[str, _Maker] = {}
        self._venues: dict[str, dict[str, Last]] = {}
        self._known: set[Key] = set()
        self._missing: set[Key] = set()
        self._asked = asyncio.Event()

    def of(self, venue: str) -> Mapping[str, Last]:
        """The last price of each symbol of a venue that is live."""
        return self._venues.get(venue, {})

    def live(self, venue: str) -> set[str]:
        """The symbols of a venue that are live, those included whose last price is not held."""
        timeless = [key for maker in self._makers.values() for key in maker.timeless]
        return {*self.of(venue), *(symbol for name, symbol in timeless if name == venue)}

    def ranking(self, window: str, measure: str, most: int) -> list[tuple[str, str, float, float, float]]:
        """(venue, symbol, change, volatility, turnover), highest first by one of these measures."""
        keys: list[Key] = []
        shards = []
        for maker in self._makers.values():
            if window in maker.rankings:
                named, rows = maker.rankings[window]
                numbered = rows.astype(RANKED)
                numbered["key"] += len(keys)
                keys += named
                shards.append(numbered)
        return [(*keys[key], *measures) for key, *measures in merged(shards, measure, most).tolist()]

    def expect(self, keys: Iterable[Key]) -> None:
        """Symbols that may be live: those not known yet are asked for."""
        found = {*keys} - self._known
        if found and len(self._known) < _KNOWN_MOST:
            self._known |= found
            self._missing |= found
            self._asked.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        loop = asyncio.get_running_loop()
        async with Frames.listening(self._bus) as frames, asyncio.TaskGroup() as tasks:
            for _ in range(_SIDE_BY_SIDE):
                tasks.create_task(self._fill(frames))
            while True:
                with contextlib.suppress(TimeoutError, WireError):
                    self._take(await frames.next(_LOOK_S), loop.time())
                for name, maker in list(self._makers.items()):
                    if loop.time() - maker.heard_at > _SILENT_S:
                        self._void(name)

    def _take(self, heard: Heard, now: float) -> None:
        frame = heard.frame
        maker = self._makers.get(frame.maker)
        if heard.broken or maker is None:
            self._void(frame.maker)
            maker = self._makers[frame.maker] = _Maker(frame.epoch, now)
            self._ask()
        maker.heard_at = now
        self._tell(maker, frame)
        # A maker that began with what is stored tells of a last price when it changes.
        self.expect(frame.keys)
        for window, rows in (frame.rankings or {}).items():
            maker.rankings[window] = (list(frame.keys), rows)

    def _tell(self, maker: _Maker, frame: Frame) -> None:
        """Take the last prices of a frame or snapshot; of two that tell of a symbol the later holds."""
        rows: list[Last] = frame.latest[_FIELDS].tolist()
        for key, row in zip(frame.latest["key"].tolist(), rows, strict=True):
            named = frame.keys[key]
            if named in maker.told and maker.told[named][0] > frame.n:
                continue
            if row[1] == 0:
                self._forget(maker, named)
                maker.timeless.add(named)
                continue
            maker.timeless.discard(named)
            maker.told[named] = (frame.n, row)
            self._venues.setdefault(named[0], {})[named[1]] = row

    def _void(self, name: str) -> None:
        maker = self._makers.pop(name, None)
        for key in list(maker.told) if maker else ():
            assert maker is not None
            self._forget(maker, key)

    def _forget(self, maker: _Maker, key: Key) -> None:
        """Let go of a price, unless another maker has told it since."""
        told = maker.told.pop(key, None)
        venue = self._venues.get(key[0], {})
        if told is not None and venue.get(key[1]) is told[1]:
            del venue[key[1]]

    def _ask(self) -> None:
        """Have all be asked for that are known and not held."""
        self._missing |= {key for key in self._known if key[1] not in self.of(key[0])}
        if self._missing:
            self._asked.set()

    async def _fill(self, frames: Frames) -> None:
        """Ask for what is missing, one symbol after the other."""
        while True:
            await self._asked.wait()
            if not self._missing:
                self._asked.clear()
                continue
            venue, symbol = self._missing.pop()
            if symbol in self.of(venue):
                continue
            # A symbol that no maker holds comes back with its next trade.
            with contextlib.suppress(ConnectError, WireError):
                frame = await frames.snapshot(venue, symbol, _SHORT)
                maker = self._makers.get(frame.maker)
                if maker is not None and maker.epoch == frame.epoch:
                    self._tell(maker, frame)
