"""Bars of all intervals of many symbols at once, kept as trades come: see `tapehouse/barkernel.py` for how.

The memory is set when it is made: 96 bytes a bar, RINGS' sizes and 12 for each symbol, taken from the system
as symbols come. Nothing is allocated for a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse import barkernel, barrings, barstate
from tapehouse.barstate import BAR, BUCKET, COUNT, LATEST, State
from tapehouse.batch import Batch, ColumnData, Strings
from tapehouse.clock import DAY, INTERVALS, NAMES
from tapehouse.model import TRADES

RINGS: dict[str, int] = {
    "15s": 120,
    "30s": 120,
    "1m": 240,
    "3m": 120,
    "5m": 144,
    "15m": 100,
    "30m": 96,
    "1h": 172,
    "4h": 60,
    "1d": 60,
    "1w": 26,
    "1M": 12,
}
"""Closed bars kept of each interval, unless set otherwise; the open one is one of them."""
RINGS_LEAST: dict[str, int] = {**dict.fromkeys(INTERVALS, 8), "1m": 64, "15m": 100, "1h": 172, "1d": 33}
"""What an open month is summed up from, and rankings over 1 h, 24 h and 7 days look at."""
_TOUCHED = 2**16
_VENUES = 256
_NEVER = np.iinfo(np.int64).max
_APPLIED = ("ts_event", "ts_recv", "seq", "price", "size", "side", "flags")


@dataclass(frozen=True)
class Changes:
    """Bars that changed: BAR [n], and of each the interval's place in INTERVALS, finality and the symbol."""

    bars: NDArray[Any]
    intervals: NDArray[np.int8]
    final: NDArray[np.bool_]
    symbols: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    moved: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """The symbols whose last price may have changed."""


@dataclass(frozen=True)
class Held:
    """What a store holds of a symbol: BAR [n] and the interval of each, ascending within each interval."""

    bars: NDArray[Any]
    intervals: NDArray[np.int8]
    latest: NDArray[Any]
    """LATEST []."""


@dataclass(frozen=True)
class Mark:
    """Rows of a symbol, times from `start_ns` to `end_ns` inclusive, that its bars may lack."""

    symbol: int
    start_ns: int
    end_ns: int


@dataclass
class _Ended:
    """Bars of one interval from `since` to `before` that are final and not all told: symbols up to `at` are."""

    interval: int
    since: int
    before: int
    at: int = 0


class Bars:
    """The bars of at most `max_symbols` symbols. A symbol is known by a number, given as it first comes."""

    def __init__(self, max_symbols: int, rings: Mapping[str, int] = RINGS) -> None:
        sizes = np.array([rings[name] for name in INTERVALS], np.int64)
        held = int(sizes.sum())
        self.names: list[tuple[str, str]] = []
        """(venue, symbol) by number."""
        self.venues: list[str] = []
        self.refused = 0
        """Trades of symbols above `max_symbols`."""
        self._max = max_symbols
        self._numbers: dict[str, dict[str, int]] = {}
        self._of_venue: dict[str, list[int]] = {}
        self._ended: dict[str, list[_Ended]] = {}
        self.state = State(
            open=np.zeros((max_symbols, COUNT), BAR),
            now=np.zeros((max_symbols, COUNT), BUCKET),
            ring=np.zeros((max_symbols, held), BAR),
            offsets=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
            sizes=sizes,
            latest=np.zeros(max_symbols, LATEST),
            seeded=np.full(max_symbols, -1, np.int64),
            clock=np.zeros(_VENUES, np.int64),
            final_before=np.zeros((_VENUES, COUNT), np.int64),
            venue=np.zeros(max_symbols, np.int64),
            dirty=np.zeros(max_symbols, np.int8),
            dirty_list=np.zeros(max_symbols, np.int64),
            touched=np.zeros(max(_TOUCHED, 4 * held), np.int64),
            is_touched=np.zeros((max_symbols, held), np.int8),
            marked_from=np.full(max_symbols, _NEVER, np.int64),
            marked_to=np.zeros(max_symbols, np.int64),
            counts=np.zeros(3, np.int64),
        )

    def number(self, venue: str, symbol: str) -> int:
        """The number of a symbol that is known; KeyError where it is not."""
        return self._numbers[venue][symbol]

    def known(self, venue: str) -> NDArray[np.int64]:
        """The numbers of a venue's symbols."""
        return np.array(self._of_venue.get(venue, ()), np.int64)

    def admit(self, venue: str, symbol: str, ts: int) -> int:
        """The number of a symbol, a new one if need be: its open buckets hold `ts` or the venue's last sealing.

        -1 where there is no room.
        """
        numbers = self._numbers.setdefault(venue, {})
        found = numbers.get(symbol)
        if found is not None:
            return found
        if (venue not in self._of_venue and len(self.venues) == _VENUES) or len(self.names) == self._max:
            return -1
        if venue not in self._of_venue:
            self._of_venue[venue] = []
            self.venues.append(venue)
        made = numbers[symbol] = len(self.names)
        self.names.append((venue, symbol))
        self._of_venue[venue].append(made)
        place = self.venues.index(venue)
        self.state.venue[made] = place
        self.state.latest["seq"][made] = -1
        barkernel.place(self.state, made, max(ts, int(self.state.final_before[place, 0])))
        return made

    def apply(self, batch: Batch, first: int = 0, *, contained: bool = False) -> int:
        """Add the trades of a batch from row `first` on; returns the row it came to.

        That is less than all when `changes` must be taken before it goes on. `contained`: the batch is known
        to be in what was restored, but for seqs above.
        """
        ts = batch.array("ts_event")
        numbers = self._numbers_of(batch.venue, batch.strings("symbol"), ts)
        columns = (_flat(numbers), *(_flat(batch.array(name)) for name in _APPLIED))
        row = int(barkernel.apply(self.state, *columns, first, contained))  # type: ignore[arg-type, call-arg]
        self.refused += int(np.count_nonzero(numbers[first:row] < 0))
        return row

    def _numbers_of(self, venue: str, symbols: Strings, ts: NDArray[np.int64]) -> NDArray[np.int64]:
        known = self._numbers.setdefault(venue, {})
        # The last one: of rows without a symbol, whose code is -1.
        numbers = np.array([*(known.get(value, -1) for value in symbols.values), -1], np.int64)
        if (numbers[:-1] < 0).any():
            for code, row in zip(*np.unique(symbols.codes, return_index=True), strict=True):
                if code >= 0 and numbers[code] < 0:
                    numbers[code] = self.admit(venue, symbols.values[code], int(ts[row]))
        of_rows: NDArray[np.int64] = numbers[symbols.codes]
        return of_rows

    def clock_ns(self, venue: str) -> int:
        """The highest ts_event of a venue."""
        return int(self.state.clock[self.venues.index(venue)])

    def seal(self, venue: str, ts: int) -> bool:
        """Close the bars of a venue that ended at or before `ts`, and make them final.

        Returns whether all is done: where not, take `changes` and ask again.
        """
        place = self.venues.index(venue)
        limits = np.array([barstate.start(i, barstate.number(i, ts)) for i in range(COUNT)], np.int64)
        before = self.state.final_before[place]
        symbols = self.known(venue)
        ended = self._ended.setdefault(venue, [])
        if not self._finish(symbols, ended):
            return False
        if limits[0] <= before[0]:
            return True
        if barrings.seal(self.state, symbols, ts, 0) < len(symbols):
            return False
        for interval in np.flatnonzero(limits > before).tolist():
            # The limit moves first: what is taken before all is told is told as final.
            ended.append(_Ended(interval, int(before[interval]), int(limits[interval])))
            before[interval] = limits[interval]
        return self._finish(symbols, ended)

    def _finish(self, symbols: NDArray[np.int64], ended: list[_Ended]) -> bool:
        """Tell of what is final and not told yet; returns whether there was room for all."""
        while ended:
            one = ended[0]
            one.at = barrings.finish(self.state, symbols, one.interval, one.since, one.before, one.at)
            if one.at < len(symbols):
                return False
            del ended[0]
        return True

    @property
    def changed(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.state.counts[0] or self.state.counts[1])

    def changes(self) -> Changes:
        """What changed since the last time this was asked."""
        most = int(self.state.counts[1]) + COUNT * int(self.state.counts[0])
        moved = self.state.dirty_list[: self.state.counts[0]].copy()
        bars = np.empty(most, BAR)
        symbols = np.empty(most, np.int64)
        intervals = np.empty(most, np.int8)
        count = barrings.gather(self.state, bars, symbols, intervals)
        bars, symbols, intervals = bars[:count], symbols[:count], intervals[:count]
        final = bars["ts"] < self.state.final_before[self.state.venue[symbols], intervals]
        return Changes(bars, intervals, final, symbols, moved)

    def marks(self) -> list[Mark]:
        """The symbols whose bars may lack rows, and of which times; they are marked no more."""
        if not self.state.counts[2]:
            return []
        self.state.counts[2] = 0
        count = len(self.names)
        chosen = np.flatnonzero(self.state.marked_from[:count] != _NEVER)
        found = [
            Mark(int(symbol), int(self.state.marked_from[symbol]), int(self.state.marked_to[symbol]))
            for symbol in chosen
        ]
        self.state.marked_from[chosen] = _NEVER
        self.state.marked_to[chosen] = 0
        return found

    def read(self, symbol: int, interval: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The bars of a symbol, ascending, the open one last, and which are final."""
        at = NAMES.index(interval)
        out = np.empty(int(self.state.sizes[at]) + 1, BAR)
        bars = out[: barrings.read(self.state, symbol, at, out)]
        return bars, bars["ts"] < self.state.final_before[self.state.venue[symbol], at]

    def restore(self, symbol: int, ts: int, cut: int, held: Held) -> bool:
        """Take over what the store holds of a symbol up to the seq `cut`: later trades are added after.

        `ts`: its open buckets hold it, or later ones that are open already. Returns whether it was done:
        where not, take `changes` and ask again.
        """
        if self.state.counts[1] + self.state.ring.shape[1] > len(self.state.touched):
            return False
        self.state.seeded[symbol] = cut
        if held.latest["ts_event"] or held.latest["price"] != self.state.latest[symbol]["price"]:
            # Of the same price, times that are known stay so.
            self.state.latest[symbol] = held.latest
        self.state.latest["seq"][symbol] = cut
        barrings.restore(self.state, symbol, ts, held.bars, held.intervals)
        return True


def _flat(column: NDArray[Any]) -> NDArray[Any]:
    """A column as the kernel is compiled for: one after the other, and read-only as messages are."""
    flat = np.ascontiguousarray(column).view()
    flat.flags.writeable = False
    return flat


def compile_kernel() -> None:
    """Compile what is compiled when first called, or load what was: seconds the first time on a machine."""
    bars = Bars(1)
    columns: dict[str, ColumnData] = {
        **{name: np.array([DAY]) for name in ("ts_event", "ts_recv", "seq")},
        "symbol": Strings.constant("", 1),
        "price": np.ones(1),
        "size": np.ones(1),
        "side": np.ones(1, np.int8),
        "flags": np.zeros(1, np.int16),
    }
    bars.apply(Batch(TRADES, "", 1, columns))
    for day in (2, 3):
        bars.seal("", day * DAY)
    bars.changes()
    held = bars.read(0, "1d")[0]
    bars.restore(0, DAY, 1, Held(held, np.full(len(held), NAMES.index("1d"), np.int8), np.zeros((), LATEST)))
