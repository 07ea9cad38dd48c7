"""A live venue during a drill: generated trades served by a replay server, and the feed that receives them.

The venue does not wait: trades that it sends while the feed is down are fetched by REST afterwards. It also cuts
its connections once a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json

import numpy as np
import polars as pl

from ingest.replay import binance
from ingest.replay.faults import FaultPlan
from ingest.replay.server import Market, ReplayServer
from ops.drill import ticks
from ops.drill.platform import DrillPlatform, PartTarget
from ops.drill.source import ExpectedRows
from ops.stack.phases import feed_part
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, MILLISECOND, SECOND
from tapehouse.model import TRADES
from tapehouse.settings import LOOPBACK
from tapehouse.stream.bus import Bus, word
from tapehouse.tabular import TIME

_FIRST_DAY = 19_000 * DAY
_DAYS_EACH = 7
_TRADES_S = 4_000
"""Trades a second that the venue sends."""
_LOOK_S = 0.2
_EMULATOR = binance.SPOT
_numbers = itertools.count()


class LiveSource(PartTarget):
    """A recording of a generated venue; its feed is a part of the platform."""

    endless = False

    def __init__(self, platform: DrillPlatform, seed: int, rows: int) -> None:
        number = next(_numbers)
        super().__init__(platform, f"live{number}")
        self._platform = platform
        self._name = f"live{number}"
        self.venue = f"LIVE{number}"
        self.rows = rows
        self.notes: list[str] = []
        generated = ticks.generate_ticks(seed, rows, _FIRST_DAY + number * _DAYS_EACH * DAY)
        self._trades = generated.select(
            pl.col("ts").cast(pl.Int64) // MILLISECOND * MILLISECOND,
            pl.col("symbol"),
            # The venue numbers the trades of a symbol from 0 on.
            seq=pl.int_range(pl.len()).over("symbol"),
            price="price",
            size="size",
            side=pl.when(pl.col("side") < 0).then(-1).otherwise(1).cast(pl.Int8),
        )
        recording = list(_EMULATOR.encode([_timed_batch(self._trades, self.venue)]))
        self._streams = frozenset(item.stream for item in recording)
        self._market = Market(_EMULATOR, self._streams, recording, 1, FaultPlan({"cut": 1}, rows, seed))
        self._port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the venue and its feed."""
        self._serving = asyncio.create_task(self._serve())
        base = f"{LOOPBACK}:{await self._port}/{_EMULATOR.name}"
        venue = {"protocol": _EMULATOR.name, "socket": f"ws://{base}", "rest": f"http://{base}", "pace": 0}
        environment = {
            **self._platform.proxies.environment("live"),
            "TAPEHOUSE_VENUES": json.dumps({self.venue: venue}),
            "TAPEHOUSE_FEED__GAP_GRACE_S": "0.5",
        }
        symbols = ",".join(sorted({stream.symbol for stream in self._streams}))
        self._platform.stack.add(
            feed_part(self.venue, symbols, self._platform.settings, environment, self._name)
        )
        await self._platform.stack.start(self._name)

    async def ended(self) -> None:
        """Return when the checkpoint of the feed covers all trades without a gap."""
        await self._market.done.wait()
        last = dict(self._trades.group_by("symbol").agg(pl.col("seq").max()).iter_rows())
        async with Bus.opened(self._platform.settings, "admin") as bus:
            state = await bus.shared_state()
            while True:
                saved = await state.get(f"checkpoint.live.{word(self.venue)}")
                tracks = {track["symbol"]: track for track in saved["tracks"]} if saved else {}
                if all(
                    symbol in tracks and tracks[symbol]["last"] == seq and not tracks[symbol]["holes"]
                    for symbol, seq in last.items()
                ):
                    return
                await asyncio.sleep(_LOOK_S)

    async def finish(self) -> None:
        """The same."""
        await self.ended()

    def expected(self) -> ExpectedRows:
        """The trades of the venue, compared without `ts_recv`, which depends on the faults."""
        rows = self._trades.select(
            ts_event=pl.col("ts").cast(TIME),
            ts_recv=pl.col("ts").cast(TIME),
            venue=pl.lit(self.venue),
            symbol="symbol",
            seq="seq",
            price="price",
            size="size",
            side="side",
            flags=pl.lit(0, pl.Int16),
            exchange=pl.lit(None, pl.String),
            conditions=pl.lit(None, pl.String),
            trade_id=pl.lit(None, pl.String),
        ).select(TRADES.names)
        columns = tuple(name for name in TRADES.names if name != "ts_recv")
        return ExpectedRows(rows, rows.clear(), columns)

    async def close(self) -> None:
        """End the feed, then the venue."""
        await self._platform.stack.stop(self._name)
        if self._serving:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving

    async def _serve(self) -> None:
        async with ReplayServer([self._market]).serving(LOOPBACK, 0) as port:
            self._port.set_result(port)
            await asyncio.Event().wait()


def _timed_batch(trades: pl.DataFrame, venue: str) -> Batch:
    """The trades with the times at which the venue sends them."""
    rows = trades.height
    return Batch(
        TRADES,
        venue,
        rows,
        {
            "ts_event": trades["ts"].to_numpy(),
            "ts_recv": np.arange(rows) * (SECOND // _TRADES_S) + SECOND,
            "symbol": Strings.of(trades["symbol"].to_list()),
            "seq": trades["seq"].cast(pl.Int64).to_numpy(),
            "price": trades["price"].to_numpy(),
            "size": trades["size"].to_numpy(),
            "side": trades["side"].to_numpy(),
            "flags": np.zeros(rows, np.int16),
            "exchange": Strings.constant(None, rows),
            "conditions": Strings.constant(None, rows),
        },
    )
