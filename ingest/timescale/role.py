"""The role `timescale`: loads account trades from the stream into TimescaleDB.

Its durable consumer reads all shards in the order of the stream. The floor is stored in TimescaleDB with the rows, so
a load that is repeated after a crash adds nothing; a message is acknowledged after its rows are committed, and the
stream keeps it until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import structlog
from nats.errors import Error as NatsError

from ingest.timescale.candlesticks import CandlestickFiller
from ingest.timescale.store import LoadedUpTo, TimescaleLoader
from tapehouse.batch import Batch
from tapehouse.errors import ConnectError, SettingsError, TimescaleError, WireError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.settings import Settings
from tapehouse.stores.migrations import migrate, migrations
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.consumer import StreamConsumer, StreamMessage
from tapehouse.stream.health import Health
from tapehouse.stream.lease import Lease
from tapehouse.stream.session import run_sessions
from tapehouse.stream.topology import TIMESCALE_CONSUMER
from tapehouse.stream.wire import unpack

_RETRY_S = (0.05, 0.2, 1.0, 5.0)
_FILL_EVERY_S = 30.0
_WORTH_SAYING = 1_000
"""Messages to load from which on health tells how many there are."""
_Result = TypeVar("_Result")
_log = structlog.get_logger()


class TimescaleRole:
    """One process loads at a time, by a lease; another one waits for it."""

    def __init__(self, settings: Settings, bus: Bus, health: Health) -> None:
        if not settings.timescale.dsn.get_secret_value():
            raise SettingsError(
                "timescale: expected the setting timescale.dsn, was empty",
                remedy="Name a server that has TimescaleDB, such as postgresql://tapehouse:PASSWORD@host:5432/trading.",
            )
        self._settings = settings
        self._bus = bus
        self._health = health
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="timescale")
        """Alone uses the connections."""
        self._loader = TimescaleLoader(settings.timescale)
        self._filler = CandlestickFiller(settings.timescale)
        self._lost = ""
        """What the stream no longer had when it was to be loaded."""

    async def run(self) -> None:
        """Load until cancelled; after an interruption go on after the floor. Raises ConnectError without its lease."""
        state = await self._bus.shared_state()
        async with Lease(state, "timescale", self._settings.timescale.lease_s) as lease:
            try:
                async with lease.guard():
                    await run_sessions(
                        self._session,
                        self._bus,
                        self._health,
                        retried=(ConnectError, TimescaleError, NatsError, OSError, TimeoutError),
                        final=(),
                        pauses_s=_RETRY_S,
                    )
            finally:
                await asyncio.to_thread(self._thread.shutdown)
                self._loader.close()
                self._filler.close()

    async def _session(self) -> None:
        self._health.waiting("reading how far TimescaleDB is loaded")
        await self._call(self._migrate)
        info = await self._bus.js.stream_info(TICKS)
        created_ns = sharding.created_ns(info)
        floor = await self._call(lambda: self._loader.floor(created_ns))
        made = (await self._bus.js.consumer_info(TICKS, TIMESCALE_CONSUMER)).created
        consumer_ns = int(made.timestamp() * 1_000_000) * 1_000
        if consumer_ns != floor.consumer_ns and info.state.first_seq > floor.seq + 1:
            # While there was no consumer, nothing kept the stream from being purged.
            span = f"{floor.seq + 1:,} to {info.state.first_seq - 1:,}"
            self._lost = f"messages {span} were purged before TimescaleDB was to load them"
            _log.warning(self._lost)
        consumer = StreamConsumer(self._bus, TICKS, TIMESCALE_CONSUMER)
        await consumer.start(floor.seq + 1)
        self._health.ready(self._status(floor, 0))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._load(consumer, created_ns, consumer_ns, floor))
                tasks.create_task(self._fill())
        finally:
            await consumer.stop()

    def _migrate(self) -> None:
        ledger = TimescaleMigrations(self._settings.timescale)
        try:
            migrate(ledger, migrations("timescale"))
        finally:
            ledger.close()

    async def _load(
        self, consumer: StreamConsumer, created_ns: int, consumer_ns: int, floor: LoadedUpTo
    ) -> None:
        while True:
            messages = await consumer.take(self._settings.timescale.load_bytes)
            batches = list(filter(None, map(_batch, messages)))
            before, last = floor, messages[-1]
            load = partial(self._loader.load, batches, created_ns, before, last.seq, consumer_ns)
            floor = await self._call(load)
            await self._bus.client.publish(last.ack, b"+ACK")
            if floor.diverted > before.diverted:
                _log.warning(
                    "trades older than the retention of TimescaleDB diverted",
                    rows=floor.diverted - before.diverted,
                    table="diverted_trades",
                )
            # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
            self._health.ready(self._status(floor, int(last.ack.split(".")[8])))
            self._health.wrote(floor.rows - before.rows, last.stored_ns, 0)

    def _status(self, floor: LoadedUpTo, pending: int) -> str:
        parts = [self._lost] if self._lost else []
        if floor.diverted:
            parts.append(f"{floor.diverted:,} trades older than the retention diverted")
        if pending >= _WORTH_SAYING:
            parts.append(f"{pending:,} messages to load, which the stream keeps")
        return "; ".join(parts)

    async def _fill(self) -> None:
        while True:
            await self._call(self._filler.fill)
            await asyncio.sleep(_FILL_EVERY_S)

    async def _call(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _batch(message: StreamMessage) -> Batch | None:
    """The batch of a message; None for one that cannot be read, which the writer puts in quarantine."""
    try:
        batch = unpack(message.data)
    except WireError:
        return None
    return batch if batch.kind is ACCOUNT_TRADES else None
