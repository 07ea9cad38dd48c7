"""Rows of one kind as they are stored in the stream, for the topics of the hub."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import structlog
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from numpy.typing import NDArray

from gateway.live.ticks import GAP_FIELDS, QUOTE_FIELDS, TRADE_FIELDS, Row
from tapehouse.batch import Batch, Strings
from tapehouse.clock import SECOND
from tapehouse.errors import TapehouseError, WireError
from tapehouse.model import NULL_LONG
from tapehouse.stream import sharding
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.consumer import StreamConsumer
from tapehouse.stream.progress import last_seq, last_seq_of, read_progress
from tapehouse.stream.wire import unpack

FIELDS = {
    "trades": TRADE_FIELDS, "quotes": QUOTE_FIELDS, "gaps": GAP_FIELDS, "account_trades": ("ts_event",)
}  # fmt: skip
_RECENT_S = 10
"""How long messages stay in memory at least, as far as there is room; those that are not written stay longer."""
_MOST_BYTES = 32 * 2**20
"""Of messages in memory."""
_TAKEN_BYTES = 4 * 2**20
_INACTIVE_S = 30
_RETRY_S = 1.0
_log = structlog.get_logger()
Listener = Callable[[str, str, list[Row]], None]
"""Called with a venue, a symbol and their rows; of account trades the venue is empty, the symbol an account's id."""


class TickSource:
    """The newest rows of a kind in memory, and new ones passed on; current while `run` runs."""

    def __init__(
        self, bus: Bus, kind: str, on_rows: Listener, on_written: Callable[[], None] = lambda: None
    ) -> None:
        """`on_rows` is called for each symbol of a message that `wanted` has; with all symbols for gaps.

        `on_written` is called whenever `written_seq` was looked at, every second.
        """
        self._bus = bus
        self._kind = kind
        self._on_rows = on_rows
        self._on_written = on_written
        self.wanted: set[tuple[str, str]] = set()
        """(venue, symbol) that somebody follows."""
        self._recent: deque[tuple[int, int, int, Batch]] = deque()
        """A message's sequence, when it was stored, ns, its bytes, and its rows."""
        self.written_seq = 0
        """Messages up to this one were written to the store when that was last looked at."""
        self.received_seq = 0
        """The message that came last."""
        self._bytes = 0
        self.is_ready = asyncio.Event()
        """Set once all rows are in memory that the store may not have yet."""

    async def run(self) -> None:
        """Read the stream until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_writers())
            await self._read()

    async def _follow_writers(self) -> None:
        """Learn every second what writers have written."""
        while True:
            with contextlib.suppress(TapehouseError, NatsError):
                self.written_seq = await self._last_written()
            self._on_written()
            await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        next_seq = wanted_seq = 0
        while True:
            consumer = None
            try:
                if not next_seq:
                    next_seq, wanted_seq = await self._start()
                name = f"live_{self._kind}_{secrets.token_hex(4)}"
                await self._bus.js.add_consumer(TICKS, self._config(name, next_seq))
                consumer = StreamConsumer(self._bus, TICKS, name)
                await consumer.listen()
                while True:
                    if next_seq > wanted_seq:
                        self.is_ready.set()
                    for message in await consumer.take(_TAKEN_BYTES):
                        next_seq = message.seq + 1
                        self._received(message.seq, message.stored_ns, message.data)
                    await asyncio.sleep(0)
            except (TapehouseError, NatsError) as reason:
                _log.warning("live stream interrupted", kind=self._kind, reason=str(reason) or repr(reason))
                await self._bus.until_connected()
                await asyncio.sleep(_RETRY_S)
            finally:
                if consumer is not None:
                    await consumer.stop()

    async def _start(self) -> tuple[int, int]:
        """The first message that is not written to the store yet, and the last one of the kind."""
        return await self._last_written() + 1, await last_seq_of(self._bus, f"ticks.{self._kind}.>")

    async def _last_written(self) -> int:
        """A message up to which all are written to the store."""
        last = await last_seq(self._bus)
        state = await self._bus.shared_state()
        shards = await sharding.read(state)
        written = [last]
        for shard in shards.numbers:
            progress = await read_progress(self._bus, state, shard, shards.created_ns)
            if not progress.is_written:
                written.append(progress.floor.seq)
        return min(written)

    def recent(self, venue: str, symbol: str) -> list[Row]:
        """The rows of a symbol in memory, in the order in which they were stored."""
        return [
            row
            for *_, batch in self._recent
            if batch.venue == venue or not venue
            for row in _rows(batch, symbol, self._kind)
        ]

    def _config(self, name: str, start_seq: int) -> ConsumerConfig:
        return ConsumerConfig(
            name=name,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start_seq,
            ack_policy=AckPolicy.NONE,
            filter_subjects=[f"ticks.{self._kind}.>"],
            inactive_threshold=_INACTIVE_S,
            mem_storage=True,
        )

    def _received(self, seq: int, stored_ns: int, data: bytes) -> None:
        try:
            batch = unpack(data)
        except WireError:
            return  # the writer puts it in quarantine
        self.received_seq = seq
        self._recent.append((seq, stored_ns, len(data), batch))
        self._bytes += len(data)
        while self._bytes > _MOST_BYTES or self._is_old(stored_ns):
            self._bytes -= self._recent.popleft()[2]
        if self._kind == "gaps":
            self._on_rows(batch.venue, "", _rows(batch, None, self._kind))
            return
        if self._kind == "account_trades":
            for account in np.unique(batch.array("account_id")).tolist():
                if ("", str(account)) in self.wanted:
                    self._on_rows("", str(account), _rows(batch, str(account), self._kind))
            return
        symbols = batch.columns["symbol"]
        assert isinstance(symbols, Strings)
        for symbol in symbols.values:
            if (batch.venue, symbol) in self.wanted:
                rows = _rows(batch, symbol, self._kind)
                if rows:
                    self._on_rows(batch.venue, symbol, rows)

    def _is_old(self, now_ns: int) -> bool:
        """Whether the first message in memory is written, and was stored a while ago: the store shows its rows."""
        seq, stored_ns, *_ = self._recent[0]
        return seq <= self.written_seq and stored_ns < now_ns - _RECENT_S * SECOND


def _rows(batch: Batch, symbol: str | None, kind: str) -> list[Row]:
    """The rows of a symbol, or of all with None, as tuples of the kind's fields."""
    if kind == "account_trades":
        places = np.flatnonzero(batch.array("account_id") == int(symbol or 0))
        return list(zip(*(_column(batch, name, places) for name in FIELDS[kind]), strict=True))
    symbols = batch.columns["symbol"]
    assert isinstance(symbols, Strings)
    if symbol is None:
        places = np.arange(batch.rows)
    elif symbol in symbols.values:
        places = np.flatnonzero(symbols.codes == symbols.values.index(symbol))
    else:
        return []
    return list(zip(*(_column(batch, name, places) for name in FIELDS[kind]), strict=True))


def _column(batch: Batch, name: str, places: NDArray[np.int64]) -> Sequence[object]:
    if name in ("kind", "venue") and name not in batch.columns:
        return [batch.venue if name == "venue" else batch.kind.name] * len(places)
    column = batch.columns[name]
    if isinstance(column, Strings):
        return [None if code < 0 else column.values[code] for code in column.codes[places].tolist()]
    assert isinstance(column, np.ndarray)
    return [None if value == NULL_LONG else value for value in column[places].tolist()]
