"""A bar maker of the bench: frames in which the bars and last prices of all its symbols change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from nats.aio.msg import Msg

from bench.stand import Stand
from tapehouse.clock import INTERVALS, NAMES, now_ns
from tapehouse.stream.bus import Bus
from tapehouse.stream.frames import FRAME_BAR, FRAME_LATEST, encode

SYMBOLS = [f"S{number}" for number in range(50)]
FRAME_S = 0.1
_MAKER = "bench"


def requests(number: int) -> list[dict[str, Any]]:
    """What the socket of a number subscribes to: the bars and the last price of one symbol."""
    of = {"op": "subscribe", "venue": "bench", "symbol": SYMBOLS[number % len(SYMBOLS)]}
    return [
        {**of, "id": 0, "channel": "bars", "interval": "1m", "last": 1},
        {**of, "id": 1, "channel": "latest"},
    ]


@asynccontextmanager
async def frame_source(platform: Stand) -> AsyncIterator[None]:
    """A bar maker whose bars and last prices all change ten times a second."""
    async with Bus.opened(platform.settings, "barmaker") as bus:
        maker = _Maker(bus)
        async with bus.subscribed(f"bars.snapshot.{_MAKER}", maker.answer):
            task = asyncio.create_task(maker.run())
            try:
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


class _Maker:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._epoch = now_ns()
        self._n = 0
        self._keys = [("bench", symbol) for symbol in SYMBOLS]
        self._chance = np.random.default_rng(1)
        self._bars = np.zeros(len(SYMBOLS), FRAME_BAR)
        self._bars["key"] = np.arange(len(SYMBOLS))
        self._bars["interval"] = NAMES.index("1m")
        self._bars["ts"] = INTERVALS["1m"].start_of(now_ns())
        self._bars["low"] = self._bars["open"] = 60_000.01
        self._latest = np.zeros(len(SYMBOLS), FRAME_LATEST)
        self._latest["key"] = np.arange(len(SYMBOLS))

    async def run(self) -> None:
        at = time.perf_counter()
        while True:
            self._change()
            self._n += 1
            frame = encode(_MAKER, self._epoch, self._n, self._keys, self._bars, self._latest)
            await self._bus.client.publish(f"frames.{_MAKER}", frame)
            at += FRAME_S
            await asyncio.sleep(max(0.0, at - time.perf_counter()))

    async def answer(self, request: Msg) -> None:
        asked = json.loads(request.data)
        key = (asked["venue"], asked["symbol"])
        if key not in self._keys:
            await self._bus.client.publish(request.reply, encode(_MAKER, self._epoch, self._n))
            return
        place = self._keys.index(key)
        bars, latest = self._bars[place : place + 1].copy(), self._latest[place : place + 1].copy()
        bars["key"] = latest["key"] = 0
        await self._bus.client.publish(
            request.reply, encode(_MAKER, self._epoch, self._n, [key], bars, latest)
        )

    def _change(self) -> None:
        """Prices of a cent, sizes of a thousandth, as a busy symbol has them."""
        prices = np.round(60_000 + self._chance.random(len(SYMBOLS)) * 1_000, 2)
        sizes = np.round(self._chance.random(len(SYMBOLS)) * 3, 3)
        self._bars["close"] = prices
        self._bars["high"] = np.maximum(self._bars["high"], prices)
        self._bars["volume"] += sizes
        self._bars["turnover"] += sizes * prices
        self._bars["buy_volume"] += sizes / 2
        self._bars["trades"] += 3
        self._bars["seq_last"] += 3
        self._latest["seq"] += 3
        self._latest["price"], self._latest["size"] = prices, sizes
        self._latest["ts_event"] = self._latest["ts_recv"] = now_ns()
