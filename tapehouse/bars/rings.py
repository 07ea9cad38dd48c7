"""Operations on the rings of closed bars: closing by the clock, collecting changes, reading, restoring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.bars.kernel import clear, mark_dirty, merge, overwrites_unpublished, roll, touch
from tapehouse.bars.state import (
    DIRTY,
    INTERVAL_COUNT,
    PART_OF,
    TOUCHED,
    State,
    bucket_number,
    bucket_start,
    jit,
)


@jit
def close_ended(state: State, symbols: NDArray[np.int64], ts: int, first: int) -> int:
    """Close the bars that ended at or before `ts`, of `symbols` (of one venue) from index `first` on.

    Returns the first index that was not done: less than their number when the changes must be taken first.
    """
    for at in range(first, len(symbols)):
        if state.counts[TOUCHED] + INTERVAL_COUNT > len(state.touched):
            return at
        if ts >= state.buckets[symbols[at], 0].end:
            if overwrites_unpublished(state, symbols[at], ts):
                return at
            roll(state, symbols[at], ts)
    return len(symbols)


@jit
def touch_final(
    state: State, symbols: NDArray[np.int64], interval: int, since: int, before: int, first: int
) -> int:
    """Mark the bars of one interval as changed that became final: those with since <= ts < before.

    Returns as `close_ended`.
    """
    to = bucket_number(interval, before)
    for at in range(first, len(symbols)):
        if state.counts[TOUCHED] + state.sizes[interval] > len(state.touched):
            return at
        symbol = symbols[at]
        reach = max(bucket_number(interval, since), to - state.sizes[interval])
        for numbered in range(reach, to):
            slot = state.offsets[interval] + numbered % state.sizes[interval]
            bar = state.ring[symbol, slot]
            if bar.trades > 0 and bar.ts == bucket_start(interval, numbered):
                touch(state, symbol, slot)
    return len(symbols)


@jit
def _merge_open_bars(state: State, symbol: int, out: NDArray[Any]) -> None:
    """The present open bars of a symbol, each merged with those below it, into BAR [intervals]."""
    for interval in range(INTERVAL_COUNT):
        out[interval] = state.open[symbol, interval]
        if PART_OF[interval] >= 0:
            merge(out[interval], out[PART_OF[interval]])


@jit
def collect_changes(
    state: State, bars: NDArray[Any], symbols: NDArray[np.int64], intervals: NDArray[np.int8]
) -> int:
    """Write all changes since the last call to BAR [n], with the symbol and interval of each; returns n.

    n is at most the touched bars and one an interval for each dirty symbol. Where a bar is among them twice (emptied
    by a restore, then open with trades again), the later one is valid.
    """
    per_symbol = state.ring.shape[1]
    flat = state.ring.reshape(-1)
    is_touched = state.is_touched.reshape(-1)
    count = 0
    for at in range(state.counts[TOUCHED]):
        place = state.touched[at]
        is_touched[place] = 0
        bars[count] = flat[place]
        symbols[count] = place // per_symbol
        slot = place % per_symbol
        interval = 0
        while interval + 1 < INTERVAL_COUNT and slot >= state.offsets[interval + 1]:
            interval += 1
        intervals[count] = interval
        count += 1
    for at in range(state.counts[DIRTY]):
        symbol = state.dirty_list[at]
        state.dirty[symbol] = 0
        _merge_open_bars(state, symbol, bars[count : count + INTERVAL_COUNT])
        end = count
        for interval in range(INTERVAL_COUNT):
            if bars[count + interval].trades > 0:
                bars[end] = bars[count + interval]
                symbols[end] = symbol
                intervals[end] = interval
                end += 1
        count = end
    state.counts[DIRTY] = state.counts[TOUCHED] = 0
    return count


@jit
def read(state: State, symbol: int, interval: int, out: NDArray[Any]) -> int:
    """Write the bars of a symbol and interval, ascending, the open one last, to BAR [size + 1]; returns how many."""
    now = np.empty(INTERVAL_COUNT, out.dtype)
    _merge_open_bars(state, symbol, now)
    size = state.sizes[interval]
    last = state.buckets[symbol, interval].number
    count = 0
    for numbered in range(last - size + 1, last):
        bar = state.ring[symbol, state.offsets[interval] + numbered % size]
        if bar.trades > 0 and bar.ts == bucket_start(interval, numbered):
            out[count] = bar
            count += 1
    if now[interval].trades > 0:
        out[count] = now[interval]
        count += 1
    return count


@jit
def _equal_bars(one: Any, other: Any) -> Any:
    return (
        one.trades == other.trades
        and one.seq_first == other.seq_first
        and one.seq_last == other.seq_last
        and one.open == other.open
        and one.high == other.high
        and one.low == other.low
        and one.close == other.close
        and abs(one.volume - other.volume) <= 1e-9 * abs(other.volume)
        and abs(one.turnover - other.turnover) <= 1e-9 * abs(other.turnover)
        and abs(one.buy_volume - other.buy_volume) <= 1e-9 * abs(other.buy_volume)
    )


@jit
def restore(
    state: State,
    symbol: int,
    ts: int,
    bars: NDArray[Any],
    intervals: NDArray[np.int8],
) -> None:
    """Replace a symbol's bars by those of the store: BAR [n] of all intervals, ascending within each.

    The open buckets become those that contain `ts`, unless later ones are open already. Closed bars that are new or
    differ are touched; closed bars that the store lacks are emptied. Of the open bars only that of the shortest
    interval is taken: the others are rebuilt from the rings. `touched` must have room for all of the symbol's rings.
    """
    if state.open[symbol, 0].ts < ts:
        roll(state, symbol, ts)
    final_before = state.final_before[state.venue[symbol]]
    given = np.zeros(state.ring.shape[1], np.bool_)
    before = np.empty(INTERVAL_COUNT, state.open.dtype)
    _merge_open_bars(state, symbol, before)
    clear(state.open[symbol, 0], state.open[symbol, 0].ts)
    for at in range(len(bars)):
        interval = intervals[at]
        bar = bars[at]
        now = state.open[symbol, interval].ts
        if bar.ts >= now:
            if interval == 0:
                merge(state.open[symbol, 0], bar)
            continue
        numbered = bucket_number(interval, bar.ts)
        if numbered <= state.buckets[symbol, interval].number - state.sizes[interval]:
            continue
        slot = state.offsets[interval] + numbered % state.sizes[interval]
        given[slot] = True
        closed = state.ring[symbol, slot]
        known = closed.ts == bar.ts and (closed.trades > 0 or closed.revision > 0)
        if known and _equal_bars(closed, bar):
            continue
        revision = closed.revision if known else 0
        if known and bar.ts < final_before[interval]:
            revision += 1
        state.ring[symbol, slot] = bar
        state.ring[symbol, slot].revision = revision
        touch(state, symbol, slot)
    _empty_missing(state, symbol, given)
    _rebuild_open_bars(state, symbol)
    mark_dirty(state, symbol)
    now_open = np.empty(INTERVAL_COUNT, state.open.dtype)
    _merge_open_bars(state, symbol, now_open)
    for interval in range(INTERVAL_COUNT):
        if before[interval].trades > 0 and now_open[interval].trades == 0:
            # The slot of the open bucket is unused until it closes: publish the emptied bar from there.
            slot = state.buckets[symbol, interval].slot
            clear(state.ring[symbol, slot], before[interval].ts)
            touch(state, symbol, slot)


@jit
def _empty_missing(state: State, symbol: int, given: NDArray[np.bool_]) -> None:
    """Empty the closed bars that the store lacks."""
    final_before = state.final_before[state.venue[symbol]]
    for interval in range(INTERVAL_COUNT):
        size = state.sizes[interval]
        last = state.buckets[symbol, interval].number
        for numbered in range(last - size + 1, last):
            slot = state.offsets[interval] + numbered % size
            bar = state.ring[symbol, slot]
            if bar.trades > 0 and bar.ts == bucket_start(interval, numbered) and not given[slot]:
                revision = bar.revision + (1 if bar.ts < final_before[interval] else 0)
                clear(bar, bar.ts)
                bar.revision = revision
                touch(state, symbol, slot)


@jit
def _rebuild_open_bars(state: State, symbol: int) -> None:
    """Merge the open bars above the shortest interval anew, from the closed bars that are part of them."""
    for interval in range(1, INTERVAL_COUNT):
        below = PART_OF[interval]
        bar = state.open[symbol, interval]
        clear(bar, bar.ts)
        for numbered in range(bucket_number(below, bar.ts), state.buckets[symbol, below].number):
            part = state.ring[symbol, state.offsets[below] + numbered % state.sizes[below]]
            if part.trades > 0 and part.ts == bucket_start(below, numbered):
                merge(bar, part)
