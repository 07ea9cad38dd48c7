"""The features of each final bar, to whoever asks: `tapehouse/features.py` over bars as they become final.

Who wants them asks at `bars.features` with the JSON object {"venue", "symbol", "interval"}. The answer is the
document of the last final bar, or {"error": why}; those of the bars after it come at
`features.<venue>.<symbol>.<interval>` (words as `tapehouse.bus.word` writes them), as long as somebody asks anew
within LEASE_S. A bar that was final and is revised is told once more, with its revision; those behind it are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from numpy.typing import NDArray

from ingest.barstore import BarStore
from tapehouse.bars import Bars, Changes
from tapehouse.bus import Bus, word
from tapehouse.clock import INTERVALS, NAMES
from tapehouse.errors import TapehouseError
from tapehouse.features import WARM_UP, compute, document

LEASE_S = 60.0
_log = structlog.get_logger()


@dataclass
class _Series:
    """Final bars, ascending: the WARM_UP before the last one, and its UTC day's."""

    window: NDArray[Any]
    until: float
    """When nobody has asked any more, on the steady clock."""

    def put(self, bar: Any) -> int:
        """Add a bar or replace it; returns its place, -1 where it is older than all."""
        at = int(np.searchsorted(self.window["ts"], bar["ts"]))
        if at < len(self.window) and self.window["ts"][at] == bar["ts"]:
            self.window[at] = bar
        elif at == 0 and len(self.window):
            return -1
        else:
            self.window = np.insert(self.window, at, bar)
        day = INTERVALS["1d"].bucket(self.window["ts"][-1:])[0]
        of_day = int(np.searchsorted(self.window["ts"], day))
        spare = max(0, min(len(self.window) - 1 - WARM_UP, of_day))
        self.window = self.window[spare:]
        return at - spare


class Featuring:
    """Keeps the series that are asked for, at most `most`. `took` is told of what changed before it is sent."""

    def __init__(self, bus: Bus, bars: Bars, store: BarStore, most: int, *, only_one: bool) -> None:
        """`only_one`: no other maker may hold what this one does not, so it says so."""
        self._bus = bus
        self._bars = bars
        self._store = store
        self._most = most
        self._only_one = only_one
        self._series: dict[tuple[int, int], _Series] = {}
        self._due: dict[tuple[int, int, int], Any] = {}
        self._came = asyncio.Event()

    def took(self, changes: Changes) -> None:
        """Bars changed."""
        if not self._series:
            return
        for at in np.flatnonzero(changes.final).tolist():
            key = int(changes.symbols[at]), int(changes.intervals[at])
            if key in self._series and changes.bars["trades"][at]:
                self._due[*key, int(changes.bars["ts"][at])] = changes.bars[at].copy()
                self._came.set()

    async def run(self) -> None:
        """Answer, and tell of each final bar, until cancelled."""
        async with self._bus.subscribed("bars.features", self._answer):
            while True:
                await self._came.wait()
                self._came.clear()
                while self._due:
                    key = next(iter(self._due))
                    await self._tell(key[:2], self._due.pop(key))

    async def _tell(self, key: tuple[int, int], bar: Any) -> None:
        series = self._series.get(key)
        if series is None or time.monotonic() > series.until:
            self._series.pop(key, None)
            return
        place = series.put(bar)
        if place < 0:
            return
        venue, symbol = self._bars.names[key[0]]
        subject = f"features.{word(venue)}.{word(symbol)}.{NAMES[key[1]]}"
        try:
            told = await self._document(key, series, place)
            await self._bus.client.publish(subject, json.dumps(told).encode())
        except (TapehouseError, NatsError, OSError) as reason:
            _log.warning("features not told", subject=subject, reason=str(reason))

    async def _document(self, key: tuple[int, int], series: _Series, place: int) -> dict[str, Any]:
        venue, symbol = self._bars.names[key[0]]
        interval = INTERVALS[NAMES[key[1]]]
        window = series.window[: place + 1]
        end = int(interval.following(window["ts"][-1:])[0])
        quotes = np.full((2, len(window)), np.nan)
        quotes[:, -1] = await self._store.run(self._store.quote, venue, symbol, end)
        # The window holds all of the last bar's day.
        row = compute(window, interval, place, *quotes, whole_day=True)[0]
        return {**document(window[-1], row, venue, symbol, interval), "revision": int(window[-1]["revision"])}

    async def _answer(self, message: Msg) -> None:
        try:
            answer = await self._asked(message.data)
        except (TapehouseError, NatsError, OSError) as reason:
            answer = {"error": str(reason)}
        if answer is not None:
            with contextlib.suppress(NatsError, OSError):
                await self._bus.client.publish(message.reply, json.dumps(answer).encode())

    async def _asked(self, data: bytes) -> dict[str, Any] | None:
        """The document of the last final bar; None where another maker may know."""
        try:
            asked = json.loads(data)
            venue, symbol, at = str(asked["venue"]), str(asked["symbol"]), NAMES.index(asked["interval"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"error": "features: expected a JSON object with venue, symbol and an interval there is"}
        try:
            key = self._bars.number(venue, symbol), at
        except KeyError:
            return {"error": f"features: {symbol} of {venue} has no live bars"} if self._only_one else None
        now = time.monotonic()
        if key not in self._series:
            self._series = {one: series for one, series in self._series.items() if series.until > now}
            if len(self._series) >= self._most:
                return {"error": f"features: {self._most} series are asked for already (barmaker.features)"}
            self._series[key] = await self._load(venue, symbol, key)
        series = self._series[key]
        series.until = now + LEASE_S
        if not len(series.window):
            return {"error": f"features: {symbol} of {venue} has no final bar of {NAMES[key[1]]} yet"}
        return await self._document(key, series, len(series.window) - 1)

    async def _load(self, venue: str, symbol: str, key: tuple[int, int]) -> _Series:
        """What is stored before the rings, and what the rings hold."""
        bars, _ = self._bars.read(key[0], NAMES[key[1]])
        before = int(bars["ts"][0]) if len(bars) else self._bars.clock_ns(venue)
        older = await self._store.run(self._store.last_bars, venue, symbol, NAMES[key[1]], before, WARM_UP)
        # Looked at once more: some have become final since.
        bars, final = self._bars.read(key[0], NAMES[key[1]])
        window = np.concatenate([older, bars[final & (bars["ts"] >= before)]])
        series = _Series(window[:-1], 0.0)
        if len(window):
            series.put(window[-1])
        return series
