"""From a published tick to its candle on the screen in Chromium, at 10,000 ticks a second over 50 symbols.

The simulated venue trades 50 symbols, all in the watch list of the page, whose chart shows a symbol of the bench: one
trade of it each 200 to 300 ms, with a price of its own, through intake, stream, bar maker, frames and hub. Its latency
ends when the frame with the price has been painted. Peer: a socket that follows the same bars in Python, without a
page. Frames a second of the page stand beside those of an empty one. PAINT_S makes it shorter for a try.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from contextlib import suppress
from typing import Any

import numpy as np

import tapehouse
from bench.stand import TRADES_ALONE, Stand, stand
from gateway.rest.page import BUILT
from ingest.intake import Intake
from ingest.publisher import Publisher
from ingest.quarantine import Origin, Quarantine
from tapehouse.batch import Batch, Strings
from tapehouse.clock import now_ns
from tapehouse.model import TRADES
from tapehouse.stream import sharding
from tapehouse.stream.bus import Bus

_SECONDS = float(os.environ.get("PAINT_S", "60"))
_RATE, _SYMBOLS = 10_000, 50
_VENUE, _SYMBOL = "bench", "PAINT"
_SEEDED = 21
"""Trades before the page is opened: it has the symbol then."""
_READY_S = 60
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Feed:
    """Trades with prices that rise by a cent."""

    def __init__(self, intake: Intake) -> None:
        self.published_ns: dict[str, int] = {}
        """By price as text, since 1970."""
        self._intake = intake
        self._seq = 0

    async def trade(self) -> None:
        """Publish the next trade."""
        self._seq += 1
        now = now_ns()
        columns = {
            "ts_event": np.array([now]),
            "ts_recv": np.array([now]),
            "symbol": Strings.constant(_SYMBOL, 1),
            "seq": np.array([self._seq]),
            "price": np.array([1_000 + self._seq / 100]),
            "size": np.ones(1),
            "side": np.ones(1, np.int8),
            "flags": np.zeros(1, np.int16),
            "exchange": Strings.constant(None, 1),
            "conditions": Strings.constant(None, 1),
        }
        self.published_ns[f"{1_000 + self._seq / 100:.2f}"] = now_ns()
        await self._intake.put(
            Batch(TRADES, _VENUE, 1, columns), Origin("trades", _VENUE, "bench", {"format": "row"})
        )

    async def run(self, seconds: float) -> None:
        """Trade at random moments for a time."""
        chance = np.random.default_rng(1)
        async with asyncio.timeout(seconds + _READY_S):
            end = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < end:
                await self.trade()
                await asyncio.sleep(chance.uniform(0.2, 0.3))


def measure() -> dict[str, Any]:
    """Ms from publishing to painting, and frames a second."""
    if _CHROMIUM is None or not (BUILT / "index.html").is_file():
        sys.exit("bench: expected Chromium and the built page: `make setup`")
    rate = {"TAPEHOUSE_SIMULATOR__RATE": str(_RATE), "TAPEHOUSE_SIMULATOR__SYMBOLS": str(_SYMBOLS)}
    with stand("sim", **rate, **TRADES_ALONE, TAPEHOUSE_SIMULATOR__HISTORY_DAYS="0") as platform:
        return asyncio.run(_measured(platform))


async def _measured(platform: Stand) -> dict[str, Any]:
    async with Bus.opened(platform.settings, "feed") as bus, Publisher(bus) as publisher:
        shards = await sharding.current(await bus.shared_state())
        feed = _Feed(Intake(publisher, Quarantine(bus), shards))
        for _ in range(_SEEDED):
            await feed.trade()
        await asyncio.to_thread(_wait_until_served, platform)
        received: dict[str, int] = {}
        following = asyncio.create_task(_follow(platform, received))
        said = await _watched(platform, feed)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    painted = _latencies(
        feed.published_ns, {line["title"].split(" ")[0]: line["ms"] * 1e6 for line in said if "title" in line}
    )
    socket = _latencies(feed.published_ns, received)
    rates = next(line["rates"] for line in said if "rates" in line)
    blank = next(line["blank"] for line in said if "blank" in line)
    p50, peer_p50 = float(np.percentile(painted, 50)), float(np.percentile(socket, 50))
    return {
        "p50_ms": round(p50, 1),
        "p99_ms": round(float(np.percentile(painted, 99)), 1),
        "painted": len(painted),
        "published": len(feed.published_ns) - _SEEDED,
        "frames_s": round(float(np.median(rates)), 1),
        "least_frames_s": round(min(rates), 1),
        "peer": "a socket in Python that follows the same bars; an empty page",
        "peer_p50_ms": round(peer_p50, 1),
        "peer_p99_ms": round(float(np.percentile(socket, 99)), 1),
        "peer_frames_s": round(blank, 1),
        "ratio": round(p50 / peer_p50, 2),
    }


def _latencies(published_ns: dict[str, int], shown_ns: dict[str, float] | dict[str, int]) -> list[float]:
    """Ms of each price that was shown; one that was overtaken within a frame was not."""
    return [(shown_ns[price] - at) / 1e6 for price, at in published_ns.items() if price in shown_ns]


def _wait_until_served(platform: Stand) -> None:
    """Wait until the gateway has the symbol's trades, and the simulated venue's."""
    deadline = time.monotonic() + _READY_S
    with tapehouse.connect(home=platform.home) as db:
        while db.catalog("trades").height < _SYMBOLS + 1:
            if time.monotonic() > deadline:
                sys.exit(f"bench: waited {_READY_S} s for {_SYMBOLS + 1} symbols")
            time.sleep(0.2)


async def _follow(platform: Stand, received: dict[str, int]) -> None:
    """Note when each price comes by a socket."""
    with tapehouse.connect(home=platform.home) as db, suppress(asyncio.CancelledError):
        async for bar in db.live.bars(_SYMBOL, "1m", venue=_VENUE):
            received.setdefault(f"{bar.close:.2f}", now_ns())


async def _watched(platform: Stand, feed: _Feed) -> list[dict[str, Any]]:
    """What the browser says while the feed trades."""
    with tapehouse.connect(home=platform.home) as db:
        symbols = db.catalog("trades", venue="sim")["symbol"].to_list()
    watched = json.dumps([{"venue": "sim", "symbol": symbol} for symbol in symbols])
    url = f"{platform.settings.gateway.url}/chart/{_VENUE}/{_SYMBOL}?interval=1m"
    process = await asyncio.create_subprocess_exec(
        "node", "tests/browser/paint.mjs", str(_CHROMIUM), url, watched,
        cwd=BUILT.parent, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    said: list[dict[str, Any]] = []
    async with asyncio.timeout(_READY_S):
        while not any("ready" in line for line in said):
            said.append(json.loads(await process.stdout.readline()))
    reading = asyncio.create_task(process.stdout.read())
    await feed.run(_SECONDS)
    process.stdin.close()
    async with asyncio.timeout(_READY_S):
        said += map(json.loads, (await reading).splitlines())
        await process.wait()
    return said
