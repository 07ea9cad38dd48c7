"""The bar maker: bars of all intervals from the stream, as it comes, and equal to what the store holds.

At its start it waits for the writers, notes their floors, reads up to which seq each symbol has bars in the
store, waits until all that the stream holds by then is stored, reads the bars up to those seqs, and follows the
stream from the floors on: of the messages up to then the rows up to those seqs are in what was read, all others
are added. So nothing is lost whenever it ends, and it needs no state of its own. Rows that cannot be added are
dealt with in `ingest/barcorrections.py`; what changed is told by `ingest/barteller.py`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence

import numpy as np
import structlog
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ingest.barcorrections import Corrections, add_all, settled, still
from ingest.barfeatures import Featuring
from ingest.barstore import AT_ONCE, PIECE, BarStore, folded
from ingest.barteller import Teller
from ingest.pull import Delivered, InterruptedPullError, Pull
from ingest.purging import end
from tapehouse import sharding
from tapehouse.bars import RINGS, RINGS_LEAST, Bars, compile_kernel
from tapehouse.barstate import BAR
from tapehouse.bus import TICKS, Bus, State
from tapehouse.clock import INTERVALS, MILLISECOND, SECOND, now_ns
from tapehouse.errors import ConnectError, TapehouseError, UsageError, WireError
from tapehouse.features import compute
from tapehouse.floor import Floor, floor_key, refused_key
from tapehouse.health import Health
from tapehouse.model import TRADES
from tapehouse.rankings import ranked
from tapehouse.settings import Settings
from tapehouse.sharding import last_of
from tapehouse.wire import unpack

_RETRY_S = (0.1, 0.5, 1, 2, 5)
_TAKE_BYTES = 2**20
_BEAT_S = 0.05
_LOOK_S = 1.0
_INACTIVE_S = 30.0
_BEHIND_S = 60.0
_RINGS_MOST = 8_000
"""Bars of a symbol: its snapshot is one message of at most 1 MB."""
_log = structlog.get_logger()


class StaleBarsError(ConnectError):
    """What is held cannot be gone on with: begin anew from the store."""


class BarMaker:
    """Bars of all symbols, or of those of one place among the shards. `run` ends when cancelled."""

    def __init__(self, settings: Settings, bus: Bus, health: Health, place: int | None = None) -> None:
        self._settings = settings
        self._bus = bus
        self._health = health
        self._place = place
        self._maker = "all" if place is None else str(place)
        self._rings = {**RINGS, **settings.barmaker.rings}
        for name, size in self._rings.items():
            if name not in RINGS or size < RINGS_LEAST[name]:
                least = " ".join(f"{name} {least}" for name, least in RINGS_LEAST.items())
                raise UsageError(f"barmaker.rings: expected at least {least}, was {name} {size}")
        if sum(self._rings.values()) > _RINGS_MOST:
            most = sum(self._rings.values())
            raise UsageError(f"barmaker.rings: expected at most {_RINGS_MOST} bars together, was {most}")

    async def run(self) -> None:
        """Make bars until cancelled; every interruption is logged and begun again."""
        await asyncio.to_thread(compile_all)
        state = await self._bus.state()
        failures = 0
        while True:
            misuse: UsageError | None = None
            try:
                await self._session(state)
            except* UsageError as told:
                misuse = next(error for error in told.exceptions if isinstance(error, UsageError))
            except* (TapehouseError, NatsError, OSError, TimeoutError) as interruptions:
                reason = "; ".join(str(error) or repr(error) for error in interruptions.exceptions)
            if misuse:
                raise misuse
            failures += 1
            _log.warning("bars interrupted", maker=self._maker, reason=reason)
            self._health.waiting(reason.splitlines()[0])
            await self._bus.until_connected()
            if self._health.moved():
                failures = 0
            await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])

    async def _session(self, state: State) -> None:
        """From the store to the stream, for as long as that goes on without a break."""
        settings = self._settings.barmaker
        self._sharding = await sharding.read(state)
        self._mine = self._shards()
        self._created_ns = sharding.created_ns(await self._bus.js.stream_info(TICKS))
        self._bars = Bars(settings.max_symbols, self._rings)
        self._teller = Teller(settings, self._bus, self._bars, self._maker)
        self._store = BarStore(self._settings.questdb, self._rings)
        self._corrections = Corrections(self._bus, state, self._store, self._bars, self._teller)
        featuring = Featuring(
            self._bus, self._bars, self._store, settings.features, only_one=self._place is None
        )
        self._teller.listeners.append(featuring.took)
        self._heard: dict[str, float] = {}
        try:
            async with self._bus.subscribed("bars.refused", self._corrections.hear):
                self._corrections.refused = await self._refused(state)
                await self._seed(state)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._follow(state))
                    tasks.create_task(self._beat())
                    tasks.create_task(self._watch(state))
                    tasks.create_task(self._corrections.run())
                    tasks.create_task(self._teller.serve())
                    tasks.create_task(featuring.run())
        finally:
            await asyncio.to_thread(self._store.close)

    def _shards(self) -> list[int]:
        """The shards of this maker. One of some needs no earlier ones: what they hold is written, and read."""
        count = self._sharding.present.count
        if self._place is None:
            return self._sharding.numbers
        if self._place >= count:
            raise UsageError(f"barmaker: expected a number below {count}, was {self._place}")
        return [self._sharding.present.first + self._place]

    async def _seed(self, state: State) -> None:
        self._health.waiting("reading the bars that are stored")
        # What is refused from now on is heard; what was refused before is not read again.
        written = await end(self._bus)
        await settled(self._bus, state, self._store, written)
        # Looked at first: a message that comes after it is behind it.
        floors = [await end(self._bus)]
        for shard in self._mine:
            floor = Floor.read(await state.get(floor_key(shard)), self._sharding.created_ns).seq
            if await last_of(self._bus, sharding.subjects(shard)) > floor:
                floors.append(max(floor, written))
        await settled(self._bus, state, self._store, min(floors))
        venues = await self._store.run(self._store.venues, self._settings.barmaker.max_symbols)
        self._contained = await end(self._bus)
        started_ns = await settled(self._bus, state, self._store, self._contained)
        for name, venue in venues.items():
            cuts = {symbol: seq for symbol, seq in venue.symbols.items() if self._is_mine(symbol)}
            # Of all rows up to the seqs none is later, also of those that came after the seqs were read.
            head_ns = await self._store.run(self._store.last_ns, name, venue.day_ns)
            await self._restore(name, head_ns, cuts)
        await still(self._store, started_ns)
        self._bars.changes()
        self._corrections.seq = min(floors)

    def _is_mine(self, symbol: str) -> bool:
        return self._place is None or self._sharding.present.of(symbol) in self._mine

    async def _restore(self, venue: str, head_ns: int, cuts: dict[str, int]) -> None:
        admitted = [symbol for symbol in cuts if self._bars.admit(venue, symbol, head_ns) >= 0]
        if not admitted:
            return
        self._bars.state.clock[self._bars.venues.index(venue)] = head_ns
        self._close(venue, head_ns)
        unclean = []
        for first in range(0, len(admitted), AT_ONCE):
            chunk = {symbol: cuts[symbol] for symbol in admitted[first : first + AT_ONCE]}
            found = await self._store.run(self._store.read, venue, chunk, head_ns)
            for symbol, cut in chunk.items():
                number = self._bars.number(venue, symbol)
                while not self._bars.restore(number, head_ns, cut, found[symbol].held):
                    self._bars.changes()
                if not found[symbol].clean:
                    unclean.append(number)
        self._corrections.again(unclean)

    async def _follow(self, state: State) -> None:
        """Take what comes, over losses of the connection too."""
        while True:
            info = await self._bus.js.stream_info(TICKS)
            at = self._corrections.seq
            if sharding.created_ns(info) != self._created_ns or not info.state.first_seq - 1 <= at:
                raise StaleBarsError("the stream does not hold any more what comes next")
            name = f"bars_{self._maker}_{secrets.token_hex(4)}"
            await self._bus.js.add_consumer(
                TICKS,
                ConsumerConfig(
                    name=name,
                    deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                    opt_start_seq=at + 1,
                    # Whoever starts anew reads from the store: the stream is kept for a maker that runs alone.
                    ack_policy=AckPolicy.NONE,
                    filter_subjects=[f"ticks.trades.*.{shard}" for shard in self._mine]
                    if self._place is not None
                    else ["ticks.trades.>"],
                    inactive_threshold=_INACTIVE_S,
                    mem_storage=True,
                ),
            )
            pull = Pull(self._bus, TICKS, name)
            await pull.listen()
            try:
                while True:
                    self._health.ready(self._detail())
                    self._take(await pull.take(_TAKE_BYTES))
                    if self._settings.barmaker.frame_ms == 0:
                        self._teller.gather()
                        await self._teller.send()
                    await asyncio.sleep(0)  # let the others have their turn when there is always more
            except InterruptedPullError as reason:
                _log.warning("stream interrupted", maker=self._maker, reason=str(reason))
                await self._bus.until_connected()
                if await self._refused(state) > self._corrections.refused:
                    raise StaleBarsError("questdb refused rows, which was told while nobody heard") from None
            finally:
                await pull.stop()

    async def _refused(self, state: State) -> int:
        """The last message of trades of these shards that QuestDB refused a row of."""
        return max([int(await state.get(refused_key(shard)) or 0) for shard in self._mine])

    def _take(self, messages: Sequence[Delivered]) -> None:
        rows = 0
        for message in messages:
            try:
                batch = unpack(message.data)
            except WireError:
                continue  # the writer puts it aside
            if batch.kind is not TRADES:
                continue
            add_all(self._bars, self._teller, batch, contained=message.seq <= self._contained)
            self._corrections.took(batch, message.seq)
            self._heard[batch.venue] = time.monotonic()
            rows += batch.rows
        stored_ns = messages[-1].stored_ns
        self._health.wrote(rows, stored_ns, 0)
        most_s = max(_BEHIND_S, 0.8 * self._settings.writer.replay_margin_s)
        if now_ns() - stored_ns > most_s * SECOND:
            raise StaleBarsError(f"{most_s:g} s behind: the stream must not wait for bars to be purged")

    def _detail(self) -> str:
        told = f"{len(self._bars.names):,} symbols"
        if self._corrections.waiting:
            told += f", {self._corrections.waiting:,} to be corrected"
        if self._bars.refused:
            most = self._settings.barmaker.max_symbols
            told += (
                f", {self._bars.refused:,} trades of symbols above {most:,} (barmaker.max_symbols) left out"
            )
        return told

    async def _beat(self) -> None:
        """Close bars by the clock, and tell."""
        every = self._settings.barmaker.frame_ms / 1000 or _BEAT_S
        while True:
            await asyncio.sleep(every)
            for venue in self._bars.venues:
                # The venue's clock goes on in quiet markets.
                heard = self._heard.setdefault(venue, time.monotonic())
                silent_ns = int((time.monotonic() - heard) * SECOND)
                self._close(venue, self._bars.clock_ns(venue) + silent_ns)
            self._teller.gather()
            await self._teller.beat()

    def _close(self, venue: str, clock_ns: int) -> None:
        grace_ns = int(self._settings.barmaker.grace_s * 1000) * MILLISECOND
        while not self._bars.seal(venue, max(0, clock_ns - grace_ns)):
            self._teller.gather()

    async def _watch(self, state: State) -> None:
        """Look for changes of the shards."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._bus.connected and self._place is not None:
                known = await sharding.read(state)
                if known.present != self._sharding.present:
                    raise StaleBarsError("the number of shards was changed")


def compile_all() -> None:
    """What would else hold everything up when it is first called."""
    compile_kernel()
    ranked(Bars(1), 1)
    folded(np.empty(0, PIECE), 0)
    compute(np.zeros(1, BAR), INTERVALS["1m"])
