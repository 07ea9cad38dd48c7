"""The bar maker: bars of all intervals from the stream of trades, equal to those of the store at all times.

1. It waits until QuestDB shows all that is published, and reads the floor of each writer: the stream will be
   applied from the lowest floor on.
2. From QuestDB it reads the symbols of each venue, and for each symbol the highest seq S in its bars.
3. It notes the last message of the stream, M, and waits until QuestDB shows all messages up to M.
4. It reads the bars of each symbol, of rows with a seq of at most S, into the rings.
5. It applies the stream from the floor on. In messages up to M, rows with a seq of at most S are in the bars already
   and are skipped; all other rows are applied.

So no trade is lost or counted twice whenever a bar maker ends, and it keeps no state of its own. Rows that cannot be
applied go to `ingest/barmaker/corrections.py`; `ingest/barmaker/frame_publisher.py` publishes what changed.
"""

from __future__ import annotations

import asyncio

import numpy as np
from nats.errors import Error as NatsError

from ingest.barmaker.session import BarSession
from ingest.barmaker.store import PARTIAL_BAR, merge_partial_bars
from tapehouse.bars.engine import MIN_RING_SIZES, RING_SIZES, BarEngine, compile_kernel
from tapehouse.bars.rankings import rank_symbols
from tapehouse.bars.state import BAR
from tapehouse.clock import INTERVALS
from tapehouse.errors import TapehouseError, UsageError
from tapehouse.features.candle import compute
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.health import Health
from tapehouse.stream.session import run_sessions

_RETRY_S = (0.1, 0.5, 1, 2, 5)
_MAX_RING_BARS = 8_000
"""Bars of one symbol: its snapshot is one message of at most 1 MB."""


class BarMaker:
    """The role that makes bars of all symbols, or of those of the present shard at `place` (0 for the first).

    Raises UsageError for sizes of rings out of bounds.
    """

    def __init__(self, settings: Settings, bus: Bus, health: Health, place: int | None = None) -> None:
        self._settings = settings
        self._bus = bus
        self._health = health
        self._place = place
        self._rings = {**RING_SIZES, **settings.barmaker.rings}
        for name, size in self._rings.items():
            if name not in RING_SIZES or size < MIN_RING_SIZES[name]:
                least = " ".join(f"{name} {least}" for name, least in MIN_RING_SIZES.items())
                raise UsageError(f"barmaker.rings: expected at least {least}, was {name} {size}")
        if sum(self._rings.values()) > _MAX_RING_BARS:
            most = sum(self._rings.values())
            raise UsageError(f"barmaker.rings: expected at most {_MAX_RING_BARS} bars together, was {most}")

    async def run(self) -> None:
        """Make bars until cancelled, in a new session after each interruption. Raises UsageError."""
        await asyncio.to_thread(compile_all)
        state = await self._bus.shared_state()
        await run_sessions(
            lambda: self._run_session(state),
            self._bus,
            self._health,
            retried=(TapehouseError, NatsError, OSError, TimeoutError),
            final=(UsageError,),
            pauses_s=_RETRY_S,
        )

    async def _run_session(self, state: State) -> None:
        session = await BarSession.open(
            self._settings, self._bus, state, self._health, self._place, self._rings
        )
        await session.run()


def compile_all() -> None:
    """Compile every kernel that a bar maker calls, or load it from the cache, before the first tick needs it."""
    compile_kernel()
    rank_symbols(BarEngine(1), 1)
    merge_partial_bars(np.empty(0, PARTIAL_BAR), 0)
    compute(np.zeros(1, BAR), INTERVALS["1m"])
