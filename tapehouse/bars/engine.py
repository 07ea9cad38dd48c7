"""The bar engine: live bars of all intervals of many symbols, updated trade by trade.

The algorithm is in `tapehouse/bars/kernel.py`. Memory is fixed when an engine is made, 96 bytes a bar: for each symbol
its rings and one open bar an interval. The system provides it page by page as symbols appear; applying a tick
allocates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.bars import kernel, rings, state
from tapehouse.bars.state import BAR, BUCKET, INTERVAL_COUNT, LATEST, State
from tapehouse.batch import Batch, ColumnData, Strings
from tapehouse.clock import DAY, INTERVALS, NAMES
from tapehouse.model import TRADES

RING_SIZES: dict[str, int] = {
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
"""Default size of the ring of each interval, bars; the open bar counts."""
MIN_RING_SIZES: dict[str, int] = {**dict.fromkeys(INTERVALS, 8), "1m": 64, "15m": 100, "1h": 172, "1d": 33}
"""Smallest rings: those from which an open month can be rebuilt and rankings over 1 h, 24 h and 7 days be made."""
_MIN_TOUCHED = 2**16
_MAX_VENUES = 256
_NEVER = np.iinfo(np.int64).max
_APPLIED_COLUMNS = ("ts_event", "ts_recv", "seq", "price", "size", "side", "flags")


@dataclass(frozen=True)
class Changes:
    """Bars that changed: BAR [n], and for each its interval (index into INTERVALS), finality and symbol id."""

    bars: NDArray[Any]
    intervals: NDArray[np.int8]
    final: NDArray[np.bool_]
    symbols: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    dirty_symbols: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Ids of the symbols whose open bars or last price changed."""


@dataclass(frozen=True)
class StoredBars:
    """A symbol's bars from a store: BAR [n] and the interval of each, ascending within each interval."""

    bars: NDArray[Any]
    intervals: NDArray[np.int8]
    latest: NDArray[Any]
    """LATEST [], the last price."""


@dataclass(frozen=True)
class StaleSpan:
    """Bars of a symbol that may lack rows with a ts_event from `start_ns` to `end_ns`, both inclusive."""

    symbol: int
    start_ns: int
    end_ns: int


@dataclass
class _FinalRange:
    """Bars with since <= ts < before of one interval that became final; those of the first `done` symbols are marked
    as changed."""

    interval: int
    since: int
    before: int
    done: int = 0


class BarEngine:
    """The bars of at most `max_symbols` symbols.

    A symbol has an id, given in order of first appearance. Changes are collected until `take_changes`; methods that
    would exceed the room for them stop early and say so, to be called again after `take_changes`.
    """

    def __init__(self, max_symbols: int, rings: Mapping[str, int] = RING_SIZES) -> None:
        sizes = np.array([rings[name] for name in INTERVALS], np.int64)
        per_symbol = int(sizes.sum())
        self.names: list[tuple[str, str]] = []
        """(venue, symbol) by symbol id."""
        self.venues: list[str] = []
        self.dropped_trades = 0
        """Number of trades that were skipped because there are `max_symbols` symbols already."""
        self._max = max_symbols
        self._ids: dict[str, dict[str, int]] = {}
        self._of_venue: dict[str, list[int]] = {}
        self._ended: dict[str, list[_FinalRange]] = {}
        self.state = State(
            open=np.zeros((max_symbols, INTERVAL_COUNT), BAR),
            buckets=np.zeros((max_symbols, INTERVAL_COUNT), BUCKET),
            ring=np.zeros((max_symbols, per_symbol), BAR),
            offsets=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
            sizes=sizes,
            latest=np.zeros(max_symbols, LATEST),
            restored_seq=np.full(max_symbols, -1, np.int64),
            clock=np.zeros(_MAX_VENUES, np.int64),
            final_before=np.zeros((_MAX_VENUES, INTERVAL_COUNT), np.int64),
            venue=np.zeros(max_symbols, np.int64),
            dirty=np.zeros(max_symbols, np.int8),
            dirty_list=np.zeros(max_symbols, np.int64),
            touched=np.zeros(max(_MIN_TOUCHED, 4 * per_symbol), np.int64),
            is_touched=np.zeros((max_symbols, per_symbol), np.int8),
            stale_from=np.full(max_symbols, _NEVER, np.int64),
            stale_to=np.zeros(max_symbols, np.int64),
            counts=np.zeros(3, np.int64),
        )

    def symbol_id(self, venue: str, symbol: str) -> int:
        """The id of a symbol. Raises KeyError for an unknown one."""
        return self._ids[venue][symbol]

    def symbols_of(self, venue: str) -> NDArray[np.int64]:
        """The ids of a venue's symbols."""
        return np.array(self._of_venue.get(venue, ()), np.int64)

    def ensure_symbol(self, venue: str, symbol: str, ts: int) -> int:
        """The id of a symbol, a new one if it is unknown; -1 when there is no room for it.

        The open buckets of a new symbol contain `ts` (ns), or the venue's last `finalize` if that is later.
        """
        ids = self._ids.setdefault(venue, {})
        found = ids.get(symbol)
        if found is not None:
            return found
        if (venue not in self._of_venue and len(self.venues) == _MAX_VENUES) or len(self.names) == self._max:
            return -1
        if venue not in self._of_venue:
            self._of_venue[venue] = []
            self.venues.append(venue)
        symbol_id = ids[symbol] = len(self.names)
        self.names.append((venue, symbol))
        self._of_venue[venue].append(symbol_id)
        venue_index = self.venues.index(venue)
        self.state.venue[symbol_id] = venue_index
        self.state.latest["seq"][symbol_id] = -1
        kernel.open_buckets(self.state, symbol_id, max(ts, int(self.state.final_before[venue_index, 0])))
        return symbol_id

    def apply(self, batch: Batch, first: int = 0, *, restored: bool = False) -> int:
        """Add the trades of a batch from row `first` on; returns the first row that was not added.

        That is less than `batch.rows` when `take_changes` must be called before the rest. A row whose seq is not
        above the last one of its symbol is not added and makes a stale span. `restored`: rows of this batch with a
        seq up to that of `restore` are in the bars already and make none.
        """
        ts = batch.array("ts_event")
        ids = self._ids_of_rows(batch.venue, batch.strings("symbol"), ts)
        columns = (
            _as_kernel_column(ids),
            *(_as_kernel_column(batch.array(name)) for name in _APPLIED_COLUMNS),
        )
        row = int(kernel.apply(self.state, *columns, first, restored))  # type: ignore[arg-type, call-arg]
        self.dropped_trades += int(np.count_nonzero(ids[first:row] < 0))
        return row

    def _ids_of_rows(self, venue: str, symbols: Strings, ts: NDArray[np.int64]) -> NDArray[np.int64]:
        known = self._ids.setdefault(venue, {})
        # The last entry serves rows without a symbol, whose code is -1.
        ids = np.array([*(known.get(value, -1) for value in symbols.values), -1], np.int64)
        if (ids[:-1] < 0).any():
            for code, row in zip(*np.unique(symbols.codes, return_index=True), strict=True):
                if code >= 0 and ids[code] < 0:
                    ids[code] = self.ensure_symbol(venue, symbols.values[code], int(ts[row]))
        of_rows: NDArray[np.int64] = ids[symbols.codes]
        return of_rows

    def clock_ns(self, venue: str) -> int:
        """The highest ts_event of a venue, ns."""
        return int(self.state.clock[self.venues.index(venue)])

    def finalize(self, venue: str, ts: int) -> bool:
        """Close the bars of a venue that ended at or before `ts` (ns) and make them final.

        Returns False when it stopped early: call `take_changes`, then this again.
        """
        venue_index = self.venues.index(venue)
        limits = np.array(
            [state.bucket_start(i, state.bucket_number(i, ts)) for i in range(INTERVAL_COUNT)], np.int64
        )
        before = self.state.final_before[venue_index]
        symbols = self.symbols_of(venue)
        ended = self._ended.setdefault(venue, [])
        if not self._mark_final(symbols, ended):
            return False
        if limits[0] <= before[0]:
            return True
        if rings.close_ended(self.state, symbols, ts, 0) < len(symbols):
            return False
        for interval in np.flatnonzero(limits > before).tolist():
            # The limit moves first: changes taken before all bars are marked are final already.
            ended.append(_FinalRange(interval, int(before[interval]), int(limits[interval])))
            before[interval] = limits[interval]
        return self._mark_final(symbols, ended)

    def _mark_final(self, symbols: NDArray[np.int64], ended: list[_FinalRange]) -> bool:
        """Mark bars that became final as changed; returns whether there was room for all."""
        while ended:
            one = ended[0]
            one.done = rings.touch_final(self.state, symbols, one.interval, one.since, one.before, one.done)
            if one.done < len(symbols):
                return False
            del ended[0]
        return True

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` would return any."""
        return bool(self.state.counts[state.DIRTY] or self.state.counts[state.TOUCHED])

    def take_changes(self) -> Changes:
        """The changes since the last call."""
        room = int(self.state.counts[state.TOUCHED]) + INTERVAL_COUNT * int(self.state.counts[state.DIRTY])
        dirty = self.state.dirty_list[: self.state.counts[state.DIRTY]].copy()
        bars = np.empty(room, BAR)
        symbols = np.empty(room, np.int64)
        intervals = np.empty(room, np.int8)
        count = rings.collect_changes(self.state, bars, symbols, intervals)
        bars, symbols, intervals = bars[:count], symbols[:count], intervals[:count]
        final = bars["ts"] < self.state.final_before[self.state.venue[symbols], intervals]
        return Changes(bars, intervals, final, symbols, dirty)

    def take_stale_spans(self) -> list[StaleSpan]:
        """The spans of rows that could not be added since the last call, at most one a symbol."""
        if not self.state.counts[state.STALE]:
            return []
        self.state.counts[state.STALE] = 0
        count = len(self.names)
        chosen = np.flatnonzero(self.state.stale_from[:count] != _NEVER)
        found = [
            StaleSpan(int(symbol), int(self.state.stale_from[symbol]), int(self.state.stale_to[symbol]))
            for symbol in chosen
        ]
        self.state.stale_from[chosen] = _NEVER
        self.state.stale_to[chosen] = 0
        return found

    def read(self, symbol: int, interval: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The bars of a symbol, BAR [n] ascending with the open one last, and [n] whether each is final."""
        at = NAMES.index(interval)
        out = np.empty(int(self.state.sizes[at]) + 1, BAR)
        bars = out[: rings.read(self.state, symbol, at, out)]
        return bars, bars["ts"] < self.state.final_before[self.state.venue[symbol], at]

    def restore(self, symbol: int, ts: int, seq: int, stored: StoredBars) -> bool:
        """Replace a symbol's bars by those that a store has of its rows up to `seq`, inclusive.

        The open buckets become those that contain `ts` (ns), unless later ones are open already. Returns False when
        nothing was done: call `take_changes`, then this again.
        """
        if self.state.counts[state.TOUCHED] + self.state.ring.shape[1] > len(self.state.touched):
            return False
        self.state.restored_seq[symbol] = seq
        if stored.latest["ts_event"] or stored.latest["price"] != self.state.latest[symbol]["price"]:
            # A stored price without times does not replace the same price with times.
            self.state.latest[symbol] = stored.latest
        self.state.latest["seq"][symbol] = seq
        rings.restore(self.state, symbol, ts, stored.bars, stored.intervals)
        return True


def _as_kernel_column(column: NDArray[Any]) -> NDArray[Any]:
    """A column as the kernel is compiled for: contiguous, and read-only like columns of messages."""
    flat = np.ascontiguousarray(column).view()
    flat.flags.writeable = False
    return flat


def compile_kernel() -> None:
    """Compile the kernel or load it from numba's cache; takes seconds the first time on a machine."""
    bars = BarEngine(1)
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
        bars.finalize("", day * DAY)
    bars.take_changes()
    days = bars.read(0, "1d")[0]
    bars.restore(
        0, DAY, 1, StoredBars(days, np.full(len(days), NAMES.index("1d"), np.int8), np.zeros((), LATEST))
    )
