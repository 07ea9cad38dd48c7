"""Random trades, and their bars by a slow, plain implementation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, HOUR, INTERVALS, MILLISECOND, MINUTE, SECOND, parse_ns
from tapehouse.model import NO_BAR, TRADES

SYMBOLS = (("A", "X"), ("A", "Y"), ("B", "X"), ("B", "Z"))
START = parse_ns("2024-02-28T23:58:00Z")
_STEPS = [0, 0, 1, MILLISECOND, SECOND, 10 * SECOND, 14 * SECOND, MINUTE, MINUTE, 10 * MINUTE]
_LEAPS = [3 * HOUR, DAY, 8 * DAY, 40 * DAY, 400 * DAY]
_BACK = [0, 0, 0, 0, 1, SECOND, 20 * SECOND, 3 * MINUTE, 10 * MINUTE, 5 * HOUR]


class Trade(NamedTuple):
    """One row; `symbol` is its place in SYMBOLS."""

    symbol: int
    ts: int
    seq: int
    price: float
    size: float
    side: int
    flags: int

    @property
    def in_bars(self) -> bool:
        """Whether its flags allow it."""
        return not self.flags & NO_BAR


class Candle(NamedTuple):
    """A bar, named as the kernel's columns."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    trades: int
    buy_volume: float
    seq_first: int
    seq_last: int


@st.composite
def trades(draw: st.DrawFn, most: int = 60) -> list[Trade]:
    """Rows of several symbols in stream order: seq rises, times move to and fro.

    Prices and sizes are multiples of 1/4, so that sums are exact in any order.
    """
    drawn = draw(
        st.lists(
            st.tuples(
                st.integers(0, len(SYMBOLS) - 1),
                st.sampled_from(_STEPS * 4 + _LEAPS),
                st.sampled_from(_BACK),
                st.integers(1, 3),
                st.integers(-8, 400),
                st.integers(0, 12),
                st.integers(-1, 1),
                st.sampled_from([0] * 8 + [1, 2, 4, 6]),
            ),
            min_size=1,
            max_size=most,
        )
    )
    rows, clock, seq = [], START, 0
    for symbol, step, back, rise, price, size, side, flags in drawn:
        clock += step
        seq += rise
        rows.append(Trade(symbol, clock - back, seq, price / 4, size / 4, side, flags))
    return rows


def batches(rows: Sequence[Trade]) -> list[Batch]:
    """The rows as batches, one a venue."""
    found = []
    for venue in sorted({SYMBOLS[row.symbol][0] for row in rows}):
        mine = [row for row in rows if SYMBOLS[row.symbol][0] == venue]
        names = tuple(dict.fromkeys(SYMBOLS[row.symbol][1] for row in mine))
        codes = np.array([names.index(SYMBOLS[row.symbol][1]) for row in mine], np.int32)
        ts = np.array([row.ts for row in mine], np.int64)
        found.append(
            Batch(
                TRADES,
                venue,
                len(mine),
                {
                    "ts_event": ts,
                    "ts_recv": ts + 1,
                    "symbol": Strings(names, codes),
                    "seq": np.array([row.seq for row in mine], np.int64),
                    "price": np.array([row.price for row in mine]),
                    "size": np.array([row.size for row in mine]),
                    "side": np.array([row.side for row in mine], np.int8),
                    "flags": np.array([row.flags for row in mine], np.int16),
                },
            )
        )
    return found


def grouped(rows: Iterable[Trade], interval: str) -> list[Candle]:
    """The bars of one symbol's rows, ascending."""
    mine = sorted((row for row in rows if row.in_bars), key=lambda row: row.seq)
    starts: NDArray[np.int64] = INTERVALS[interval].bucket(np.array([row.ts for row in mine], np.int64))
    buckets: dict[int, list[Trade]] = defaultdict(list)
    for start, row in zip(starts.tolist(), mine, strict=True):
        buckets[start].append(row)
    return [candle(start, buckets[start]) for start in sorted(buckets)]


def candle(start: int, rows: Sequence[Trade]) -> Candle:
    """The bar of rows in order of seq."""
    return Candle(
        start,
        rows[0].price,
        max(row.price for row in rows),
        min(row.price for row in rows),
        rows[-1].price,
        sum(row.size for row in rows),
        sum(row.price * row.size for row in rows),
        len(rows),
        sum(row.size for row in rows if row.side == 1),
        rows[0].seq,
        rows[-1].seq,
    )
