"""A reader of all that live bars tell, and what they should have told by the rows that were given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapehouse import barstate
from tapehouse.bars import Bars, Held
from tapehouse.barstate import BAR, LATEST
from tapehouse.clock import NAMES
from tests.trades import SYMBOLS, Candle, Trade, batches, grouped

SMALL = {**dict.fromkeys(NAMES, 6), "1h": 9, "1d": 33}
# The least with which a tick, a bucket of any interval, or a whole symbol's rings can be told.
TOUCHED = sum(SMALL.values())


def make(rings: dict[str, int] = SMALL, max_symbols: int = len(SYMBOLS), touched: int = TOUCHED) -> Bars:
    """Bars that must often be told before they go on."""
    bars = Bars(max_symbols, rings)
    bars.state = bars.state._replace(touched=np.zeros(touched, np.int64))
    return bars


class Reader:
    """What a reader of all changes holds."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.held: dict[tuple[int, str, int], tuple[Candle, int, bool]] = {}
        self.finals: dict[tuple[int, str, int], int] = {}
        """The revision that each final bar was last told with."""
        self.emptied: dict[tuple[int, str, int], tuple[int, bool]] = {}
        """Revision and finality of bars that were told to hold nothing."""

    def take(self) -> int:
        """Keep what changed; returns how many bars that was."""
        told = self.bars.changes()
        for bar, symbol, interval, final in zip(
            told.bars, told.symbols.tolist(), told.intervals.tolist(), told.final.tolist(), strict=True
        ):
            made = candle_of(bar)
            key = (symbol, NAMES[interval], made.ts)
            assert final or key not in self.finals, "final, then not"
            assert bar["revision"] >= self.finals.get(key, 0), "revision fell"
            if final:
                self.finals[key] = int(bar["revision"])
            self.held[key] = (made, int(bar["revision"]), final)
            if not made.trades:
                del self.held[key]
                self.emptied[key] = (int(bar["revision"]), final)
        assert not self.bars.changed
        return len(told.bars)

    def apply(self, rows: Sequence[Trade], *, contained: bool = False) -> int:
        """Give all of the rows, in turn with taking what changed; returns how often that was."""
        times = 0
        for batch in batches(rows):
            at = 0
            while (at := self.bars.apply(batch, at, contained=contained)) < batch.rows:
                assert self.take()
                times += 1
        return times

    def seal(self, venue: str, ts: int) -> int:
        """Close, in turn with taking what changed; returns how often that was."""
        times = 0
        while not self.bars.seal(venue, ts):
            assert self.take(), "neither done nor anything to tell"
            times += 1
            assert times < 1000, "no end"
        return times

    def restore(self, symbol: int, ts: int, cut: int, rows: Sequence[Trade]) -> None:
        """Take over the rows of one symbol from a store, in turn with taking what changed."""
        while not self.bars.restore(symbol, ts, cut, stored(rows)):
            assert self.take(), "neither done nor anything to tell"

    def of(self, symbol: int, interval: str) -> list[tuple[Candle, int, bool]]:
        """The bars of one symbol and interval, ascending."""
        keys = sorted(key for key in self.held if key[:2] == (symbol, interval))
        return [self.held[key] for key in keys]


def candle_of(bar: Any) -> Candle:
    return Candle(*(bar[name].item() for name in Candle._fields))


def read(bars: Bars, symbol: int, interval: str) -> list[tuple[Candle, int, bool]]:
    made, final = bars.read(symbol, interval)
    return [
        (candle_of(bar), int(bar["revision"]), bool(end))
        for bar, end in zip(made, final.tolist(), strict=True)
    ]


def candles(bars: Bars, symbol: int, interval: str) -> list[Candle]:
    return [made for made, _, _ in read(bars, symbol, interval)]


def stored(rows: Sequence[Trade]) -> Held:
    """What a store holds of one symbol's rows."""
    found, places = [], []
    for place, interval in enumerate(NAMES):
        for made in grouped(rows, interval):
            found.append((*made, 0))
            places.append(place)
    latest = np.zeros((), LATEST)
    if found:
        last = max((one for one in rows if one.in_bars), key=lambda one: one.seq)
        latest[()] = (last.seq, last.ts, last.ts + 1, last.price, last.size)
    return Held(np.array(found, BAR), np.array(places, np.int8), latest)


@dataclass
class Expected:
    """What the kernel should know of one symbol, kept a row at a time."""

    head: int = -1
    last: int = -1
    final_before: int = 0
    """The moment of the last sealing."""
    rings: dict[str, int] = field(default_factory=lambda: SMALL)

    def __post_init__(self) -> None:
        self.rows: list[Trade] = []
        self.marked: list[int] = []
        self.revisions: dict[tuple[str, int], int] = defaultdict(int)

    def add(self, made: Trade, sealed: int) -> None:
        """One row, of a venue that was sealed up to `sealed`."""
        if self.head < 0:
            self.head = max(made.ts, sealed)
            self.final_before = sealed
        if made.seq <= self.last:
            self.marked.append(made.ts)
            return
        self.last = made.seq
        if not made.in_bars:
            return
        self.head = max(self.head, made.ts)
        for place, interval in enumerate(NAMES):
            start = bucket(interval, made.ts)
            if not self.reaches(interval, start):
                self.marked.append(made.ts)
            elif start < barstate.start(place, barstate.number(place, self.final_before)) and any(
                bucket(interval, one.ts) == start for one in self.rows
            ):
                self.revisions[interval, start] += 1
        self.rows.append(made)

    def seal(self, ts: int) -> None:
        """All that ended by `ts` is final."""
        if self.head >= 0:
            self.head = max(self.head, ts)
            self.final_before = max(self.final_before, ts)

    def reaches(self, interval: str, start: int) -> bool:
        """Whether a ring still has the place of a bucket."""
        place = NAMES.index(interval)
        return bool(barstate.number(place, start) > barstate.number(place, self.head) - self.rings[interval])

    def bars(self, interval: str) -> list[Candle]:
        """As far as the ring reaches."""
        return [made for made in grouped(self.rows, interval) if self.reaches(interval, made.ts)]


def bucket(interval: str, ts: int) -> int:
    place = NAMES.index(interval)
    return int(barstate.start(place, barstate.number(place, ts)))


def check(bars: Bars, reader: Reader, number: int, want: Expected) -> None:
    """What is read is what all rows make, and what a reader of all changes holds."""
    for interval in NAMES:
        held = read(bars, number, interval)
        assert [made for made, _, _ in held] == want.bars(interval), interval
        assert [one for one in reader.of(number, interval) if want.reaches(interval, one[0].ts)] == held
