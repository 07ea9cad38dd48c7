"""Bars of one series for the tests of features: a random walk like a market, exact in binary."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import DAY, MINUTE

Bars = NDArray[np.void]

BAR = np.dtype(
    [
        ("ts", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("turnover", "<f8"),
        ("trades", "<i8"),
        ("buy_volume", "<f8"),
    ]
)
MIDNIGHT = 19_945 * DAY
"""2024-08-10T00:00:00Z."""
_TICK = 1 / 64


def walk(count: int, seed: int = 1, start: int = MIDNIGHT, step: int = MINUTE) -> Bars:
    """Prices in ticks of 1/64 near 4,000, so that sums of them are exact; gaps, dojis and bare bodies among them."""
    random = np.random.default_rng(seed)
    calm = np.exp(random.normal(0, 0.8, count))
    body = np.round(random.normal(0, 40, count) * calm * (random.random(count) > 0.1))
    gap = np.round(random.normal(0, 25, count) * calm * (random.random(count) < 0.4))
    # Pulled back towards the start, so that it stays positive.
    close = np.empty(count)
    level = 256_000.0
    for i in range(count):
        level += gap[i] + body[i] + np.round((256_000 - level) / 500)
        close[i] = level
    upper, lower = (
        np.round(random.exponential(20, count) * calm * (random.random(count) > 0.3)) for _ in range(2)
    )
    bars = np.zeros(count, BAR)
    bars["ts"] = start + np.arange(count) * step
    bars["close"], bars["open"] = close * _TICK, (close - body) * _TICK
    bars["high"] = np.maximum(bars["open"], bars["close"]) + upper * _TICK
    bars["low"] = np.minimum(bars["open"], bars["close"]) - lower * _TICK
    bars["trades"] = random.integers(1, 200, count)
    bars["volume"] = bars["trades"] * random.integers(1, 64, count) * _TICK
    bars["turnover"] = bars["volume"] * (bars["high"] + bars["low"]) / 2
    bars["buy_volume"] = np.round(bars["volume"] * random.random(count) * 64) * _TICK
    return bars


def flat(count: int, price: float = 100.0, volume: float = 0.0) -> Bars:
    """Bars in which nothing moves."""
    bars = np.zeros(count, BAR)
    bars["ts"] = MIDNIGHT + np.arange(count) * MINUTE
    for name in ("open", "high", "low", "close"):
        bars[name] = price
    bars["volume"] = volume
    bars["turnover"] = volume * price
    return bars


def candles(*rows: tuple[float, float, float, float]) -> Bars:
    """Bars of (open, high, low, close), a minute each from midnight, of one trade of size 1."""
    bars = flat(len(rows), volume=1.0)
    for name, column in zip(("open", "high", "low", "close"), np.array(rows).T, strict=True):
        bars[name] = column
    bars["turnover"] = bars["close"]
    bars["trades"] = 1
    return bars
