"""Memory layout of bars: dtypes, the state of many symbols, and bucket numbers for use inside numba.

Everything about intervals follows from `tapehouse.clock.INTERVALS`; an interval is known by its index there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from tapehouse.clock import DAY, INTERVALS, Interval

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
"""A bar: the model's columns, and `revision`, how often it changed after it was final. With 0 trades there is none."""
LATEST = np.dtype(
    [("seq", "<i8"), ("ts_event", "<i8"), ("ts_recv", "<i8"), ("price", "<f8"), ("size", "<f8")]
)
"""The last price of a symbol, that of the highest seq; its times are 0 when it comes from a bar."""

BUCKET = np.dtype([("end", "<i8"), ("number", "<i8"), ("slot", "<i8")])
"""An open bucket: its end (ns, exclusive), its number, and the slot in the rings that its bar will go to."""

INTERVAL_COUNT = len(INTERVALS)
(MONTH,) = (at for at, interval in enumerate(INTERVALS.values()) if interval.origin is None)
"""The one interval without a fixed length; its buckets are whole days."""
LENGTHS = np.array(
    [0 if interval.origin is None else interval.length for interval in INTERVALS.values()], np.int64
)
"""[intervals] ns; 0 for months."""
_ORIGINS = np.array([interval.origin or 0 for interval in INTERVALS.values()], np.int64)


def _part_of(interval: Interval) -> int:
    """The longest shorter interval whose buckets make up each bucket of `interval` exactly; -1 for the shortest."""
    found = -1
    for at, part in enumerate(INTERVALS.values()):
        if part.origin is None or part.length >= interval.length:
            continue
        # All months start and end at midnight, UTC.
        length, origin = (DAY, 0) if interval.origin is None else (interval.length, interval.origin)
        if length % part.length == 0 and (origin - part.origin) % part.length == 0:
            found = at
    return found


PART_OF = np.array([_part_of(interval) for interval in INTERVALS.values()], np.int64)
"""[intervals] the interval whose closed bars each interval's bars are merged from: 30s from 15s, 1m from 30s, 3m and 5m
from 1m, ..."""

jit = numba.njit(cache=True, nogil=True, error_model="numpy")


class State(NamedTuple):
    """The bars of S symbols of V venues in I intervals; T is the number of bars in the rings of one symbol."""

    open: NDArray[Any]
    """BAR [S, I]: of the shortest interval the open bar; of others the closed parts of the open bucket, merged."""
    buckets: NDArray[Any]
    """BUCKET [S, I]: the open buckets."""
    ring: NDArray[Any]
    """BAR [S, T]: closed bars, each at the number of its bucket modulo the size of its ring."""
    offsets: NDArray[np.int64]
    """[I] where each interval's ring begins in T."""
    sizes: NDArray[np.int64]
    """[I] the size of each ring, bars."""
    latest: NDArray[Any]
    """LATEST [S]; its seq is the highest applied, also by rows that are not in bars."""
    restored_seq: NDArray[np.int64]
    """[S] the highest seq in what was restored from the store; -1 for none."""
    clock: NDArray[np.int64]
    """[V] the highest ts_event of each venue."""
    final_before: NDArray[np.int64]
    """[V, I] bars that start before this, ns, are final."""
    venue: NDArray[np.int64]
    """[S] the index of each symbol's venue."""
    dirty: NDArray[np.int8]
    """[S] whether the open bars changed since `take_changes`."""
    dirty_list: NDArray[np.int64]
    """[S] those symbols; the first `counts[DIRTY]` entries count."""
    touched: NDArray[np.int64]
    """Closed bars that changed since `take_changes`, as indices into the flat rings; `counts[TOUCHED]` of them."""
    is_touched: NDArray[np.int8]
    """[S, T] whether a closed bar is among those."""
    stale_from: NDArray[np.int64]
    """[S] the earliest ts_event of rows that were not added, ns; above `stale_to` where there are none."""
    stale_to: NDArray[np.int64]
    """[S] the latest ts_event of these rows, inclusive."""
    counts: NDArray[np.int64]
    """[3] indexed by DIRTY, TOUCHED and STALE: entries of the lists above, and the number of rows not added."""


DIRTY, TOUCHED, STALE = range(3)


@jit
def month_of(days: Any) -> Any:
    """The number of the month since 1970-01 of a day since 1970-01-01 (Gregorian, by eras of 400 years from March)."""
    z = days + 719_468
    era = z // 146_097
    of_era = z - era * 146_097
    year = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    march = (5 * of_year + 2) // 153
    return (year + era * 400 - 1970) * 12 + march + 2


@jit
def month_start(month: Any) -> Any:
    """The first day, since 1970-01-01, of a month since 1970-01."""
    from_march = month - 2
    year = from_march // 12 + 1970
    march = from_march % 12
    era = year // 400
    of_era = year - era * 400
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + (153 * march + 2) // 5 - 719_468


@jit
def bucket_number(interval: Any, ts: Any) -> Any:
    """The number of the bucket that contains `ts`, ns; consecutive buckets have consecutive numbers."""
    if interval == MONTH:
        return month_of(ts // DAY)
    return (ts - _ORIGINS[interval]) // LENGTHS[interval]


@jit
def bucket_start(interval: Any, numbered: Any) -> Any:
    """The start of a bucket, ns UTC, inclusive."""
    if interval == MONTH:
        return month_start(numbered) * DAY
    return numbered * LENGTHS[interval] + _ORIGINS[interval]
