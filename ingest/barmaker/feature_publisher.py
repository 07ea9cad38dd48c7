"""Features of final bars on request: `tapehouse/features/candle.py` applied to bars as they become final.

A client sends the JSON object {"venue", "symbol", "interval"} to `bars.features`. The reply is the document of the
last final bar, or {"error": reason}. Documents of the bars after it are published to
`features.<venue>.<symbol>.<interval>` (each token as `tapehouse.stream.bus.word` writes it) until SUBSCRIPTION_S have
passed without a request. When a final bar is revised, its document is published again with the new revision; those
of later bars are not.
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

from ingest.barmaker.store import BarStore
from tapehouse.bars.engine import BarEngine, Changes
from tapehouse.clock import INTERVALS, NAMES
from tapehouse.errors import TapehouseError
from tapehouse.features.candle import WARM_UP, compute, document
from tapehouse.stream.bus import Bus, word

SUBSCRIPTION_S = 60.0
"""How long a request keeps documents of its series coming."""
_log = structlog.get_logger()


@dataclass
class _FeatureWindow:
    """Final bars of one series, ascending: at least the last bar, WARM_UP before it, and all of its UTC day."""

    window: NDArray[Any]
    expires_at: float
    """When the last request lapses, monotonic s."""

    def upsert(self, bar: Any) -> int:
        """Insert a bar or replace it. Returns its index; -1 for a bar before the window, which is not added."""
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


class FeaturePublisher:
    """Publishes features of the requested series, at most `max_series`. Feed it by `on_changes`."""

    def __init__(
        self, bus: Bus, bars: BarEngine, store: BarStore, max_series: int, *, only_maker: bool
    ) -> None:
        """`only_maker`: no other bar maker runs, so requests for an unknown symbol are answered with an error."""
        self._bus = bus
        self._bars = bars
        self._store = store
        self._max_series = max_series
        self._only_maker = only_maker
        self._series: dict[tuple[int, int], _FeatureWindow] = {}
        self._pending: dict[tuple[int, int, int], Any] = {}
        self._pending_added = asyncio.Event()

    def on_changes(self, changes: Changes) -> None:
        """Queue the final bars among the changes."""
        if not self._series:
            return
        for at in np.flatnonzero(changes.final).tolist():
            key = int(changes.symbols[at]), int(changes.intervals[at])
            if key in self._series and changes.bars["trades"][at]:
                self._pending[*key, int(changes.bars["ts"][at])] = changes.bars[at].copy()
                self._pending_added.set()

    async def run(self) -> None:
        """Answer requests and publish a document for each final bar, until cancelled."""
        async with self._bus.subscribed("bars.features", self._on_request):
            while True:
                await self._pending_added.wait()
                self._pending_added.clear()
                while self._pending:
                    key = next(iter(self._pending))
                    await self._publish(key[:2], self._pending.pop(key))

    async def _publish(self, key: tuple[int, int], bar: Any) -> None:
        series = self._series.get(key)
        if series is None or time.monotonic() > series.expires_at:
            self._series.pop(key, None)
            return
        place = series.upsert(bar)
        if place < 0:
            return
        venue, symbol = self._bars.names[key[0]]
        subject = f"features.{word(venue)}.{word(symbol)}.{NAMES[key[1]]}"
        try:
            message = await self._document(key, series, place)
            await self._bus.client.publish(subject, json.dumps(message).encode())
        except (TapehouseError, NatsError, OSError) as reason:
            _log.warning("features not published", subject=subject, reason=str(reason))

    async def _document(self, key: tuple[int, int], series: _FeatureWindow, place: int) -> dict[str, Any]:
        venue, symbol = self._bars.names[key[0]]
        interval = INTERVALS[NAMES[key[1]]]
        window = series.window[: place + 1]
        end = int(interval.following(window["ts"][-1:])[0])
        quotes = np.full((2, len(window)), np.nan)
        quotes[:, -1] = await self._store.run(self._store.last_quote, venue, symbol, end)
        # The window has all of the last bar's day.
        row = compute(window, interval, place, *quotes, starts_day=True)[0]
        return {**document(window[-1], row, venue, symbol, interval), "revision": int(window[-1]["revision"])}

    async def _on_request(self, message: Msg) -> None:
        try:
            answer = await self._answer_request(message.data)
        except (TapehouseError, NatsError, OSError) as reason:
            answer = {"error": str(reason)}
        if answer is not None:
            with contextlib.suppress(NatsError, OSError):
                await self._bus.client.publish(message.reply, json.dumps(answer).encode())

    async def _answer_request(self, data: bytes) -> dict[str, Any] | None:
        """The document of the last final bar, or an error; None when another bar maker may have the symbol."""
        try:
            request = json.loads(data)
            venue, symbol, at = (
                str(request["venue"]),
                str(request["symbol"]),
                NAMES.index(request["interval"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"error": "features: expected a JSON object with venue, symbol and a known interval"}
        try:
            key = self._bars.symbol_id(venue, symbol), at
        except KeyError:
            return {"error": f"features: {symbol} of {venue} has no live bars"} if self._only_maker else None
        now = time.monotonic()
        if key not in self._series:
            self._series = {one: series for one, series in self._series.items() if series.expires_at > now}
            if len(self._series) >= self._max_series:
                return {
                    "error": f"features: {self._max_series} series are requested already (barmaker.features)"
                }
            self._series[key] = await self._load(venue, symbol, key)
        series = self._series[key]
        series.expires_at = now + SUBSCRIPTION_S
        if not len(series.window):
            return {"error": f"features: {symbol} of {venue} has no final bar of {NAMES[key[1]]} yet"}
        return await self._document(key, series, len(series.window) - 1)

    async def _load(self, venue: str, symbol: str, key: tuple[int, int]) -> _FeatureWindow:
        """The window of a series: bars from the store, then those of the ring."""
        bars, _ = self._bars.read(key[0], NAMES[key[1]])
        before = int(bars["ts"][0]) if len(bars) else self._bars.clock_ns(venue)
        older = await self._store.run(self._store.last_bars, venue, symbol, NAMES[key[1]], before, WARM_UP)
        # Read again: bars may have become final during the query.
        bars, final = self._bars.read(key[0], NAMES[key[1]])
        window = np.concatenate([older, bars[final & (bars["ts"] >= before)]])
        series = _FeatureWindow(window[:-1], 0.0)
        if len(window):
            series.upsert(window[-1])
        return series
