"""When the books of the simulated venue change: a function of the time and the rates alone, not of trades.

The changes of an instrument are numbered by its share of the rate: change n is at a random time within the n-th
interval since 1970. Each change is an update of depth, a quote, or both; the kind with the higher rate has every
change, the other one evenly spread ones, so that with as many updates as quotes or more, each quote is an update too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.instruments import Codes, Instruments
from ingest.simulator.pseudo_random import make_key, random_words
from tapehouse.clock import SECOND, Nanos

Numbers = NDArray[np.int64]
_TIMES, _PHASES = 21, 22


@dataclass(frozen=True)
class Selection:
    """Of `every` changes, `chosen` evenly spread ones, which are numbered for themselves; 0 < chosen <= every."""

    chosen: int
    every: int

    def changes(self, numbers: Numbers) -> Numbers:
        """The changes that `numbers` of the selection are."""
        # Products of whole numbers since 1970 and rates would overflow.
        rounds, rest = np.divmod(numbers, self.chosen)
        found: Numbers = rounds * self.every + (rest * self.every + self.chosen - 1) // self.chosen
        return found

    def last(self, changes: Numbers) -> Numbers:
        """The number of the last selected change up to each of `changes`, inclusive."""
        rounds, rest = np.divmod(changes, self.every)
        found: Numbers = rounds * self.chosen + rest * self.chosen // self.every
        return found


class UpdateTimes:
    """The changes of all books at `quotes` and `depth` rows a second of all symbols together; one of them above 0."""

    def __init__(self, instruments: Instruments, seed: int, block: int, quotes: int, depth: int) -> None:
        self.rate = max(quotes, depth)
        self.quotes = Selection(quotes, self.rate) if quotes else None
        self.depth = Selection(depth, self.rate) if depth else None
        self.best = self.quotes or Selection(depth, self.rate)
        """The changes at which the best levels change."""
        self._periods = SECOND * block // (self.rate * instruments.weights(block))
        codes = instruments.codes
        self._keys = random_words(codes, make_key(seed, _TIMES, self.rate))
        phases = random_words(codes, make_key(seed, _PHASES, self.rate)) % self._periods.astype(np.uint64)
        self._phases = phases.astype(np.int64)

    def times(self, codes: Codes, changes: Numbers) -> Nanos:
        """The times of changes, ns UTC; they rise strictly within an instrument."""
        periods = self._periods[codes]
        jitter = random_words(changes, self._keys[codes]) % periods.astype(np.uint64)
        times: Nanos = changes * periods + self._phases[codes] + jitter.astype(np.int64)
        return times

    def first_after(self, codes: Codes, time_ns: int) -> Numbers:
        """The first change of each instrument after `time_ns`."""
        changes = (time_ns - self._phases[codes]) // self._periods[codes]
        found: Numbers = changes + (self.times(codes, changes) <= time_ns)
        return found


def runs(codes: Codes, starts: Numbers, stops: Numbers) -> tuple[Codes, Numbers]:
    """The numbers from start to stop (exclusive) of each code, as columns (code, number)."""
    counts = np.maximum(stops - starts, 0)
    ends = np.cumsum(counts)
    numbers = np.arange(int(ends[-1]), dtype=np.int64) + np.repeat(starts - (ends - counts), counts)
    return np.repeat(codes, counts), numbers
