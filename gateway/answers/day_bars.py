"""Bars of closed days in memory, as the stores gave them: while a day does not change, it is not read again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gateway import arrow
from tapehouse.model import BARS

DaySeries = tuple[str, str, str, int]
"""(venue, symbol, interval, start of the UTC day in ns)."""


@dataclass(frozen=True)
class _CachedBars:
    """The bars of a day that start in [start_ns, end_ns), while the day has this digest."""

    digest: str
    start_ns: int
    end_ns: int
    bars: pa.RecordBatch


class DayBars:
    """The bars read last, `max_bytes` at most. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._days: OrderedDict[DaySeries, _CachedBars] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0
        """Bytes of the cached bars."""

    def find(self, key: DaySeries, digest: str, start_ns: int, end_ns: int) -> pa.RecordBatch | None:
        """The bars of a day that start in [start_ns, end_ns); None if they are not all cached."""
        with self._lock:
            known = self._days.get(key)
            if known is None or known.digest != digest:
                return None
            if start_ns < known.start_ns or known.end_ns < end_ns:
                return None
            self._days.move_to_end(key)
        first, last = np.searchsorted(arrow.times_ns(known.bars, BARS), (start_ns, end_ns))
        return known.bars.slice(int(first), int(last - first))

    def has_part(self, key: DaySeries, digest: str) -> bool:
        """Whether some bars of a day are cached."""
        with self._lock:
            known = self._days.get(key)
            return known is not None and known.digest == digest

    def add(self, key: DaySeries, digest: str, start_ns: int, end_ns: int, bars: pa.RecordBatch) -> None:
        """Cache all bars of a day that start in [start_ns, end_ns), instead of those of before.

        `digest`: that of the day before the bars were read.
        """
        # A slice would keep the whole batch in memory.
        own = bars.take(pa.array(np.arange(bars.num_rows)))
        with self._lock:
            replaced = self._days.pop(key, None)
            if replaced is not None:
                self.bytes -= replaced.bars.nbytes
            self._days[key] = _CachedBars(digest, start_ns, end_ns, own)
            self.bytes += own.nbytes
            while self.bytes > self._max_bytes:
                _, oldest = self._days.popitem(last=False)
                self.bytes -= oldest.bars.nbytes
