"""Rows of one kind as they are stored in the stream, for the topics of the hub."""

from __future__ import annotations

import asyncio
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
from tapehouse.clock import SECOND, iso, now_ns
from tapehouse.errors import ConnectError, WireError
from tapehouse.model import NULL_LONG
from tapehouse.stream.bus import TICKS, Bus
from tapehouse.stream.consumer import StreamConsumer
from tapehouse.stream.wire import unpack

FIELDS = {"trades": TRADE_FIELDS, "quotes": QUOTE_FIELDS, "gaps": GAP_FIELDS}
_BACK_S = 30
"""So far back the stream is read at the start: rows of then are visible in the store, or the writer is late."""
_MOST_BYTES = 32 * 2**20
"""Of messages in memory."""
_TAKEN_BYTES = 4 * 2**20
_INACTIVE_S = 30
_RETRY_S = 1.0
_QUIET_S = 0.5
_log = structlog.get_logger()
Listener = Callable[[str, str, list[Row]], None]
"""Called with a venue, a symbol and their rows."""


class TickSource:
    """The newest rows of a kind in memory, and new ones passed on; current while `run` runs."""

    def __init__(self, bus: Bus, kind: str, on_rows: Listener) -> None:
        """`on_rows` is called for each symbol of a message that `wanted` has; with all symbols for gaps."""
        self._bus = bus
        self._kind = kind
        self._on_rows = on_rows
        self.wanted: set[tuple[str, str]] = set()
        """(venue, symbol) that somebody follows."""
        self._recent: deque[tuple[int, int, Batch]] = deque()
        """When a message was stored, ns, its bytes, and its rows."""
        self._bytes = 0
        self.is_ready = asyncio.Event()
        """Set once rows that were stored before `run` began have been read."""

    async def run(self) -> None:
        """Read the stream until cancelled."""
        last_seq, began_ns = 0, now_ns()
        while True:
            consumer = None
            try:
                name = f"live_{self._kind}_{secrets.token_hex(4)}"
                await self._bus.js.add_consumer(TICKS, self._config(name, last_seq, began_ns))
                consumer = StreamConsumer(self._bus, TICKS, name)
                await consumer.listen()
                while True:
                    try:
                        # A stream without a message for so long has none of before.
                        async with asyncio.timeout(None if self.is_ready.is_set() else _QUIET_S):
                            messages = await consumer.take(_TAKEN_BYTES)
                    except TimeoutError:
                        self.is_ready.set()
                        continue
                    for message in messages:
                        last_seq = message.seq
                        self._received(message.stored_ns, message.data)
                    if messages[-1].stored_ns >= began_ns:
                        self.is_ready.set()
                    await asyncio.sleep(0)
            except (ConnectError, NatsError) as reason:
                _log.warning("live stream interrupted", kind=self._kind, reason=str(reason) or repr(reason))
                await self._bus.until_connected()
                await asyncio.sleep(_RETRY_S)
            finally:
                if consumer is not None:
                    await consumer.stop()

    def recent(self, venue: str, symbol: str) -> list[Row]:
        """The rows of a symbol in memory, in the order in which they were stored."""
        return [
            row
            for _, _, batch in self._recent
            if batch.venue == venue
            for row in _rows(batch, symbol, self._kind)
        ]

    def _config(self, name: str, last_seq: int, began_ns: int) -> ConsumerConfig:
        start = (
            {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": last_seq + 1}
            if last_seq
            else {
                "deliver_policy": DeliverPolicy.BY_START_TIME,
                "opt_start_time": iso(began_ns - _BACK_S * SECOND),
            }
        )
        return ConsumerConfig(
            name=name,
            ack_policy=AckPolicy.NONE,
            filter_subjects=[f"ticks.{self._kind}.>"],
            inactive_threshold=_INACTIVE_S,
            mem_storage=True,
            **start,
        )

    def _received(self, stored_ns: int, data: bytes) -> None:
        try:
            batch = unpack(data)
        except WireError:
            return  # the writer puts it in quarantine
        self._recent.append((stored_ns, len(data), batch))
        self._bytes += len(data)
        while self._recent and (
            self._bytes > _MOST_BYTES or self._recent[0][0] < stored_ns - _BACK_S * SECOND
        ):
            self._bytes -= self._recent.popleft()[1]
        if self._kind == "gaps":
            self._on_rows(batch.venue, "", _rows(batch, None, self._kind))
            return
        symbols = batch.columns["symbol"]
        assert isinstance(symbols, Strings)
        for symbol in symbols.values:
            if (batch.venue, symbol) in self.wanted:
                rows = _rows(batch, symbol, self._kind)
                if rows:
                    self._on_rows(batch.venue, symbol, rows)


def _rows(batch: Batch, symbol: str | None, kind: str) -> list[Row]:
    """The rows of a symbol, or of all with None, as tuples of the kind's fields."""
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
