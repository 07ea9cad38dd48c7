"""The inner loops of the bars: ticks into open bars, open bars into rings. numba, without the interpreter's lock.

A symbol has a chain of open bars. A tick goes into the shortest alone; a bar that closes goes into its ring and
into the open bars it is a part of, so that an open bar plus the open ones below it is the bar so far. Bars are
merged by seq, never by arrival: in whichever order parts come, the result is the same (sums to rounding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from tapehouse.barstate import COUNT, LENGTHS, PART_OF, State, jit, number, start
from tapehouse.model import NO_BAR, SEQ_MAX

# The intervals that each is part of: at most two.
_PARTS_OF = [np.flatnonzero(np.equal(PART_OF, interval)) for interval in range(COUNT)]
_INTO = np.array([above[-1] if len(above) else -1 for above in _PARTS_OF], np.int64)
_INTO_TOO = np.array([above[0] if len(above) > 1 else -1 for above in _PARTS_OF], np.int64)
_NO_BAR = int(NO_BAR)
_ROOM = 4 * COUNT
"""Of bars that one tick may touch."""
# A state handed to a function costs more than most of them do: these become part of those that call them.
_inlined = numba.njit(inline="always", error_model="numpy")
# Nothing is allocated here, and to count references to the arrays costs a third of the time: each count is a locked
# instruction, which waits for all that was written before.
if TYPE_CHECKING:
    _uncounted = jit  # numba's stubs lack the option
else:
    _uncounted = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)


@jit
def clear(bar: Any, ts: int) -> None:
    """Make of a bar one without trades."""
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
    """One trade into a bar."""
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
    """Another part of the same bucket into a bar."""
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
def _open(state: State, symbol: int, interval: int, numbered: int) -> None:
    """Begin a bucket, empty."""
    begins = start(interval, numbered)
    clear(state.open[symbol, interval], begins)
    now = state.now[symbol, interval]
    now.end = start(interval, numbered + 1)
    now.number = numbered
    now.slot = state.offsets[interval] + numbered % state.sizes[interval]


@jit
def place(state: State, symbol: int, ts: int) -> None:
    """Begin a symbol's open buckets with those that hold `ts`, empty."""
    for interval in range(COUNT):
        _open(state, symbol, interval, number(interval, ts))


@_inlined
def touch(state: State, symbol: int, slot: int) -> None:
    """Note that a closed bar changed."""
    if not state.is_touched[symbol, slot]:
        state.is_touched[symbol, slot] = 1
        state.touched[state.counts[1]] = symbol * state.ring.shape[1] + slot
        state.counts[1] += 1


@_inlined
def dirtied(state: State, symbol: int) -> None:
    """Note that a symbol's open bars changed."""
    if not state.dirty[symbol]:
        state.dirty[symbol] = 1
        state.dirty_list[state.counts[0]] = symbol
        state.counts[0] += 1


@_inlined
def is_untold(state: State, symbol: int, ts: int) -> bool:
    """Whether `roll` would put a bar out of its ring that changed and was not told."""
    for interval in range(COUNT):
        now = state.now[symbol, interval]
        if ts < now.end:
            if interval == 3 or interval == 10:
                continue
            break
        touched = state.is_touched[symbol, now.slot]
        if touched and state.ring[symbol, now.slot].ts != state.open[symbol, interval].ts:
            return True
    return False


@_inlined
def roll(state: State, symbol: int, ts: int) -> None:
    """Close the open bars that end at or before `ts`, the shortest first."""
    for interval in range(COUNT):
        now = state.now[symbol, interval]
        if ts < now.end:
            # Nothing is part of 3m and 1w: what comes next may have ended all the same.
            if interval == 3 or interval == 10:
                continue
            break
        bar = state.open[symbol, interval]
        if bar.trades > 0:
            state.ring[symbol, now.slot] = bar
            touch(state, symbol, now.slot)
            if _INTO[interval] >= 0:
                merge(state.open[symbol, _INTO[interval]], bar)
            if _INTO_TOO[interval] >= 0:
                merge(state.open[symbol, _INTO_TOO[interval]], bar)
        if interval == COUNT - 1:
            _open(state, symbol, interval, number(interval, ts))
            break
        # Divisions are what this costs: mostly it is the next bucket.
        length = LENGTHS[interval]
        steps = 0 if ts < now.end + length else (ts - now.end) // length
        clear(bar, now.end + steps * length)
        now.end += (steps + 1) * length
        now.number += steps + 1
        now.slot += steps + 1
        if now.slot >= state.offsets[interval] + state.sizes[interval]:
            now.slot = state.offsets[interval] + now.number % state.sizes[interval]


@_inlined
def _mark(state: State, symbol: int, ts: int) -> None:
    state.marked_from[symbol] = min(state.marked_from[symbol], ts)
    state.marked_to[symbol] = max(state.marked_to[symbol], ts)
    state.counts[2] += 1


@_inlined
def _add_late(state: State, symbol: int, ts: int, seq: int, price: float, size: float, side: int) -> None:
    """A trade of a bucket of the shortest interval that is closed."""
    final_before = state.final_before[state.venue[symbol]]
    for interval in range(COUNT):
        below = PART_OF[interval]
        if below >= 0 and ts >= state.open[symbol, below].ts:
            continue  # it comes from below
        bar = state.open[symbol, interval]
        if ts >= bar.ts:
            add(bar, seq, price, size, side)
            continue
        numbered = number(interval, ts)
        if numbered <= state.now[symbol, interval].number - state.sizes[interval]:
            _mark(state, symbol, ts)
            continue
        bucket = start(interval, numbered)
        slot = state.offsets[interval] + numbered % state.sizes[interval]
        closed = state.ring[symbol, slot]
        # One that a store did not hold keeps its revision.
        if closed.ts != bucket or (closed.trades == 0 and closed.revision == 0):
            clear(closed, bucket)
        elif bucket < final_before[interval]:
            closed.revision += 1
        add(closed, seq, price, size, side)
        touch(state, symbol, slot)


@_uncounted
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
    contained: bool,
) -> int:
    """Trades from row `first` on, in the order of the stream; a symbol below 0 is passed over.

    `contained`: rows with a seq that was read from the store already are known to be in what was read. Returns
    the row it came to: less than all when what changed must be told first.
    """
    for row in range(first, len(ts)):
        symbol = symbols[row]
        if symbol < 0:
            continue
        if state.counts[1] + _ROOM > len(state.touched) or is_untold(state, symbol, ts[row]):
            return row
        venue = state.venue[symbol]
        if ts[row] > state.clock[venue]:
            state.clock[venue] = ts[row]
        latest = state.latest[symbol]
        if seq[row] <= latest.seq:
            if not (contained and seq[row] <= state.seeded[symbol]):
                _mark(state, symbol, ts[row])
            continue
        latest.seq = seq[row]
        if flags[row] & _NO_BAR:
            continue
        latest.ts_event = ts[row]
        latest.ts_recv = recv[row]
        latest.price = price[row]
        latest.size = size[row]
        bar = state.open[symbol, 0]
        if ts[row] >= state.now[symbol, 0].end:
            roll(state, symbol, ts[row])
        if ts[row] >= bar.ts:
            add(bar, seq[row], price[row], size[row], side[row])
        else:
            _add_late(state, symbol, ts[row], seq[row], price[row], size[row], side[row])
        dirtied(state, symbol)
    return len(ts)
