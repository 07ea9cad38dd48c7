"""The inner loops of the bar engine, compiled by numba without the GIL: ticks into open bars, open bars into rings.

A symbol has one open bar an interval. A tick is added only to that of the shortest interval. A bar that closes goes
into its ring and is merged into the open bars of the intervals it is a part of; so the present value of an open bar
is that bar merged with the open bars below it. Bars are merged by seq, never by arrival: the order of parts does not
matter (sums are equal to rounding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from tapehouse.bars.state import (
    DIRTY,
    INTERVAL_COUNT,
    LENGTHS,
    MONTH,
    PART_OF,
    STALE,
    TOUCHED,
    State,
    bucket_number,
    bucket_start,
    jit,
)
from tapehouse.model import NO_BAR, SEQ_MAX

# The intervals that each interval is a part of: at most two.
_PARTS_OF = [np.flatnonzero(np.equal(PART_OF, interval)) for interval in range(INTERVAL_COUNT)]
# Those that are a part of none, before the last, as bits.
_NO_PARTS = sum(1 << at for at in range(INTERVAL_COUNT - 1) if not len(_PARTS_OF[at]))
_MERGES_INTO = np.array([above[-1] if len(above) else -1 for above in _PARTS_OF], np.int64)
_ALSO_MERGES_INTO = np.array([above[0] if len(above) > 1 else -1 for above in _PARTS_OF], np.int64)
_NO_BAR = int(NO_BAR)
_MAX_TOUCHED_PER_TICK = 4 * INTERVAL_COUNT
# Passing State to a function costs more than most of these functions do: inline them.
_inlined = numba.njit(inline="always", error_model="numpy")
# `apply` allocates nothing, and counting references to its arrays takes a third of its time: each count is a locked
# instruction, which waits for all earlier writes.
if TYPE_CHECKING:
    _jit_without_refcounts = jit  # numba's stubs lack the option
else:
    _jit_without_refcounts = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)


@jit
def clear(bar: Any, ts: int) -> None:
    """Make `bar` an empty bar that starts at `ts`."""
    bar.ts = ts
    bar.open = bar.close = 0.0
    bar.high = -np.inf
    bar.low = np.inf
    bar.volume = bar.turnover = bar.buy_volume = 0.0
    bar.trades = 0
    bar.seq_first = SEQ_MAX
    bar.seq_last = -1
    bar.revision = 0


@jit
def add(bar: Any, seq: int, price: float, size: float, side: int) -> None:
    """Add one trade to a bar."""
    if seq < bar.seq_first:
        bar.seq_first = seq
        bar.open = price
    if seq > bar.seq_last:
        bar.seq_last = seq
        bar.close = price
    bar.high = max(bar.high, price)
    bar.low = min(bar.low, price)
    bar.volume += size
    bar.turnover += price * size
    bar.trades += 1
    if side == 1:
        bar.buy_volume += size


@jit
def merge(bar: Any, part: Any) -> None:
    """Merge another bar of the same bucket, or of a part of it, into `bar`."""
    if part.trades == 0:
        return
    if part.seq_first < bar.seq_first:
        bar.seq_first = part.seq_first
        bar.open = part.open
    if part.seq_last > bar.seq_last:
        bar.seq_last = part.seq_last
        bar.close = part.close
    bar.high = max(bar.high, part.high)
    bar.low = min(bar.low, part.low)
    bar.volume += part.volume
    bar.turnover += part.turnover
    bar.trades += part.trades
    bar.buy_volume += part.buy_volume


@_inlined
def _open_bucket(state: State, symbol: int, interval: int, numbered: int) -> None:
    """Open a bucket with an empty bar."""
    begins = bucket_start(interval, numbered)
    clear(state.open[symbol, interval], begins)
    now = state.buckets[symbol, interval]
    now.end = bucket_start(interval, numbered + 1)
    now.number = numbered
    now.slot = state.offsets[interval] + numbered % state.sizes[interval]


@jit
def open_buckets(state: State, symbol: int, ts: int) -> None:
    """Open the buckets of all intervals that contain `ts`, with empty bars."""
    for interval in range(INTERVAL_COUNT):
        _open_bucket(state, symbol, interval, bucket_number(interval, ts))


@_inlined
def touch(state: State, symbol: int, slot: int) -> None:
    """Note that the closed bar in `slot` changed."""
    if not state.is_touched[symbol, slot]:
        state.is_touched[symbol, slot] = 1
        state.touched[state.counts[TOUCHED]] = symbol * state.ring.shape[1] + slot
        state.counts[TOUCHED] += 1


@_inlined
def mark_dirty(state: State, symbol: int) -> None:
    """Note that the open bars of a symbol changed."""
    if not state.dirty[symbol]:
        state.dirty[symbol] = 1
        state.dirty_list[state.counts[DIRTY]] = symbol
        state.counts[DIRTY] += 1


@_inlined
def overwrites_unpublished(state: State, symbol: int, ts: int) -> bool:
    """Whether `roll` would overwrite a closed bar that changed since `take_changes`."""
    for interval in range(INTERVAL_COUNT):
        now = state.buckets[symbol, interval]
        if ts < now.end:
            if _NO_PARTS >> interval & 1:
                continue
            break
        touched = state.is_touched[symbol, now.slot]
        if touched and state.ring[symbol, now.slot].ts != state.open[symbol, interval].ts:
            return True
    return False


@_inlined
def roll(state: State, symbol: int, ts: int) -> None:
    """Close the open bars that end at or before `ts`, the shortest first."""
    for interval in range(INTERVAL_COUNT):
        now = state.buckets[symbol, interval]
        if ts < now.end:
            # Longer buckets may have ended all the same when this interval is a part of none (3m, 1w).
            if _NO_PARTS >> interval & 1:
                continue
            break
        bar = state.open[symbol, interval]
        if bar.trades > 0:
            state.ring[symbol, now.slot] = bar
            touch(state, symbol, now.slot)
            if _MERGES_INTO[interval] >= 0:
                merge(state.open[symbol, _MERGES_INTO[interval]], bar)
            if _ALSO_MERGES_INTO[interval] >= 0:
                merge(state.open[symbol, _ALSO_MERGES_INTO[interval]], bar)
        if interval == MONTH:
            _open_bucket(state, symbol, interval, bucket_number(interval, ts))
            break
        # Mostly it is the next bucket: avoid the divisions.
        length = LENGTHS[interval]
        steps = 0 if ts < now.end + length else (ts - now.end) // length
        clear(bar, now.end + steps * length)
        now.end += (steps + 1) * length
        now.number += steps + 1
        now.slot += steps + 1
        if now.slot >= state.offsets[interval] + state.sizes[interval]:
            now.slot = state.offsets[interval] + now.number % state.sizes[interval]


@_inlined
def _mark_stale(state: State, symbol: int, ts: int) -> None:
    state.stale_from[symbol] = min(state.stale_from[symbol], ts)
    state.stale_to[symbol] = max(state.stale_to[symbol], ts)
    state.counts[STALE] += 1


@_inlined
def _add_to_closed(
    state: State, symbol: int, ts: int, seq: int, price: float, size: float, side: int
) -> None:
    """Add a trade whose bucket of the shortest interval is closed."""
    final_before = state.final_before[state.venue[symbol]]
    for interval in range(INTERVAL_COUNT):
        below = PART_OF[interval]
        if below >= 0 and ts >= state.open[symbol, below].ts:
            continue  # it is merged from the interval below
        bar = state.open[symbol, interval]
        if ts >= bar.ts:
            add(bar, seq, price, size, side)
            continue
        numbered = bucket_number(interval, ts)
        if numbered <= state.buckets[symbol, interval].number - state.sizes[interval]:
            _mark_stale(state, symbol, ts)
            continue
        bucket = bucket_start(interval, numbered)
        slot = state.offsets[interval] + numbered % state.sizes[interval]
        closed = state.ring[symbol, slot]
        # A bar that was emptied by a restore keeps its revision.
        if closed.ts != bucket or (closed.trades == 0 and closed.revision == 0):
            clear(closed, bucket)
        elif bucket < final_before[interval]:
            closed.revision += 1
        add(closed, seq, price, size, side)
        touch(state, symbol, slot)


@_jit_without_refcounts
def apply(
    state: State,
    symbols: NDArray[np.int64],
    ts: NDArray[np.int64],
    recv: NDArray[np.int64],
    seq: NDArray[np.int64],
    price: NDArray[np.float64],
    size: NDArray[np.float64],
    side: NDArray[np.int8],
    flags: NDArray[np.int16],
    first: int,
    restored: bool,
) -> int:
    """Add trades from row `first` on, in stream order; rows with a symbol below 0 are skipped.

    `restored`: rows with a seq up to `State.restored_seq` are in the bars already. Returns the first row that was not
    added: less than the number of rows when the changes must be taken first.
    """
    for row in range(first, len(ts)):
        symbol = symbols[row]
        if symbol < 0:
            continue
        if state.counts[TOUCHED] + _MAX_TOUCHED_PER_TICK > len(state.touched) or overwrites_unpublished(
            state, symbol, ts[row]
        ):
            return row
        venue = state.venue[symbol]
        if ts[row] > state.clock[venue]:
            state.clock[venue] = ts[row]
        latest = state.latest[symbol]
        if seq[row] <= latest.seq:
            if not (restored and seq[row] <= state.restored_seq[symbol]):
                _mark_stale(state, symbol, ts[row])
            continue
        latest.seq = seq[row]
        if flags[row] & _NO_BAR:
            continue
        latest.ts_event = ts[row]
        latest.ts_recv = recv[row]
        latest.price = price[row]
        latest.size = size[row]
        bar = state.open[symbol, 0]
        if ts[row] >= state.buckets[symbol, 0].end:
            roll(state, symbol, ts[row])
        if ts[row] >= bar.ts:
            add(bar, seq[row], price[row], size[row], side[row])
        else:
            _add_to_closed(state, symbol, ts[row], seq[row], price[row], size[row], side[row])
        mark_dirty(state, symbol)
    return len(ts)
