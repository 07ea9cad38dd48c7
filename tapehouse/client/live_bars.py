"""Bars of the messages of a subscription: whole ones, also of messages that have only the fields that changed."""

from __future__ import annotations

import heapq
from typing import Any

from tapehouse.client.live_following import Follower, moment
from tapehouse.client.live_records import NAN, Bar, Notice, Revised
from tapehouse.clock import SECOND, interval_named, now_ns
from tapehouse.stream.live_messages import (
    BAR_FIELDS,
    BARS,
    LAST_BARS,
    MOST_BARS,
    PRICE_FIELDS,
    REVISED,
    SHORT_FIELDS,
    unscaled,
)

_KEPT_BARS = 2 * MOST_BARS


class BarFollower(Follower[Bar]):
    """The bars from the first one of the snapshot on, as they are now."""

    def __init__(self, venue: str | None, symbol: str, interval: str, last: int | None, full: bool) -> None:
        """Raises UsageError where the interval is not a standard one."""
        options = {"venue": venue, "symbol": symbol, "interval": interval, "last": last, "full": full}
        super().__init__("bars", BARS, options)
        self._last = last or LAST_BARS
        """Bars that were requested."""
        self._length = interval_named(interval).length
        self._names = BAR_FIELDS if full else BAR_FIELDS[:SHORT_FIELDS]
        self._whole = (1 << len(self._names)) - 1
        self._bars: dict[int, dict[str, Any]] = {}
        """By start in s."""
        self._first: int | None = None
        """Start of the first bar that is followed, s; 0 where all are."""

    def options(self) -> dict[str, Any]:
        """A snapshot that is requested anew reaches back to the first bar, as far as that is possible."""
        if self._first is None:
            return {}
        since = (now_ns() - self._first * SECOND) // self._length + 2
        self._last = min(max(since, len(self._bars) + 1), MOST_BARS)
        return {"last": self._last}

    def snapshot(self, rows: Any) -> list[Bar | Notice]:
        """The bars that differ from those that are known, and those that are no more."""
        starts = {row[0] for row in rows}
        # A snapshot with fewer bars than were requested has all that there are.
        reach = min(starts) if len(rows) >= self._last else 0
        if self._first is None:
            self._first = reach
        gone = [[ts, 0] for ts in self._bars if ts >= reach and ts not in starts]
        return self.changed(sorted([*rows, *gone]))

    def changed(self, rows: Any) -> list[Bar | Notice]:
        """The bars of some rows, those without a change left out."""
        found: list[Bar | Notice] = []
        for ts, mask, *values in rows:
            before = self._bars.get(ts)
            if not mask:
                if self._bars.pop(ts, None) is not None:
                    found.append(self._bar(ts, {}))
                continue
            if before is None and (mask != self._whole or (self._first is not None and ts < self._first)):
                continue  # older than the bars that are followed
            bar = {**(before or {}), **self._fields(mask, values)}
            if bar != before:
                self._bars[ts] = bar
                found.append(self._bar(ts, bar))
        self._drop_oldest()
        return found

    def noticed(self, kind: int, items: list[Any]) -> list[Bar | Notice]:
        """Request the snapshot anew where bars that are followed have changed in the store."""
        if kind != REVISED:
            return []
        start, end = items
        self.wants_snapshot |= any(start <= ts * SECOND <= end for ts in self._bars)
        return [Revised(moment(start), moment(end))]

    def _fields(self, mask: int, values: list[Any]) -> dict[str, Any]:
        names = [name for bit, name in enumerate(self._names) if mask >> bit & 1]
        return {
            name: unscaled(value, self.decimals) if name in PRICE_FIELDS else value
            for name, value in zip(names, values, strict=True)
        }

    def _bar(self, ts: int, fields: dict[str, Any]) -> Bar:
        of: dict[str, Any] = {
            **dict.fromkeys(PRICE_FIELDS, NAN),
            "volume": 0.0,
            "trades": 0,
            "final": False,
            "revision": 0,
        }
        of |= dict.fromkeys(BAR_FIELDS[SHORT_FIELDS:])
        return Bar(ts=moment(ts * SECOND), venue=self.venue, symbol=self.symbol, **{**of, **fields})

    def _drop_oldest(self) -> None:
        if len(self._bars) <= _KEPT_BARS:
            return
        for ts in heapq.nsmallest(len(self._bars) - MOST_BARS, self._bars):
            del self._bars[ts]
        self._first = min(self._bars)
