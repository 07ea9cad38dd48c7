"""Corrections: bars that may lack rows are read again from QuestDB, and newer ticks are applied on top.

A row that the bar engine cannot add (its seq is not above the last one, or its bucket has left the ring) makes a
stale span of its symbol. Once the writers' floors have passed the row's message and QuestDB shows it, the symbol's
bars are read from there up to the last seq applied. Ticks of the symbol that arrive meanwhile are applied to the
bars in memory, are buffered, and are applied again to the bars that were read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import numpy as np
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ingest.barmaker.frame_publisher import FramePublisher
from ingest.barmaker.store import SYMBOLS_PER_QUERY, BarStore
from tapehouse.bars.engine import BarEngine, StaleSpan
from tapehouse.bars.state import STALE, bucket_number, bucket_start
from tapehouse.batch import Batch
from tapehouse.errors import ConnectError
from tapehouse.stream.bus import Bus, State
from tapehouse.stream.progress import floors_count_for, wait_until_written

_MAX_BUFFERED_ROWS = 500_000
"""Rows buffered during one correction; with more the correction starts again."""
_RETRY_S = 1.0
_PAUSE_S = 0.1
_POLL_S = 0.05
_TIMEOUT_S = 60
_log = structlog.get_logger()


class Corrections:
    """Corrects the bars of one session until cancelled. Call `on_applied` after each message was applied."""

    def __init__(
        self, bus: Bus, state: State, store: BarStore, bars: BarEngine, frames: FramePublisher
    ) -> None:
        self.applied_seq = 0
        """The last message applied to the bars."""
        self.corrected = 0
        """Number of symbols corrected so far."""
        self._bus = bus
        self._state = state
        self._store = store
        self._bars = bars
        self._frames = frames
        self._pending: dict[int, StaleSpan] = {}
        """By symbol id."""
        self._pending_added = asyncio.Event()
        self.last_rejected_seq = 0
        """The last message known to have a row that QuestDB rejected."""
        self._rejected: dict[tuple[str, str], tuple[int, int, int]] = {}
        """By (venue, symbol): the message to wait for, and the first and last ts_event of rejected rows, inclusive."""
        self._rereading: set[int] = set()
        self._buffered: list[Batch] = []
        self._buffered_rows = 0

    @property
    def pending_count(self) -> int:
        """Number of symbols whose bars may lack rows."""
        return len(self._pending)

    def on_applied(self, batch: Batch, seq: int) -> None:
        """Note that the trades of message `seq` were applied to the bars."""
        self.applied_seq = seq
        if self._rereading and self._buffered_rows <= _MAX_BUFFERED_ROWS:
            symbols = batch.strings("symbol")
            # The last entry serves rows without a symbol, whose code is -1.
            buffered = np.array(
                [*(self._symbol_id(batch.venue, value) in self._rereading for value in symbols.values), False]
            )
            rows = buffered[symbols.codes]
            if rows.any():
                self._buffered.append(batch.take(rows))
                self._buffered_rows += self._buffered[-1].rows
        if self._bars.state.counts[STALE]:
            self._add_pending(self._bars.take_stale_spans())
        self._add_rejected()

    async def on_rejected_row(self, message: Msg) -> None:
        """Note a row that QuestDB rejected. The message is a JSON array of the last message of trades in the same
        commit, venue, symbol and ts_event."""
        try:
            seq, venue, symbol, ts = json.loads(message.data)
        except (ValueError, TypeError):
            return
        if [type(value) for value in (seq, venue, symbol, ts)] != [int, str, str, int]:
            return
        self.last_rejected_seq = max(self.last_rejected_seq, seq)
        last, first_ns, last_ns = self._rejected.get((venue, symbol), (seq, ts, ts))
        self._rejected[venue, symbol] = max(last, seq), min(first_ns, ts), max(last_ns, ts)
        self._add_rejected()

    def _add_rejected(self) -> None:
        for (venue, symbol), (seq, first_ns, last_ns) in list(self._rejected.items()):
            if seq <= self.applied_seq:
                del self._rejected[venue, symbol]
                symbol_id = self._symbol_id(venue, symbol)
                if symbol_id >= 0:
                    self._add_pending([StaleSpan(symbol_id, first_ns, last_ns)])

    def reread_latest(self, symbols: Iterable[int]) -> None:
        """Read bars of these symbols again: the store returned bars with rows above the requested seq."""
        clock = self._bars.state.clock
        for symbol in symbols:
            now = int(clock[self._bars.state.venue[symbol]])
            self._add_pending([StaleSpan(symbol, now, now)])

    def _symbol_id(self, venue: str, symbol: str) -> int:
        """The id of a symbol; -1 when it has no bars."""
        try:
            return self._bars.symbol_id(venue, symbol)
        except KeyError:
            return -1

    def _add_pending(self, spans: Iterable[StaleSpan]) -> None:
        for span in spans:
            known = self._pending.get(span.symbol, span)
            self._pending[span.symbol] = StaleSpan(
                span.symbol, min(known.start_ns, span.start_ns), max(known.end_ns, span.end_ns)
            )
            self._pending_added.set()

    async def run(self) -> None:
        """Correct pending symbols, those of one venue at a time, until cancelled."""
        while True:
            await self._pending_added.wait()
            self._pending_added.clear()
            while self._pending:
                venue = self._bars.names[next(iter(self._pending))][0]
                chosen = [symbol for symbol in self._pending if self._bars.names[symbol][0] == venue]
                try:
                    await self._correct(venue, chosen[:SYMBOLS_PER_QUERY])
                    # Symbols that become pending in this pause are corrected together.
                    await asyncio.sleep(_PAUSE_S)
                except (ConnectError, NatsError, TimeoutError) as reason:
                    _log.warning(
                        "correction failed, retrying", symbols=len(self._pending), reason=str(reason)
                    )
                    await asyncio.sleep(_RETRY_S)

    async def _correct(self, venue: str, symbols: list[int]) -> None:
        await wait_until_bars_visible(self._bus, self._state, self._store, self.applied_seq)
        # Later ticks are buffered from here on. Rows that made these spans are visible, so the read has them.
        spans = [self._pending.pop(symbol) for symbol in symbols]
        seqs = {
            self._bars.names[symbol][1]: int(self._bars.state.latest[symbol]["seq"]) for symbol in symbols
        }
        self._rereading, self._buffered, self._buffered_rows = set(symbols), [], 0
        is_corrected = False
        try:
            started_ns = await wait_until_bars_visible(self._bus, self._state, self._store, self.applied_seq)
            clock_ns = self._bars.clock_ns(venue)
            found = await self._store.run(self._store.read_symbols, venue, seqs, clock_ns)
            await ensure_same_questdb(self._store, started_ns)
            if self._buffered_rows > _MAX_BUFFERED_ROWS:
                return
            for symbol in symbols:
                name = self._bars.names[symbol][1]
                while not self._bars.restore(symbol, clock_ns, seqs[name], found[name].stored):
                    self._frames.build_frames()
            for batch in self._buffered:
                apply_batch(self._bars, self._frames, batch)
            is_corrected = True
        finally:
            self._rereading, self._buffered = set(), []
            if not is_corrected:
                self._add_pending(spans)
        ring_start_ns = int(bucket_start(0, bucket_number(0, clock_ns) - self._bars.state.sizes[0] + 1))
        self._frames.add_revised(span for span in spans if span.start_ns < ring_start_ns)
        self._add_pending(self._bars.take_stale_spans())
        self.reread_latest(symbol for symbol in symbols if not found[self._bars.names[symbol][1]].complete)
        self.corrected += len(symbols)
        await self._frames.send()


def apply_batch(bars: BarEngine, frames: FramePublisher, batch: Batch, *, restored: bool = False) -> None:
    """Apply a whole batch; builds frames whenever the engine has no room for more changes.

    `restored`: see `BarEngine.apply`.
    """
    row = 0
    while (row := bars.apply(batch, row, restored=restored)) < batch.rows:
        frames.build_frames()


async def wait_until_bars_visible(bus: Bus, state: State, store: BarStore, seq: int) -> int:
    """Wait until queries see all messages up to `seq`.

    Returns the start of the QuestDB instance, ns. Raises ConnectError when the writers do not get that far.
    """
    deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
    while True:
        await wait_until_written(bus, state, seq, _TIMEOUT_S)
        started_ns = await store.run(store.reader.started_ns)
        if await floors_count_for(bus, state, started_ns):
            break
        if asyncio.get_running_loop().time() > deadline:
            raise ConnectError(
                f"writers: expected them to notice within {_TIMEOUT_S} s that QuestDB was restarted, did not"
            )
        await asyncio.sleep(_POLL_S)
    await store.run(store.reader.wait_applied, "trades")
    return started_ns


async def ensure_same_questdb(store: BarStore, started_ns: int) -> None:
    """Raise ConnectError unless QuestDB's instance is still the one started at `started_ns`."""
    if await store.run(store.reader.started_ns) != started_ns:
        raise ConnectError("QuestDB was restarted while bars were read; reading them again")
