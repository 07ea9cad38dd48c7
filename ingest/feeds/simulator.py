"""Simulated trades: a pure function of a timeline and a position.

Each position has one tick. In every block each symbol has a fixed number of ticks, in an order shuffled for
the block, so that its ids count 1, 2, 3 without end and without history. A late tick is withheld at its
position and emitted at a later one with its early time and id; a duplicate is emitted where it belongs and
once more, the same to the byte, at a later one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.feeds.chance import fractions, key, shuffled, words
from ingest.feeds.instruments import Codes, Instruments
from ingest.feeds.timeline import Segment, Timeline
from tapehouse.batch import Batch, ColumnData, Strings
from tapehouse.model import TRADES

VENUE = "sim"
_ORDER, _TICKS, _FATES, _DELAYS = 4, 5, 6, 7
_SIDES = np.uint64(0xD1342543DE82EF95)
_T = TypeVar("_T")


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
class _Echoes:
    """The late ticks and the duplicates of one block, at the positions where they are emitted."""

    rows: _Rows
    late: NDArray[np.bool_]


class Simulator:
    """The ticks of a timeline. Asking for a few positions at a time costs little: blocks are remembered."""

    has_seq = True
    numbering = "simulated id"

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.profile = timeline.profile
        self.instruments = Instruments(self.profile.symbols, self.profile.seed)
        size = self.profile.block
        self._weights = self.instruments.weights(size)
        codes = np.uint16 if self.profile.symbols <= 2**16 else np.int32
        self._dealt = np.repeat(np.arange(self.profile.symbols).astype(codes), self._weights)
        starts = np.cumsum(self._weights) - self._weights
        self._ranks = np.arange(size) - np.repeat(starts, self._weights)
        reaches = {reach for segment in timeline.segments for reach in _reaches(segment, size)}
        self._behind = sorted({blocks + more for blocks in reaches for more in (0, 1)})
        self._ticks: OrderedDict[int, _Rows] = OrderedDict()
        self._echoes: OrderedDict[int, _Echoes] = OrderedDict()
        self._emissions: OrderedDict[int, _Rows] = OrderedDict()

    def batch(self, start: int, stop: int) -> Batch:
        """The ticks emitted at positions start (inclusive) to stop (exclusive), in order of emission.

        A position may emit none, one or several; a batch may have no rows.
        """
        size = self.profile.block
        parts = []
        for block in range(start // size, max(-(-stop // size), start // size + 1)):
            rows = _kept(self._emissions, block, self._emission, 2)
            first, last = np.searchsorted(rows.positions, (start, stop)).tolist()
            parts.append(self._batch(rows.take(slice(first, last))))
        return Batch.concat(parts)

    def due(self, position: int, now_ns: int) -> int:
        """The first position from `position` on that must not be emitted yet at `now_ns`."""
        block = position // self.profile.block
        received = _kept(self._ticks, block, self._happened, 2).ts_recv
        if received[-1] <= now_ns:
            return self.timeline.due(position, now_ns)
        within = int(np.searchsorted(received, now_ns, side="right"))
        return max(position, block * self.profile.block + within)

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

    def _emission(self, block: int) -> _Rows:
        """What a block emits: its own ticks without the late ones, and the echoes that reach it."""
        first = block * self.profile.block
        ticks = _kept(self._ticks, block, self._happened, 2)
        self._remembered(block)
        parts = [ticks]
        for source in (block - behind for behind in self._behind if behind <= block):
            echoed = self._remembered(source)
            here = echoed.rows.positions // self.profile.block == block
            if here.any():
                found, late = echoed.rows.take(here), echoed.late[here]
                found.ts_recv[late] = ticks.ts_recv[found.positions[late] - first]
                parts.append(found)
        positions = np.concatenate([part.positions for part in parts])
        emitted = np.ones(len(positions), np.bool_)
        emitted[: len(ticks.positions)] = self._fate(ticks.positions) >= self.profile.late
        order = np.argsort(positions, kind="stable")
        order = order[emitted[order]]
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return _Rows(*(np.concatenate(column)[order] for column in columns))

    def _happened(self, block: int) -> _Rows:
        """The ticks of a block's positions, as if none were late."""
        profile, size = self.profile, self.profile.block
        dealt = self._dealt[shuffled(size, key(profile.seed, _ORDER, block))]
        codes = dealt.astype(np.int32)
        ranks = np.empty(size, np.int64)
        ranks[np.argsort(dealt, kind="stable")] = self._ranks
        positions = np.arange(block * size, (block + 1) * size, dtype=np.int64)
        times = self.timeline.block_times(block)
        chance = words(positions, key(profile.seed, _TICKS))
        side = (chance * _SIDES >> np.uint64(62) & np.uint64(2)).astype(np.int8) - np.int8(1)
        return _Rows(
            positions,
            times,
            self.timeline.received(times),
            codes,
            block * self._weights[codes] + ranks + 1,
            self.instruments.prices(codes, times, side),
            self.instruments.sizes(codes, chance),
            side,
        )

    def _remembered(self, block: int) -> _Echoes:
        """The echoes of a block, made while its ticks are at hand, kept until the last is emitted."""
        return _kept(self._echoes, block, self._echoed, self._behind[-1] + len(self._behind))

    def _fate(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Below the share of late ticks: late; from there to both shares together: a duplicate."""
        return fractions(words(positions, key(self.profile.seed, _FATES)))

    def _echoed(self, block: int) -> _Echoes:
        profile, size = self.profile, self.profile.block
        ticks = _kept(self._ticks, block, self._happened, 2)
        fate = self._fate(ticks.positions)
        chosen = fate < profile.late + profile.duplicates
        rows = ticks.take(chosen)
        chance = words(rows.positions, key(profile.seed, _DELAYS))
        firsts = np.array([segment.first for segment in self.timeline.segments])
        owners = np.searchsorted(firsts, rows.positions, side="right") - 1
        for owner in np.unique(owners).tolist():
            segment, mine = self.timeline.segments[owner], owners == owner
            blocks = np.array(_reaches(segment, size))[chance[mine] & np.uint64(3)]
            steps = 1 + (chance[mine] >> np.uint64(2)) % np.uint64(min(2 * segment.rate, size))
            rows.positions[mine] += blocks * size + steps.astype(np.int64)
        return _Echoes(rows, fate[chosen] < profile.late)


def _reaches(segment: Segment, size: int) -> list[int]:
    """How many blocks late ticks may be behind: up to about a second, in four steps."""
    most = segment.rate // size
    return [most, most // 2, most // 4, most // 16]


def _kept(cache: OrderedDict[int, _T], block: int, make: Callable[[int], _T], limit: int) -> _T:
    found = cache.get(block)
    if found is None:
        found = cache[block] = make(block)
        while len(cache) > limit:
            cache.popitem(last=False)
    return found
