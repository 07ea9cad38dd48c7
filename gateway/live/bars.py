"""Live bars of a symbol and interval: those of the bar maker's rings, kept up by its frames."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from gateway.live.message import Message
from gateway.live.requests import Subscribe
from gateway.live.topic import Position, Topic
from tapehouse.clock import MAX_TS, SECOND, iso
from tapehouse.stream.frames import Frame
from tapehouse.stream.live_messages import (
    BAR_FIELDS,
    BARS,
    PRICE_FIELDS,
    REVISED,
    SHORT_FIELDS,
    scaled,
    unscaled,
)

BarRow = tuple[Any, ...]
"""The values of a bar in the order of BAR_FIELDS."""
_IS_PRICE = tuple(name in PRICE_FIELDS for name in BAR_FIELDS)
_TRADES, _FINAL = BAR_FIELDS.index("trades"), BAR_FIELDS.index("final")
_MOST_BARS = 9_000
"""Bars in memory; more than a bar maker has in its rings."""
_MOST_REVISED = 100
_SAMPLED = 200
"""Bars whose prices say how many decimals there are."""


@dataclass(frozen=True)
class BarChange:
    """A bar that changed, or was removed (`row` is None), with the bits of the fields that did."""

    ts: int
    row: BarRow | None
    mask: int


class BarSeries:
    """The bars of one series with the version of the last change of each."""

    def __init__(self, n: int) -> None:
        self.rows: dict[int, BarRow] = {}
        """By start, ns."""
        self.changed_at: dict[int, int] = {}
        """By start the version of the last change, also of bars that were removed."""
        self.known_after = n
        self.loaded: tuple[str, int, int] | None = None
        """The maker, epoch and number of the frame up to which the bars are those of a snapshot."""
        self.revised: list[tuple[int, int, int]] = []
        """Spans in which stored bars older than these changed: the version, start and end in ns, both inclusive."""

    def apply(self, found: Sequence[tuple[int, BarRow]], n: int) -> list[BarChange]:
        """Replace bars, with 0 trades remove them. Returns what changed, in order of time."""
        changes = []
        for ts, row in found:
            before = self.rows.get(ts)
            if not row[_TRADES]:
                if before is not None:
                    del self.rows[ts]
                    changes.append(BarChange(ts, None, 0))
            elif before != row:
                self.rows[ts] = row
                changes.append(BarChange(ts, row, _changed(before, row)))
        for change in changes:
            self.changed_at[change.ts] = n
        self._drop_oldest()
        return sorted(changes, key=lambda change: change.ts)

    def replace(self, found: Sequence[tuple[int, BarRow]], n: int) -> list[BarChange]:
        """Take all bars of a snapshot, and remove those that it lacks from its first bar on.

        Nothing is known any more of older ones: they are dropped, and not among the changes.
        """
        kept = {ts for ts, _ in found}
        first = min(kept, default=MAX_TS)
        gone = [(ts, _no_bar()) for ts in self.rows if ts >= first and ts not in kept]
        for ts in [ts for ts in self.changed_at if ts < first]:
            del self.changed_at[ts]
            self.rows.pop(ts, None)
        return self.apply([*found, *gone], n)

    def note_revised(self, start_ns: int, end_ns: int, n: int) -> None:
        """Note that stored bars older than these changed in a span, both ends inclusive."""
        self.revised.append((n, start_ns, end_ns))
        if len(self.revised) > _MOST_REVISED:
            (_, start, end), (later, other_start, other_end), *rest = self.revised
            self.revised = [(later, min(start, other_start), max(end, other_end)), *rest]
        # Who was away has to read them anew.
        self.known_after = n

    def is_before(self, frame: Frame) -> bool:
        """Whether a frame is newer than the snapshot."""
        return (
            self.loaded is None or self.loaded[:2] != (frame.maker, frame.epoch) or frame.n > self.loaded[2]
        )

    @property
    def revised_at(self) -> int:
        """The version at which older bars were last noted to have changed; 0 if never."""
        return self.revised[-1][0] if self.revised else 0

    def newest(self, count: int) -> list[tuple[int, BarRow]]:
        """The newest bars, in order of time."""
        return [(ts, self.rows[ts]) for ts in sorted(heapq.nlargest(count, self.rows))]

    def changes(self, after: int) -> list[BarChange]:
        """The bars that changed after a version, whole, in order of time."""
        found = sorted(ts for ts, n in self.changed_at.items() if n > after)
        return [BarChange(ts, self.rows.get(ts), ALL_FIELDS if ts in self.rows else 0) for ts in found]

    @property
    def first(self) -> int:
        """The start of the oldest bar, ns; MAX_TS without any."""
        return min(self.rows, default=MAX_TS)

    def _drop_oldest(self) -> None:
        surplus = len(self.changed_at) - _MOST_BARS
        for ts in heapq.nsmallest(surplus, self.changed_at) if surplus > 0 else ():
            self.known_after = max(self.known_after, self.changed_at.pop(ts))
            self.rows.pop(ts, None)


class BarsTopic(Topic):
    """A series as sockets follow it, with all fields or the first ones."""

    channel = "bars"

    def __init__(
        self,
        number: int,
        epoch: int,
        n: int,
        key: tuple[str, str, str, bool],
        series: BarSeries,
        read_older: Callable[[int, int], Any],
    ) -> None:
        """`read_older(end_ns, count)` gives awaitably up to `count` stored bars before a time, in order of time."""
        super().__init__(number, epoch, n)
        self.venue, self.symbol, self.interval, self._is_full = key
        self.series = series
        self._fields = ALL_FIELDS if self._is_full else SHORT
        self._names = BAR_FIELDS if self._is_full else BAR_FIELDS[:SHORT_FIELDS]
        self._read_older = read_older
        self.known_after = series.known_after

    @property
    @override
    def title(self) -> dict[str, Any]:
        return {"venue": self.venue, "symbol": self.symbol, "interval": self.interval}

    @override
    async def read_history(self, request: Subscribe) -> tuple[int, list[tuple[int, BarRow]]]:
        """Stored bars before those in memory, where fewer than `last` are."""
        revised_at, missing = self.series.revised_at, request.last - len(self.series.rows)
        if missing <= 0:
            return revised_at, []
        return revised_at, await self._read_older(self.series.first, missing)

    @override
    def is_current(self, history: tuple[int, list[tuple[int, BarRow]]]) -> bool:
        return history[0] == self.series.revised_at

    @override
    def snapshot(self, request: Subscribe, history: tuple[int, list[tuple[int, BarRow]]]) -> Any:
        newest = self.series.newest(request.last)
        first = newest[0][0] if newest else MAX_TS
        bars = [*((ts, row) for ts, row in history[1] if ts < first), *newest]
        self.settle_decimals(
            value
            for _, row in bars[-_SAMPLED:]
            for value, is_price in zip(row, _IS_PRICE, strict=True)
            if is_price
        )
        return self._encode([BarChange(ts, row, self._fields) for ts, row in bars[-request.last :]])

    @override
    def changes(self, after: int) -> Any:
        self.known_after = max(self.known_after, self.series.known_after)
        return self._encode(self.series.changes(after))

    @override
    def catch_up(self, after: Position) -> Iterator[Message]:
        for n, start, end in self.series.revised:
            if n > after.n:
                yield self._revised(start, end)
        found = self.series.changes(after.n)
        if found:
            yield self._message(found)

    def publish_changes(self, changes: Sequence[BarChange], n: int) -> None:
        """Tell all who follow the topic what changed; `n` is the new version."""
        self.known_after = max(self.known_after, self.series.known_after)
        changes = [change for change in changes if change.row is None or change.mask & self._fields]
        if changes:
            before, self.n = Position(self.n), n
            self.publish(lambda: self._message(changes), before)

    def publish_revised(self, start_ns: int, end_ns: int, n: int) -> None:
        """Tell that stored bars older than those in memory changed; both times inclusive."""
        before, self.n = Position(self.n), n
        self.known_after = max(self.known_after, self.series.known_after)
        self.publish(lambda: self._revised(start_ns, end_ns), before)

    @override
    def named(self, rows: Any) -> Any:
        found = []
        for ts, mask, *values in rows:
            names = [name for bit, name in enumerate(self._names) if mask >> bit & 1]
            plain = [
                unscaled(value, self.decimals) if name in PRICE_FIELDS else value
                for name, value in zip(names, values, strict=True)
            ]
            found.append({"ts": iso(ts * SECOND), **dict(zip(names, plain, strict=True))})
        return found

    def _message(self, changes: Sequence[BarChange]) -> Message:
        def named() -> dict[str, Any]:
            of = {"type": "bars", "topic": self.number, **self.title, "n": self.n}
            return of | {"bars": [self._named_bar(change.ts, change.row or _no_bar()) for change in changes]}

        return Message([BARS, self.number, self.n, self._encode(changes)], named)

    def _revised(self, start_ns: int, end_ns: int) -> Message:
        named = {"type": "revised", "topic": self.number, **self.title}
        named |= {"start": iso(start_ns), "end": iso(end_ns)}
        return Message([REVISED, self.number, start_ns, end_ns], lambda: named)

    def _named_bar(self, ts: int, row: BarRow) -> dict[str, Any]:
        return {"ts": iso(ts), **dict(zip(self._names, row, strict=False))}

    def _encode(self, changes: Sequence[BarChange]) -> list[list[Any]]:
        return [
            [change.ts // SECOND, *_masked(change.row, change.mask & self._fields, self.decimals)]
            for change in changes
        ]


def frame_rows(frame: Frame, rows: Any) -> list[tuple[int, BarRow]]:
    """Some bars of a frame as (start in ns, values in the order of BAR_FIELDS)."""
    columns = [
        rows[name].astype(bool).tolist() if name == "final" else rows[name].tolist() for name in BAR_FIELDS
    ]
    return list(zip(rows["ts"].tolist(), zip(*columns, strict=True), strict=True))


def _changed(before: BarRow | None, row: BarRow) -> int:
    if before is None:
        return ALL_FIELDS
    mask = 0
    for bit, (old, new) in enumerate(zip(before, row, strict=True)):
        if old != new:
            mask |= 1 << bit
    return mask


def _masked(row: BarRow | None, mask: int, decimals: int) -> list[Any]:
    if row is None:
        return [0]
    return [
        mask,
        *(
            scaled(value, decimals) if is_price else value
            for bit, (value, is_price) in enumerate(zip(row, _IS_PRICE, strict=True))
            if mask >> bit & 1
        ),
    ]


def _no_bar() -> BarRow:
    return tuple(False if at == _FINAL else 0 for at in range(len(BAR_FIELDS)))


ALL_FIELDS = (1 << len(BAR_FIELDS)) - 1
SHORT = (1 << SHORT_FIELDS) - 1
