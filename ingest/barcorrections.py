"""Bars that may lack rows are read back: what is stored up to the last seq seen, and what came since on top.

A row whose seq may have been seen, or whose bucket is older than the rings, is not added to bars. Its symbol is
marked; once the writers' floors have passed the message and QuestDB shows it, the bars are read from there. The
ticks of the symbol that come while that is done are added to the bars as ever, and once more to what was read.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import numpy as np
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from ingest.applied import until_written, wait_queryable
from ingest.barstore import AT_ONCE, BarStore
from ingest.barteller import Teller
from tapehouse import sharding
from tapehouse.bars import Bars, Mark
from tapehouse.barstate import number, start
from tapehouse.batch import Batch
from tapehouse.bus import Bus, State
from tapehouse.errors import ConnectError
from tapehouse.floor import Floor, floor_key
from tapehouse.sharding import last_of

_ROWS_MOST = 500_000
"""Held while a correction waits; with more it begins anew."""
_RETRY_S = 1.0
_REST_S = 0.1
_LOOK_S = 0.05
_PATIENCE_S = 60
_log = structlog.get_logger()


class Corrections:
    """Corrects the bars of one maker until cancelled. `took` is told of each message after it was applied."""

    def __init__(self, bus: Bus, state: State, store: BarStore, bars: Bars, teller: Teller) -> None:
        self.seq = 0
        """The last message that was applied."""
        self.done = 0
        """Symbols corrected so far."""
        self._bus = bus
        self._state = state
        self._store = store
        self._bars = bars
        self._teller = teller
        self._pending: dict[int, Mark] = {}
        self._marked = asyncio.Event()
        self.refused = 0
        """The last message of trades that a refused row was told of."""
        self._refused: dict[tuple[str, str], tuple[int, int, int]] = {}
        """Of (venue, symbol): the message to wait for, and the times that rows refused are of."""
        self._held: set[int] = set()
        self._since: list[Batch] = []
        self._rows = 0

    @property
    def waiting(self) -> int:
        """Symbols whose bars may lack rows."""
        return len(self._pending)

    def took(self, batch: Batch, seq: int) -> None:
        """A message was applied."""
        self.seq = seq
        if self._held and self._rows <= _ROWS_MOST:
            symbols = batch.strings("symbol")
            # The last one: of rows without a symbol, whose code is -1.
            held = np.array(
                [*(self._number(batch.venue, value) in self._held for value in symbols.values), False]
            )
            rows = held[symbols.codes]
            if rows.any():
                self._since.append(batch.take(rows))
                self._rows += self._since[-1].rows
        if self._bars.state.counts[2]:
            self._note(self._bars.marks())
        self._note_refused()

    async def hear(self, message: Msg) -> None:
        """QuestDB refused a row: (the last message of trades in its group, venue, symbol, ts_event)."""
        try:
            seq, venue, symbol, ts = json.loads(message.data)
        except (ValueError, TypeError):
            return
        if [type(value) for value in (seq, venue, symbol, ts)] != [int, str, str, int]:
            return
        self.refused = max(self.refused, seq)
        last, first_ns, last_ns = self._refused.get((venue, symbol), (seq, ts, ts))
        self._refused[venue, symbol] = max(last, seq), min(first_ns, ts), max(last_ns, ts)
        self._note_refused()

    def _note_refused(self) -> None:
        for (venue, symbol), (seq, first_ns, last_ns) in list(self._refused.items()):
            if seq <= self.seq:
                del self._refused[venue, symbol]
                held = self._number(venue, symbol)
                self._note([Mark(held, first_ns, last_ns)] if held >= 0 else [])

    def again(self, symbols: Iterable[int]) -> None:
        """Bars that hold rows above the seq they were read up to."""
        clock = self._bars.state.clock
        for symbol in symbols:
            now = int(clock[self._bars.state.venue[symbol]])
            self._note([Mark(symbol, now, now)])

    def _number(self, venue: str, symbol: str) -> int:
        """-1 where it is not known."""
        try:
            return self._bars.number(venue, symbol)
        except KeyError:
            return -1

    def _note(self, marks: Iterable[Mark]) -> None:
        for mark in marks:
            known = self._pending.get(mark.symbol, mark)
            self._pending[mark.symbol] = Mark(
                mark.symbol, min(known.start_ns, mark.start_ns), max(known.end_ns, mark.end_ns)
            )
            self._marked.set()

    async def run(self) -> None:
        """Correct what is marked, a venue's symbols at a time."""
        while True:
            await self._marked.wait()
            self._marked.clear()
            while self._pending:
                venue = self._bars.names[next(iter(self._pending))][0]
                chosen = [symbol for symbol in self._pending if self._bars.names[symbol][0] == venue]
                try:
                    await self._correct(venue, chosen[:AT_ONCE])
                    # What is marked meanwhile is corrected together.
                    await asyncio.sleep(_REST_S)
                except (ConnectError, NatsError, TimeoutError) as reason:
                    _log.warning("bars are not corrected yet", symbols=len(self._pending), reason=str(reason))
                    await asyncio.sleep(_RETRY_S)

    async def _correct(self, venue: str, symbols: list[int]) -> None:
        await settled(self._bus, self._state, self._store, self.seq)
        # From here on later ticks are kept. Those that were marked until now are in what will be read.
        marks = [self._pending.pop(symbol) for symbol in symbols]
        cuts = {
            self._bars.names[symbol][1]: int(self._bars.state.latest[symbol]["seq"]) for symbol in symbols
        }
        self._held, self._since, self._rows = set(symbols), [], 0
        done = False
        try:
            started_ns = await settled(self._bus, self._state, self._store, self.seq)
            head = self._bars.clock_ns(venue)
            found = await self._store.run(self._store.read, venue, cuts, head)
            await still(self._store, started_ns)
            if self._rows > _ROWS_MOST:
                return
            for symbol in symbols:
                name = self._bars.names[symbol][1]
                while not self._bars.restore(symbol, head, cuts[name], found[name].held):
                    self._teller.gather()
            for batch in self._since:
                add_all(self._bars, self._teller, batch)
            done = True
        finally:
            self._held, self._since = set(), []
            if not done:
                self._note(marks)
        ring = int(start(0, number(0, head) - self._bars.state.sizes[0] + 1))
        self._teller.revised(mark for mark in marks if mark.start_ns < ring)
        self._note(self._bars.marks())
        self.again(symbol for symbol in symbols if not found[self._bars.names[symbol][1]].clean)
        self.done += len(symbols)
        await self._teller.send()


def add_all(bars: Bars, teller: Teller, batch: Batch, *, contained: bool = False) -> None:
    """Apply a whole batch, making frames of what changed where there is no more room for it."""
    row = 0
    while (row := bars.apply(batch, row, contained=contained)) < batch.rows:
        teller.gather()


async def settled(bus: Bus, state: State, store: BarStore, seq: int) -> int:
    """Wait until QuestDB shows, also in the views, all messages up to `seq`; returns when it was started.

    Raises ConnectError when the writers do not come that far.
    """
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while True:
        await until_written(bus, state, seq, _PATIENCE_S)
        started_ns = await store.run(store.reader.started_ns)
        if await _of_this_questdb(bus, state, started_ns):
            break
        if asyncio.get_running_loop().time() > deadline:
            raise ConnectError(
                f"writers: expected them to know within {_PATIENCE_S} s that QuestDB was started anew, did not"
            )
        await asyncio.sleep(_LOOK_S)
    await store.run(wait_queryable, store.reader, {"trades"}, _PATIENCE_S)
    return started_ns


async def still(store: BarStore, started_ns: int) -> None:
    """Raise ConnectError where the QuestDB that was read is not the one that was waited for."""
    if await store.run(store.reader.started_ns) != started_ns:
        raise ConnectError("questdb was started anew while bars were read")


async def _of_this_questdb(bus: Bus, state: State, start_ns: int) -> bool:
    """Whether the floors count for the QuestDB that runs: one that was started since may lack what they count."""
    known = await sharding.read(state)
    for shard in known.numbers:
        floor = Floor.read(await state.get(floor_key(shard)), known.created_ns)
        replayed = await last_of(bus, sharding.subjects(shard)) > floor.trail
        if floor.seq and replayed and floor.hot_start_ns != start_ns:
            return False
    return True
