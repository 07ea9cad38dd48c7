"""A reader of a bar engine's changes, and a plain model of what it should have published for given rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapehouse.bars import state
from tapehouse.bars.engine import BarEngine, StoredBars
from tapehouse.bars.state import BAR, LATEST
from tapehouse.clock import NAMES
from tests.trades import SYMBOLS, Candle, Trade, batches, grouped

SMALL = {**dict.fromkeys(NAMES, 6), "1h": 9, "1d": 33}
# The least room for changes with which a tick, a bucket of any interval or all rings of a symbol fit.
TOUCHED = sum(SMALL.values())


def make(rings: dict[str, int] = SMALL, max_symbols: int = len(SYMBOLS), touched: int = TOUCHED) -> BarEngine:
    """A bar engine with so little room for changes that they must be taken often."""
    bars = BarEngine(max_symbols, rings)
    bars.state = bars.state._replace(touched=np.zeros(touched, np.int64))
    return bars


class Reader:
    """The bars as a client knows them that takes all changes."""

    def __init__(self, bars: BarEngine) -> None:
        self.bars = bars
        self.bars_by_key: dict[tuple[int, str, int], tuple[Candle, int, bool]] = {}
        self.finals: dict[tuple[int, str, int], int] = {}
        """The last revision of each final bar."""
        self.emptied: dict[tuple[int, str, int], tuple[int, bool]] = {}
        """Revision and finality of bars that became empty."""

    def take(self) -> int:
        """Take the changes; returns the number of bars in them."""
        changes = self.bars.take_changes()
        for bar, symbol, interval, final in zip(
            changes.bars,
            changes.symbols.tolist(),
            changes.intervals.tolist(),
            changes.final.tolist(),
            strict=True,
        ):
            made = candle_of(bar)
            key = (symbol, NAMES[interval], made.ts)
            assert final or key not in self.finals, "final, then not"
            assert bar["revision"] >= self.finals.get(key, 0), "revision fell"
            if final:
                self.finals[key] = int(bar["revision"])
            self.bars_by_key[key] = (made, int(bar["revision"]), final)
            if not made.trades:
                del self.bars_by_key[key]
                self.emptied[key] = (int(bar["revision"]), final)
        assert not self.bars.has_changes
        return len(changes.bars)

    def apply(self, rows: Sequence[Trade], *, restored: bool = False) -> int:
        """Apply all rows, taking changes when they fill up; returns how often."""
        times = 0
        for batch in batches(rows):
            at = 0
            while (at := self.bars.apply(batch, at, restored=restored)) < batch.rows:
                assert self.take()
                times += 1
        return times

    def finalize(self, venue: str, ts: int) -> int:
        """Finalize, taking changes when they fill up; returns how often."""
        times = 0
        while not self.bars.finalize(venue, ts):
            assert self.take(), "neither done nor any changes"
            times += 1
            assert times < 1000, "no end"
        return times

    def restore(self, symbol: int, ts: int, cut: int, rows: Sequence[Trade]) -> None:
        """Restore one symbol from rows in a store, taking changes when they fill up."""
        while not self.bars.restore(symbol, ts, cut, stored(rows)):
            assert self.take(), "neither done nor any changes"

    def of(self, symbol: int, interval: str) -> list[tuple[Candle, int, bool]]:
        """The bars of one symbol and interval, ascending."""
        keys = sorted(key for key in self.bars_by_key if key[:2] == (symbol, interval))
        return [self.bars_by_key[key] for key in keys]


def candle_of(bar: Any) -> Candle:
    return Candle(*(bar[name].item() for name in Candle._fields))


def read(bars: BarEngine, symbol: int, interval: str) -> list[tuple[Candle, int, bool]]:
    made, final = bars.read(symbol, interval)
    return [
        (candle_of(bar), int(bar["revision"]), bool(end))
        for bar, end in zip(made, final.tolist(), strict=True)
    ]


def candles(bars: BarEngine, symbol: int, interval: str) -> list[Candle]:
    return [made for made, _, _ in read(bars, symbol, interval)]


def stored(rows: Sequence[Trade]) -> StoredBars:
    """The bars that a store has for one symbol's rows."""
    found, places = [], []
    for place, interval in enumerate(NAMES):
        for made in grouped(rows, interval):
            found.append((*made, 0))
            places.append(place)
    latest = np.zeros((), LATEST)
    if found:
        last = max((one for one in rows if one.in_bars), key=lambda one: one.seq)
        latest[()] = (last.seq, last.ts, last.ts + 1, last.price, last.size)
    return StoredBars(np.array(found, BAR), np.array(places, np.int8), latest)


@dataclass
class Expected:
    """What the engine should have of one symbol, updated row by row."""

    head: int = -1
    last: int = -1
    final_before: int = 0
    """The ts of the last `finalize`."""
    rings: dict[str, int] = field(default_factory=lambda: SMALL)

    def __post_init__(self) -> None:
        self.rows: list[Trade] = []
        self.stale: list[int] = []
        self.revisions: dict[tuple[str, int], int] = defaultdict(int)

    def add(self, made: Trade, finalized: int) -> None:
        """Add one row, of a venue that was finalized up to `finalized`."""
        if self.head < 0:
            self.head = max(made.ts, finalized)
            self.final_before = finalized
        if made.seq <= self.last:
            self.stale.append(made.ts)
            return
        self.last = made.seq
        if not made.in_bars:
            return
        self.head = max(self.head, made.ts)
        for place, interval in enumerate(NAMES):
            start = bucket(interval, made.ts)
            if not self.reaches(interval, start):
                self.stale.append(made.ts)
            elif start < state.bucket_start(place, state.bucket_number(place, self.final_before)) and any(
                bucket(interval, one.ts) == start for one in self.rows
            ):
                self.revisions[interval, start] += 1
        self.rows.append(made)

    def finalize(self, ts: int) -> None:
        """Make final all bars that ended at or before `ts`."""
        if self.head >= 0:
            self.head = max(self.head, ts)
            self.final_before = max(self.final_before, ts)

    def reaches(self, interval: str, start: int) -> bool:
        """Whether a bucket is still within the ring."""
        place = NAMES.index(interval)
        return bool(
            state.bucket_number(place, start) > state.bucket_number(place, self.head) - self.rings[interval]
        )

    def bars(self, interval: str) -> list[Candle]:
        """The bars within the ring."""
        return [made for made in grouped(self.rows, interval) if self.reaches(interval, made.ts)]


def bucket(interval: str, ts: int) -> int:
    place = NAMES.index(interval)
    return int(state.bucket_start(place, state.bucket_number(place, ts)))


def check(bars: BarEngine, reader: Reader, number: int, want: Expected) -> None:
    """Assert that bars read from the engine are those of all rows, and those of a reader of all changes."""
    for interval in NAMES:
        found = read(bars, number, interval)
        assert [made for made, _, _ in found] == want.bars(interval), interval
        assert [one for one in reader.of(number, interval) if want.reaches(interval, one[0].ts)] == found
