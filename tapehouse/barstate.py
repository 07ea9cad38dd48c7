"""How bars lie in memory: the types, the state of many symbols, and the numbers of buckets inside numba."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import DAY, INTERVALS

BAR = np.dtype(
    [
        ("ts", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("turnover", "<f8"),
        ("trades", "<i8"),
        ("buy_volume", "<f8"),
        ("seq_first", "<i8"),
        ("seq_last", "<i8"),
        ("revision", "<i8"),
    ]
)
"""A bar in memory: the model's columns, and how often it was changed after it was final. A bar with trades 0 is
none."""
LATEST = np.dtype(
    [("seq", "<i8"), ("ts_event", "<i8"), ("ts_recv", "<i8"), ("price", "<f8"), ("size", "<f8")]
)
"""The last price of a symbol: that of the highest seq; times 0 where only a bar told of it."""

BUCKET = np.dtype([("end", "<i8"), ("number", "<i8"), ("slot", "<i8")])
"""Where an open bucket ends, ns, exclusive; its number; the place in the rings that its bar goes to."""

COUNT = len(INTERVALS)
# Exact multiples, and months, which have none: the last.
LENGTHS = np.array([int(one.following(np.array(0)) - 0) for one in INTERVALS.values()], np.int64)
_ORIGINS = np.array([int(one.bucket(np.array(0))) for one in INTERVALS.values()], np.int64)
LENGTHS[-1] = 0
PART_OF = np.array([-1, 0, 1, 2, 2, 4, 5, 6, 7, 8, 9, 9], np.int64)
"""The interval whose closed bars make up each interval's: 30s of 15s, 1m of 30s, 3m and 5m of 1m, ..."""

jit = numba.njit(cache=True, nogil=True, error_model="numpy")


class State(NamedTuple):
    """All of the bars of S symbols; T is the number of bars in a symbol's rings."""

    open: NDArray[Any]
    """BAR [S, 12]: what was closed below since the bucket began; of the shortest interval the bar itself."""
    now: NDArray[Any]
    """BUCKET [S, 12]: the open buckets."""
    ring: NDArray[Any]
    """BAR [S, T]: closed bars, each at its bucket's number modulo the ring's size."""
    offsets: NDArray[np.int64]
    """[12] where each interval's ring begins."""
    sizes: NDArray[np.int64]
    """[12] of the rings."""
    latest: NDArray[Any]
    """LATEST [S]; its seq is the last one seen, of rows that take no part in bars too."""
    seeded: NDArray[np.int64]
    """[S] the last seq that was read from the store."""
    clock: NDArray[np.int64]
    """[V] the highest ts_event of each venue."""
    final_before: NDArray[np.int64]
    """[V, 12] bars that start before are final."""
    venue: NDArray[np.int64]
    """[S] the venue of each symbol."""
    dirty: NDArray[np.int8]
    """[S] whether the open bars changed since they were last told."""
    dirty_list: NDArray[np.int64]
    touched: NDArray[np.int64]
    """Places in the flat rings that changed since they were last told."""
    is_touched: NDArray[np.int8]
    """[S, T] whether a place is among those."""
    marked_from: NDArray[np.int64]
    """[S] the earliest time of a row that is to be read back; above `marked_to` where none is."""
    marked_to: NDArray[np.int64]
    counts: NDArray[np.int64]
    """How many are in dirty_list and in touched, and rows that were not added."""


@jit
def month_of(days: Any) -> Any:
    """Months since 1970 of a day since 1970 (Gregorian, by eras of 400 years from March on)."""
    z = days + 719_468
    era = z // 146_097
    of_era = z - era * 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    march = (5 * of_year + 2) // 153
    return (year + era * 400 - 1970) * 12 + march + 2


@jit
def month_start(month: Any) -> Any:
    """The day since 1970 that a month since 1970 begins with."""
    from_march = month - 2
    year = from_march // 12 + 1970
    march = from_march % 12
    era = year // 400
    of_era = year - era * 400
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + (153 * march + 2) // 5 - 719_468


@jit
def number(interval: Any, ts: Any) -> Any:
    """The number of the bucket that holds `ts`; the next bucket has the next number."""
    if interval == COUNT - 1:
        return month_of(ts // DAY)
    return (ts - _ORIGINS[interval]) // LENGTHS[interval]


@jit
def start(interval: Any, numbered: Any) -> Any:
    """Where a bucket starts, ns UTC."""
    if interval == COUNT - 1:
        return month_start(numbered) * DAY
    return numbered * LENGTHS[interval] + _ORIGINS[interval]
