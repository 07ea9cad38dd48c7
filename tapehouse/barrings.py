"""What is done with bars besides adding ticks: closing by the clock, telling what changed, reading, restoring."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapehouse.barkernel import clear, dirtied, is_untold, merge, roll, touch
from tapehouse.barstate import COUNT, PART_OF, State, jit, number, start


@jit
def seal(state: State, symbols: NDArray[np.int64], ts: int, first: int) -> int:
    """Close what ended at or before `ts`, of symbols of one venue from place `first` on.

    Returns the place it came to: less than all when what changed must be told first.
    """
    for at in range(first, len(symbols)):
        if state.counts[1] + COUNT > len(state.touched):
            return at
        if ts >= state.now[symbols[at], 0].end:
            if is_untold(state, symbols[at], ts):
                return at
            roll(state, symbols[at], ts)
    return len(symbols)


@jit
def finish(
    state: State, symbols: NDArray[np.int64], interval: int, since: int, before: int, first: int
) -> int:
    """Tell of the bars of one interval that became final: those that start from `since` to before `before`.

    Returns as `seal`.
    """
    to = number(interval, before)
    for at in range(first, len(symbols)):
        if state.counts[1] + state.sizes[interval] > len(state.touched):
            return at
        symbol = symbols[at]
        reach = max(number(interval, since), to - state.sizes[interval])
        for numbered in range(reach, to):
            slot = state.offsets[interval] + numbered % state.sizes[interval]
            bar = state.ring[symbol, slot]
            if bar.trades > 0 and bar.ts == start(interval, numbered):
                touch(state, symbol, slot)
    return len(symbols)


@jit
def _so_far(state: State, symbol: int, out: NDArray[Any]) -> None:
    """The open bars of a symbol, each with what is open below it, into BAR [12]."""
    for interval in range(COUNT):
        out[interval] = state.open[symbol, interval]
        if PART_OF[interval] >= 0:
            merge(out[interval], out[PART_OF[interval]])


@jit
def gather(state: State, bars: NDArray[Any], symbols: NDArray[np.int64], intervals: NDArray[np.int8]) -> int:
    """All that changed since the last time, into BAR [n] with the symbol and interval of each; returns n.

    n is at most the touched bars and 12 for each dirty symbol. Where a bar is among them twice (emptied from
    the store, then open with trades again), the later one is so.
    """
    held = state.ring.shape[1]
    flat = state.ring.reshape(-1)
    is_touched = state.is_touched.reshape(-1)
    count = 0
    for at in range(state.counts[1]):
        place = state.touched[at]
        is_touched[place] = 0
        bars[count] = flat[place]
        symbols[count] = place // held
        slot = place % held
        interval = 0
        while interval + 1 < COUNT and slot >= state.offsets[interval + 1]:
            interval += 1
        intervals[count] = interval
        count += 1
    for at in range(state.counts[0]):
        symbol = state.dirty_list[at]
        state.dirty[symbol] = 0
        _so_far(state, symbol, bars[count : count + COUNT])
        kept = count
        for interval in range(COUNT):
            if bars[count + interval].trades > 0:
                bars[kept] = bars[count + interval]
                symbols[kept] = symbol
                intervals[kept] = interval
                kept += 1
        count = kept
    state.counts[0] = state.counts[1] = 0
    return count


@jit
def read(state: State, symbol: int, interval: int, out: NDArray[Any]) -> int:
    """The bars of a symbol and interval, ascending, the open one last, into BAR [size + 1]; returns how many."""
    now = np.empty(COUNT, out.dtype)
    _so_far(state, symbol, now)
    size = state.sizes[interval]
    last = state.now[symbol, interval].number
    count = 0
    for numbered in range(last - size + 1, last):
        bar = state.ring[symbol, state.offsets[interval] + numbered % size]
        if bar.trades > 0 and bar.ts == start(interval, numbered):
            out[count] = bar
            count += 1
    if now[interval].trades > 0:
        out[count] = now[interval]
        count += 1
    return count


@jit
def _same(one: Any, other: Any) -> Any:
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
    """Take over what the store holds of a symbol: BAR [n] of all intervals, ascending within each.

    The open buckets are those that hold `ts` or later ones that are open already. Bars that differ from what
    is held, or are not held, count as touched; those held and not given are emptied. Of the open bars only
    the shortest is taken: the rest follow from the rings. There must be room for all the rings' bars among
    those touched.
    """
    if state.open[symbol, 0].ts < ts:
        roll(state, symbol, ts)
    final_before = state.final_before[state.venue[symbol]]
    given = np.zeros(state.ring.shape[1], np.bool_)
    before = np.empty(COUNT, state.open.dtype)
    _so_far(state, symbol, before)
    clear(state.open[symbol, 0], state.open[symbol, 0].ts)
    for at in range(len(bars)):
        interval = intervals[at]
        bar = bars[at]
        now = state.open[symbol, interval].ts
        if bar.ts >= now:
            if interval == 0:
                merge(state.open[symbol, 0], bar)
            continue
        numbered = number(interval, bar.ts)
        if numbered <= state.now[symbol, interval].number - state.sizes[interval]:
            continue
        slot = state.offsets[interval] + numbered % state.sizes[interval]
        given[slot] = True
        held = state.ring[symbol, slot]
        known = held.ts == bar.ts and (held.trades > 0 or held.revision > 0)
        if known and _same(held, bar):
            continue
        revision = held.revision if known else 0
        if known and bar.ts < final_before[interval]:
            revision += 1
        state.ring[symbol, slot] = bar
        state.ring[symbol, slot].revision = revision
        touch(state, symbol, slot)
    _forget(state, symbol, given)
    _sum_up(state, symbol)
    dirtied(state, symbol)
    now_open = np.empty(COUNT, state.open.dtype)
    _so_far(state, symbol, now_open)
    for interval in range(COUNT):
        if before[interval].trades > 0 and now_open[interval].trades == 0:
            # The open bucket's own place in the ring is free until it closes: from there it is told.
            slot = state.now[symbol, interval].slot
            clear(state.ring[symbol, slot], before[interval].ts)
            touch(state, symbol, slot)


@jit
def _forget(state: State, symbol: int, given: NDArray[np.bool_]) -> None:
    """Empty the bars in the rings that the store does not hold."""
    final_before = state.final_before[state.venue[symbol]]
    for interval in range(COUNT):
        size = state.sizes[interval]
        last = state.now[symbol, interval].number
        for numbered in range(last - size + 1, last):
            slot = state.offsets[interval] + numbered % size
            bar = state.ring[symbol, slot]
            if bar.trades > 0 and bar.ts == start(interval, numbered) and not given[slot]:
                revision = bar.revision + (1 if bar.ts < final_before[interval] else 0)
                clear(bar, bar.ts)
                bar.revision = revision
                touch(state, symbol, slot)


@jit
def _sum_up(state: State, symbol: int) -> None:
    """The open bars above the shortest, from the closed bars that are part of them."""
    for interval in range(1, COUNT):
        below = PART_OF[interval]
        bar = state.open[symbol, interval]
        clear(bar, bar.ts)
        for numbered in range(number(below, bar.ts), state.now[symbol, below].number):
            part = state.ring[symbol, state.offsets[below] + numbered % state.sizes[below]]
            if part.trades > 0 and part.ts == start(below, numbered):
                merge(bar, part)
