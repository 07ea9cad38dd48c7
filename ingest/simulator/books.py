"""The order books of the simulated venue during one segment of its timeline, as rows of quotes and depth.

A quote holds from its time to the next one's, and no trade meanwhile is outside of it. When a segment begins, each
instrument has a quote and a snapshot of its book; from there on updates follow each other without a hole, and of some
the book after it is a snapshot row as well. A row's seq is its time; an update covers the seqs since the row before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.instruments import Codes, Instruments, Ticks
from ingest.simulator.ladders import Ladder, SideStates
from ingest.simulator.noise import Doubles
from ingest.simulator.pseudo_random import make_key, random_words
from ingest.simulator.timeline import Segment, Timeline
from ingest.simulator.trades import VENUE
from ingest.simulator.update_times import Numbers, UpdateTimes, runs
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import SECOND, Nanos
from tapehouse.model import DEPTH, NULL_LONG, QUOTES

SNAPSHOT_EVERY = 32
"""Of so many updates of an instrument one is followed by a snapshot, which bounds what a book is read from."""
_WINDOW_ROWS = 2_048
_BID_SIZES, _ASK_SIZES = 24, 25


@dataclass(frozen=True)
class _Best:
    """Best bids and asks in price steps, and their sizes: arrays [rows]."""

    bids: Ticks
    bid_sizes: Doubles
    asks: Ticks
    ask_sizes: Doubles


class Books:
    """The books of a segment that has quotes or depth."""

    def __init__(self, timeline: Timeline, segment: Segment, instruments: Instruments) -> None:
        seed = timeline.profile.seed
        self._timeline = timeline
        self._epoch = segment.epoch_ns
        self._instruments = instruments
        self._times = UpdateTimes(
            instruments, seed, timeline.profile.block, quotes=segment.quotes, depth=segment.depth
        )
        self._window_ns = max(1, SECOND * _WINDOW_ROWS // self._times.rate)
        self._bid_keys = random_words(instruments.codes, make_key(seed, _BID_SIZES))
        self._ask_keys = random_words(instruments.codes, make_key(seed, _ASK_SIZES))
        self._bids, self._asks = Ladder(instruments, seed, -1), Ladder(instruments, seed, 1)

    def windows(self, after_ns: int, until_ns: int) -> range:
        """The numbers of the windows with the times above `after_ns` up to `until_ns`, inclusive."""
        if until_ns <= after_ns:
            return range(0)
        first = (after_ns - self._epoch) // self._window_ns
        return range(first, (until_ns - self._epoch - 1) // self._window_ns + 1)

    def window(self, number: int) -> list[Batch]:
        """The rows of a window, about two thousand of each kind: batches in order of time."""
        start = self._epoch + number * self._window_ns
        codes = self._instruments.codes
        first = self._times.first_after(codes, start)
        stop = self._times.first_after(codes, start + self._window_ns)
        batches = []
        if selection := self._times.quotes:
            columns = runs(codes, selection.last(first - 1) + 1, selection.last(stop - 1) + 1)
            changes = selection.changes(columns[1])
            batches.append(self._quotes(columns[0], changes, self._times.times(columns[0], changes)))
        if selection := self._times.depth:
            # Each with the number before its first, whose state the first one is an update of.
            starts, stops = selection.last(first - 1), selection.last(stop - 1) + 1
            codes, numbers = runs(codes, starts, np.where(stops > starts + 1, stops, starts))
            batches += self._depth(codes, numbers, selection.changes(numbers))
        return batches

    def opening(self, first: int, stop: int) -> list[Batch]:
        """A quote and a snapshot of instruments first (inclusive) to stop (exclusive), when the segment begins."""
        codes = self._instruments.codes[first:stop]
        changes = self._times.first_after(codes, self._epoch) - 1
        times = np.full(len(codes), self._epoch)
        batches = []
        if self._times.quotes:
            batches.append(self._quotes(codes, changes, times))
        if self._times.depth:
            batches.append(self._snapshots(*self._states(codes, changes), times))
        return batches

    def _best(self, codes: Codes, changes: Numbers) -> _Best:
        """The best levels after changes."""
        numbers = self._times.best.last(changes)
        starts = self._times.times(codes, self._times.best.changes(numbers))
        ends = self._times.times(codes, self._times.best.changes(numbers + 1))
        bids, asks = self._instruments.best_ticks(codes, starts, ends)
        return _Best(
            bids,
            self._instruments.sizes(codes, random_words(numbers, self._bid_keys[codes])),
            asks,
            self._instruments.sizes(codes, random_words(numbers, self._ask_keys[codes])),
        )

    def _states(self, codes: Codes, changes: Numbers) -> tuple[SideStates, SideStates]:
        best = self._best(codes, changes)
        bids = SideStates(codes, changes, best.bids, best.bid_sizes)
        return bids, SideStates(codes, changes, best.asks, best.ask_sizes)

    def _quotes(self, codes: Codes, changes: Numbers, times: Nanos) -> Batch:
        order = np.argsort(times, kind="stable")
        codes, changes, times = codes[order], changes[order], times[order]
        best = self._best(codes, changes)
        return Batch(
            QUOTES,
            VENUE,
            len(codes),
            {
                **self._row(codes, times),
                "bid": self._instruments.prices_of(codes, best.bids),
                "bid_size": best.bid_sizes,
                "ask": self._instruments.prices_of(codes, best.asks),
                "ask_size": best.ask_sizes,
                "flags": np.zeros(len(codes), np.int16),
            },
        )

    def _depth(self, codes: Codes, numbers: Numbers, changes: Numbers) -> list[Batch]:
        """Updates and snapshots of runs of numbers, of each run all but the first, in order of time."""
        times = self._times.times(codes, changes)
        # The first update of the segment follows the snapshot that it begins with.
        opened = self._times.first_after(codes, self._epoch) - 1
        changes, times = np.maximum(changes, opened), np.maximum(times, self._epoch)
        follows = np.zeros(len(codes), np.bool_)
        follows[1:] = codes[1:] == codes[:-1]
        rows = np.flatnonzero(follows)
        rows = rows[np.argsort(times[rows], kind="stable")]
        bids, asks = self._states(codes, changes)
        updates = self._depth_batch(
            codes[rows],
            times[rows],
            times[rows - 1],
            self._bids.changed(bids.take(rows - 1), bids.take(rows)),
            self._asks.changed(asks.take(rows - 1), asks.take(rows)),
        )
        rows = rows[numbers[rows] % SNAPSHOT_EVERY == 0]
        return [updates, self._snapshots(bids.take(rows), asks.take(rows), times[rows])]

    def _snapshots(self, bids: SideStates, asks: SideStates, times: Nanos) -> Batch:
        return self._depth_batch(bids.codes, times, None, self._bids.whole(bids), self._asks.whole(asks))

    def _depth_batch(
        self,
        codes: Codes,
        times: Nanos,
        previous: Nanos | None,
        bids: tuple[Lists, Lists],
        asks: tuple[Lists, Lists],
    ) -> Batch:
        """Updates that follow the seqs `previous`; without them snapshots."""
        nothing = np.full(len(codes), NULL_LONG, np.int64)
        return Batch(
            DEPTH,
            VENUE,
            len(codes),
            {
                **self._row(codes, times),
                "snapshot": np.full(len(codes), previous is None),
                "seq_first": nothing if previous is None else previous + 1,
                "seq_previous": nothing if previous is None else previous,
                "bid_prices": bids[0],
                "bid_sizes": bids[1],
                "ask_prices": asks[0],
                "ask_sizes": asks[1],
                "flags": np.zeros(len(codes), np.int16),
            },
        )

    def _row(self, codes: Codes, times: Nanos) -> dict[str, NDArray[np.int64] | Strings]:
        return {
            "ts_event": times,
            "ts_recv": self._timeline.received(times),
            "symbol": Strings(self._instruments.names, codes),
            "seq": times,
        }
