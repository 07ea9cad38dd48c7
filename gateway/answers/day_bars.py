"""Bars of closed days in memory, as the stores gave them: while a day does not change, it is not read again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gateway import arrow
from gateway.answers.finality import add_final
from gateway.json_rows import JsonRows
from tapehouse.clock import MAX_TS, parse_interval
from tapehouse.model import BARS

DaySeries = tuple[str, str, str, int]
"""(venue, symbol, interval, start of the UTC day in ns); for candles (empty, account, ...)."""


@dataclass
class _CachedBars:
    """The bars of a day that start in [start_ns, end_ns), while the day has this digest."""

    digest: str
    start_ns: int
    end_ns: int
    bars: pa.RecordBatch
    times_ns: NDArray[np.int64]
    """The start of each bar."""
    json: JsonRows | None = None
    """The same as JSON, from when it is first asked for."""

    @property
    def nbytes(self) -> int:
        return int(self.bars.nbytes) + (0 if self.json is None else self.json.nbytes)


@dataclass(frozen=True)
class CachedSlice:
    """Some adjacent bars of a cached day: those from the index `first` up to `last`, exclusive."""

    key: DaySeries
    day: _CachedBars
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first

    @property
    def bars(self) -> pa.RecordBatch:
        """The bars, without the column `final`."""
        return self.day.bars.slice(self.first, self.last - self.first)

    @property
    def is_encoded(self) -> bool:
        """Whether the day's bars are in memory as JSON."""
        return self.day.json is not None


class DayBars:
    """The bars read last, `max_bytes` at most. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._days: OrderedDict[DaySeries, _CachedBars] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0
        """Bytes of the cached bars."""

    def find(self, key: DaySeries, digest: str, start_ns: int, end_ns: int) -> CachedSlice | None:
        """The bars of a day that start in [start_ns, end_ns); None if they are not all cached."""
        with self._lock:
            known = self._days.get(key)
            if known is None or known.digest != digest:
                return None
            if start_ns < known.start_ns or known.end_ns < end_ns:
                return None
            self._days.move_to_end(key)
        first, last = known.times_ns.searchsorted((start_ns, end_ns))
        return CachedSlice(key, known, int(first), int(last))

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
                self.bytes -= replaced.nbytes
            self._days[key] = _CachedBars(digest, start_ns, end_ns, own, arrow.times_ns(own, BARS))
            self.bytes += own.nbytes
            self._drop_oldest()

    def json(self, cached: CachedSlice) -> bytes:
        """Bars that are final as JSON objects with commas between them; a day is encoded once."""
        rows = cached.day.json
        if rows is None:
            interval = parse_interval(cached.key[2])
            rows = JsonRows(add_final(cached.day.bars, interval, MAX_TS))
            with self._lock:
                if cached.day.json is None and self._days.get(cached.key) is cached.day:
                    cached.day.json = rows
                    self.bytes += rows.nbytes
                    self._drop_oldest()
        return rows.part(cached.first, cached.last)

    def _drop_oldest(self) -> None:
        while self.bytes > self._max_bytes:
            _, oldest = self._days.popitem(last=False)
            self.bytes -= oldest.nbytes


class CachedJson:
    """Bars in memory as JSON."""

    def __init__(self, day_bars: DayBars, parts: Sequence[CachedSlice]) -> None:
        self._day_bars = day_bars
        self._parts = parts

    @property
    def is_encoded(self) -> bool:
        """Whether it has been encoded before, so that `rows` takes no time worth a thread."""
        return all(part.is_encoded for part in self._parts)

    def rows(self) -> bytes:
        """The bars as JSON objects with commas between them, in order of time."""
        return b",".join([self._day_bars.json(part) for part in self._parts if len(part)])
