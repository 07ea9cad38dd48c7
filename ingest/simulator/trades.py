"""Simulated trades: a pure function of a timeline and a position.

Each position has one tick. In every block each symbol has a fixed number of ticks, in an order shuffled per block, so
that its ids count 1, 2, 3, ... without any state. A late tick is not emitted at its position but at a later one, with
its original time and id; a duplicate is emitted at its position and again, identical to the byte, at a later one.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.simulator.cache import cached
from ingest.simulator.instruments import Codes, Instruments
from ingest.simulator.pseudo_random import make_key, permutation, random_words, to_uniform
from ingest.simulator.timeline import Segment, Timeline
from tapehouse.batch import Batch, ColumnData, Strings
from tapehouse.model import TRADES

VENUE = "sim"
_ORDER, _TICKS, _FATE, _DELAYS = 4, 5, 6, 7
_SIDES = np.uint64(0xD1342543DE82EF95)


@dataclass(frozen=True)
class _Rows:
    """Ticks with the positions where they are emitted."""

    positions: NDArray[np.int64]
    ts_event: NDArray[np.int64]
    ts_recv: NDArray[np.int64]
    codes: Codes
    seq: NDArray[np.int64]
    price: NDArray[np.float64]
    size: NDArray[np.float64]
    side: NDArray[np.int8]

    def take(self, rows: NDArray[Any] | slice) -> _Rows:
        return _Rows(*(column[rows] for column in vars(self).values()))


@dataclass(frozen=True)
class _DelayedTicks:
    """The late ticks and the duplicates of one block, with the positions where they are emitted."""

    rows: _Rows
    late: NDArray[np.bool_]


class Simulator:
    """The ticks of a timeline. Blocks are cached, so that requests for few positions are cheap."""

    has_seq = True
    numbering = "simulated id"

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.profile = timeline.profile
        self.instruments = Instruments(self.profile.symbols, self.profile.seed)
        size = self.profile.block
        self._weights = self.instruments.weights(size)
        codes = np.uint16 if self.profile.symbols <= 2**16 else np.int32
        self._symbol_slots = np.repeat(np.arange(self.profile.symbols).astype(codes), self._weights)
        starts = np.cumsum(self._weights) - self._weights
        self._ranks = np.arange(size) - np.repeat(starts, self._weights)
        delays = {delay for segment in timeline.segments for delay in _delay_blocks(segment, size)}
        self._block_delays = sorted({blocks + more for blocks in delays for more in (0, 1)})
        self._ticks: OrderedDict[int, _Rows] = OrderedDict()
        self._delayed_by_block: OrderedDict[int, _DelayedTicks] = OrderedDict()
        self._emissions: OrderedDict[int, _Rows] = OrderedDict()

    def batch(self, start: int, stop: int) -> Batch:
        """The ticks emitted at positions start (inclusive) to stop (exclusive), in order of emission.

        A position may emit none, one or several; a batch may have no rows.
        """
        size = self.profile.block
        parts = []
        for block in range(start // size, max(-(-stop // size), start // size + 1)):
            rows = cached(self._emissions, block, self._make_emissions, 2)
            first, last = np.searchsorted(rows.positions, (start, stop)).tolist()
            parts.append(self._batch(rows.take(slice(first, last))))
        return Batch.concat(parts)

    def due(self, position: int, now_ns: int) -> int:
        """The first position from `position` on that must not be emitted yet at `now_ns`."""
        block = position // self.profile.block
        received = cached(self._ticks, block, self._make_ticks, 2).ts_recv
        if received[-1] <= now_ns:
            return self.timeline.due(position, now_ns)
        within = int(np.searchsorted(received, now_ns, side="right"))
        return max(position, block * self.profile.block + within)

    def time(self, position: int) -> int:
        """The time of the tick of a position, ns UTC."""
        block, place = divmod(position, self.profile.block)
        return int(cached(self._ticks, block, self._make_ticks, 2).ts_event[place])

    def _batch(self, rows: _Rows) -> Batch:
        count = len(rows.seq)
        columns: dict[str, ColumnData] = {
            "ts_event": rows.ts_event,
            "ts_recv": rows.ts_recv,
            "symbol": Strings(self.instruments.names, rows.codes),
            "seq": rows.seq,
            "price": rows.price,
            "size": rows.size,
            "side": rows.side,
            "flags": np.zeros(count, np.int16),
            "exchange": Strings.constant(None, count),
            "conditions": Strings.constant(None, count),
        }
        return Batch(TRADES, VENUE, count, columns)

    def _make_emissions(self, block: int) -> _Rows:
        """The ticks emitted in a block: its own except the late ones, and delayed ones of earlier blocks."""
        first = block * self.profile.block
        ticks = cached(self._ticks, block, self._make_ticks, 2)
        self._delayed(block)
        parts = [ticks]
        for source in (block - delay for delay in self._block_delays if delay <= block):
            delayed = self._delayed(source)
            here = delayed.rows.positions // self.profile.block == block
            if here.any():
                found, late = delayed.rows.take(here), delayed.late[here]
                found.ts_recv[late] = ticks.ts_recv[found.positions[late] - first]
                parts.append(found)
        positions = np.concatenate([part.positions for part in parts])
        emitted = np.ones(len(positions), np.bool_)
        emitted[: len(ticks.positions)] = self._draw_fate(ticks.positions) >= self.profile.late
        order = np.argsort(positions, kind="stable")
        order = order[emitted[order]]
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return _Rows(*(np.concatenate(column)[order] for column in columns))

    def _make_ticks(self, block: int) -> _Rows:
        """The ticks of a block's positions, before any delay."""
        profile, size = self.profile, self.profile.block
        slots = self._symbol_slots[permutation(size, make_key(profile.seed, _ORDER, block))]
        codes = slots.astype(np.int32)
        ranks = np.empty(size, np.int64)
        ranks[np.argsort(slots, kind="stable")] = self._ranks
        positions = np.arange(block * size, (block + 1) * size, dtype=np.int64)
        times = self.timeline.block_times(block)
        random = random_words(positions, make_key(profile.seed, _TICKS))
        side = (random * _SIDES >> np.uint64(62) & np.uint64(2)).astype(np.int8) - np.int8(1)
        return _Rows(
            positions,
            times,
            self.timeline.received(times),
            codes,
            block * self._weights[codes] + ranks + 1,
            self.instruments.prices(codes, times, side),
            self.instruments.sizes(codes, random),
            side,
        )

    def _delayed(self, block: int) -> _DelayedTicks:
        """The delayed ticks of a block, cached until the last of them is emitted."""
        return cached(
            self._delayed_by_block,
            block,
            self._make_delayed,
            self._block_delays[-1] + len(self._block_delays),
        )

    def _draw_fate(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """A number in [0, 1) a tick: below `late` it is late, from there to `late + duplicates` a duplicate."""
        return to_uniform(random_words(positions, make_key(self.profile.seed, _FATE)))

    def _make_delayed(self, block: int) -> _DelayedTicks:
        profile, size = self.profile, self.profile.block
        ticks = cached(self._ticks, block, self._make_ticks, 2)
        fate = self._draw_fate(ticks.positions)
        chosen = fate < profile.late + profile.duplicates
        rows = ticks.take(chosen)
        random = random_words(rows.positions, make_key(profile.seed, _DELAYS))
        firsts = np.array([segment.first for segment in self.timeline.segments])
        owners = np.searchsorted(firsts, rows.positions, side="right") - 1
        for owner in np.unique(owners).tolist():
            segment, mine = self.timeline.segments[owner], owners == owner
            blocks = np.array(_delay_blocks(segment, size))[random[mine] & np.uint64(3)]
            steps = 1 + (random[mine] >> np.uint64(2)) % np.uint64(min(2 * segment.rate, size))
            rows.positions[mine] += blocks * size + steps.astype(np.int64)
        return _DelayedTicks(rows, fate[chosen] < profile.late)


def _delay_blocks(segment: Segment, size: int) -> list[int]:
    """The delays of ticks in blocks: up to about a second, in four steps."""
    most = segment.rate // size
    return [most, most // 2, most // 4, most // 16]
