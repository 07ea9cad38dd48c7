"""One session of a bar maker: its state from the restore out of QuestDB until the first break it cannot bridge."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence

import structlog
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ingest.barmaker.corrections import (
    Corrections,
    apply_batch,
    ensure_same_questdb,
    wait_until_bars_visible,
)
from ingest.barmaker.feature_publisher import FeaturePublisher
from ingest.barmaker.frame_publisher import FramePublisher
from ingest.barmaker.store import SYMBOLS_PER_QUERY, BarStore
from tapehouse.bars.engine import BarEngine
from tapehouse.clock import MILLISECOND, SECOND, now_ns
from tapehouse.errors import ConnectError, UsageError, WireError
from tapehouse.model import TRADES
from tapehouse.settings import Settings
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus, State
from tapehouse.stream.consumer import ConsumerInterruptedError, StreamConsumer, StreamMessage
from tapehouse.stream.floor import refused_key
from tapehouse.stream.health import Health
from tapehouse.stream.progress import last_seq, read_progress
from tapehouse.stream.wire import unpack

_PULL_BYTES = 2**20
_TIMER_S = 0.05
"""Between two looks at the clock when frames are sent at once (`barmaker.frame_ms` is 0)."""
_SHARDING_POLL_S = 1.0
_CONSUMER_INACTIVE_S = 30.0
_MIN_LAG_S = 60.0
"""A session never ends for a lag below this, however short the writer's replay margin is."""
_log = structlog.get_logger()


class StaleBarsError(ConnectError):
    """The bars in memory cannot be continued: the next session restores them from the store."""


class BarSession:
    """Bars of one bar maker from one restore on. Create it with `open`; `run` ends by an error or when cancelled.

    `place` selects one of the present shards, None all shards. `rings` has a size for every interval.
    """

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        state: State,
        health: Health,
        place: int | None,
        rings: Mapping[str, int],
        shards: sharding.Sharding,
        stream_created_ns: int,
    ) -> None:
        self._settings = settings
        self._bus = bus
        self._state = state
        self._health = health
        self._place = place
        self._maker = maker_name(place)
        self._sharding = shards
        self._shards = _own_shards(shards, place)
        self._stream_created_ns = stream_created_ns
        maker = settings.barmaker
        self._bars = BarEngine(maker.max_symbols, rings)
        self._frames = FramePublisher(maker, bus, self._bars, self._maker)
        self._store = BarStore(settings.questdb, rings)
        self._corrections = Corrections(bus, state, self._store, self._bars, self._frames)
        self._features = FeaturePublisher(
            bus, self._bars, self._store, maker.features, only_maker=place is None
        )
        self._frames.listeners.append(self._features.on_changes)
        self._restored_seq = 0
        """Messages up to this one may be in the restored bars."""
        self._received_at: dict[str, float] = {}
        """Monotonic time of the last message of each venue."""

    @classmethod
    async def open(
        cls,
        settings: Settings,
        bus: Bus,
        state: State,
        health: Health,
        place: int | None,
        rings: Mapping[str, int],
    ) -> BarSession:
        """A session for the present shards. Raises UsageError when `place` is not one of them."""
        shards = await sharding.read(state)
        created_ns = sharding.created_ns(await bus.js.stream_info(TICKS))
        return cls(settings, bus, state, health, place, rings, shards, created_ns)

    async def run(self) -> None:
        """Restore the bars, then apply the stream and publish frames for as long as nothing is missing."""
        try:
            async with self._bus.subscribed("bars.refused", self._corrections.on_rejected_row):
                self._corrections.last_rejected_seq = await self._read_last_rejected_seq()
                await self._restore_bars()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._apply_stream())
                    tasks.create_task(self._publish_by_timer())
                    tasks.create_task(self._watch_sharding())
                    tasks.create_task(self._corrections.run())
                    tasks.create_task(self._frames.serve_snapshots())
                    tasks.create_task(self._features.run())
        finally:
            await asyncio.to_thread(self._store.close)

    async def _restore_bars(self) -> None:
        """Steps 1 to 4 of `ingest/barmaker/maker.py`."""
        self._health.waiting("reading stored bars")
        # Rows rejected from now on are announced; those rejected before are not in the store.
        written = await last_seq(self._bus)
        await wait_until_bars_visible(self._bus, self._state, self._store, written)
        # The last sequence is read before the floors: a message that arrives in between is after it.
        floors = [await last_seq(self._bus)]
        for shard in self._shards:
            progress = await read_progress(self._bus, self._state, shard, self._sharding.created_ns)
            if not progress.is_written:
                floors.append(max(progress.floor.seq, written))
        await wait_until_bars_visible(self._bus, self._state, self._store, min(floors))
        venues = await self._store.run(self._store.read_venues, self._settings.barmaker.max_symbols)
        self._restored_seq = await last_seq(self._bus)
        started_ns = await wait_until_bars_visible(self._bus, self._state, self._store, self._restored_seq)
        for name, venue in venues.items():
            last_seqs = {symbol: seq for symbol, seq in venue.last_seqs.items() if self._owns(symbol)}
            # No row up to these seqs has a later time, nor has one written since they were read.
            clock_ns = await self._store.run(self._store.last_trade_ns, name, venue.last_day_ns)
            await self._restore_venue(name, clock_ns, last_seqs)
        await ensure_same_questdb(self._store, started_ns)
        self._bars.take_changes()
        self._corrections.applied_seq = min(floors)

    def _owns(self, symbol: str) -> bool:
        return self._place is None or self._sharding.present.of(symbol) in self._shards

    async def _restore_venue(self, venue: str, clock_ns: int, last_seqs: dict[str, int]) -> None:
        symbols = [symbol for symbol in last_seqs if self._bars.ensure_symbol(venue, symbol, clock_ns) >= 0]
        if not symbols:
            return
        self._bars.state.clock[self._bars.venues.index(venue)] = clock_ns
        self._finalize(venue, clock_ns)
        incomplete = []
        for first in range(0, len(symbols), SYMBOLS_PER_QUERY):
            seqs = {symbol: last_seqs[symbol] for symbol in symbols[first : first + SYMBOLS_PER_QUERY]}
            found = await self._store.run(self._store.read_symbols, venue, seqs, clock_ns)
            for symbol, seq in seqs.items():
                symbol_id = self._bars.symbol_id(venue, symbol)
                while not self._bars.restore(symbol_id, clock_ns, seq, found[symbol].stored):
                    self._bars.take_changes()
                if not found[symbol].complete:
                    incomplete.append(symbol_id)
        self._corrections.reread_latest(incomplete)

    async def _apply_stream(self) -> None:
        """Step 5: apply messages in stream order, across losses of the connection."""
        while True:
            info = await self._bus.js.stream_info(TICKS)
            applied = self._corrections.applied_seq
            if sharding.created_ns(info) != self._stream_created_ns:
                raise StaleBarsError("the stream was created anew; rebuilding bars from the store")
            if info.state.first_seq - 1 > applied:
                raise StaleBarsError(f"message {applied + 1} was purged; rebuilding bars from the store")
            name = f"bars_{self._maker}_{secrets.token_hex(4)}"
            await self._bus.js.add_consumer(TICKS, self._consumer_config(name, applied + 1))
            pull = StreamConsumer(self._bus, TICKS, name)
            await pull.listen()
            try:
                while True:
                    self._health.ready(self._status())
                    self._apply_messages(await pull.take(_PULL_BYTES))
                    if self._settings.barmaker.frame_ms == 0:
                        self._frames.build_frames()
                        await self._frames.send()
                    await asyncio.sleep(0)  # other tasks run also when the stream never runs dry
            except ConsumerInterruptedError as reason:
                _log.warning("stream interrupted", maker=self._maker, reason=str(reason))
                await self._bus.until_connected()
                if await self._read_last_rejected_seq() > self._corrections.last_rejected_seq:
                    raise StaleBarsError(
                        "QuestDB rejected rows while this bar maker was disconnected; "
                        "rebuilding bars from the store"
                    ) from None
            finally:
                await pull.stop()

    def _consumer_config(self, name: str, start_seq: int) -> ConsumerConfig:
        subjects = [f"ticks.trades.*.{shard}" for shard in self._shards]
        return ConsumerConfig(
            name=name,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start_seq,
            # A new session restores from the store, so the stream keeps nothing for a bar maker.
            ack_policy=AckPolicy.NONE,
            filter_subjects=subjects if self._place is not None else ["ticks.trades.>"],
            inactive_threshold=_CONSUMER_INACTIVE_S,
            mem_storage=True,
        )

    async def _read_last_rejected_seq(self) -> int:
        """The last message of trades of these shards with a row that QuestDB rejected; 0 when there is none."""
        return max([int(await self._state.get(refused_key(shard)) or 0) for shard in self._shards])

    def _apply_messages(self, messages: Sequence[StreamMessage]) -> None:
        rows = 0
        for message in messages:
            try:
                batch = unpack(message.data)
            except WireError:
                continue  # the writer puts it in quarantine
            if batch.kind is not TRADES:
                continue
            apply_batch(self._bars, self._frames, batch, restored=message.seq <= self._restored_seq)
            self._corrections.on_applied(batch, message.seq)
            self._received_at[batch.venue] = time.monotonic()
            rows += batch.rows
        stored_ns = messages[-1].stored_ns
        self._health.wrote(rows, stored_ns, 0)
        max_lag_s = max(_MIN_LAG_S, 0.8 * self._settings.writer.replay_margin_s)
        if now_ns() - stored_ns > max_lag_s * SECOND:
            raise StaleBarsError(
                f"bars lag more than {max_lag_s:g} s, and the stream may be purged; "
                "rebuilding bars from the store"
            )

    def _status(self) -> str:
        status = f"{len(self._bars.names):,} symbols"
        if self._corrections.pending_count:
            status += f", {self._corrections.pending_count:,} to correct"
        if self._bars.dropped_trades:
            limit = self._settings.barmaker.max_symbols
            status += (
                f", {self._bars.dropped_trades:,} trades of symbols above {limit:,} "
                "(barmaker.max_symbols) dropped"
            )
        return status

    async def _publish_by_timer(self) -> None:
        """Finalize bars by the clock and publish what changed, every `barmaker.frame_ms`."""
        every_s = self._settings.barmaker.frame_ms / 1000 or _TIMER_S
        while True:
            await asyncio.sleep(every_s)
            for venue in self._bars.venues:
                # In a quiet market the venue's clock goes on with the local one.
                received_at = self._received_at.setdefault(venue, time.monotonic())
                quiet_ns = int((time.monotonic() - received_at) * SECOND)
                self._finalize(venue, self._bars.clock_ns(venue) + quiet_ns)
            self._frames.build_frames()
            await self._frames.publish_due()

    def _finalize(self, venue: str, clock_ns: int) -> None:
        grace_ns = int(self._settings.barmaker.grace_s * 1000) * MILLISECOND
        while not self._bars.finalize(venue, max(0, clock_ns - grace_ns)):
            self._frames.build_frames()

    async def _watch_sharding(self) -> None:
        """End the session when the number of shards changes."""
        while True:
            await asyncio.sleep(_SHARDING_POLL_S)
            if self._bus.connected and self._place is not None:
                known = await sharding.read(self._state)
                if known.present != self._sharding.present:
                    raise StaleBarsError("the number of shards was changed; rebuilding bars from the store")


def maker_name(place: int | None) -> str:
    """The name of a bar maker in subjects, frames and logs."""
    return "all" if place is None else str(place)


def _own_shards(shards: sharding.Sharding, place: int | None) -> list[int]:
    """The shards to read: all, or one present shard, whose symbols' earlier rows are read from the store."""
    if place is None:
        return list(shards.numbers)
    if place >= shards.present.count:
        raise UsageError(f"barmaker: expected a number below {shards.present.count}, was {place}")
    return [shards.present.first + place]
