"""Live candles of an account: read from the stores again whenever trades of theirs have been written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import structlog
from typing_extensions import override

from gateway.live.message import Message
from gateway.live.requests import Subscribe
from gateway.live.topic import Position, Topic
from tapehouse.clock import SECOND, interval_named, iso
from tapehouse.errors import ConnectError, TapehouseError
from tapehouse.stream.live_messages import ACCOUNT_CANDLES, CANDLE_FIELDS, REVISED

_MOST_CANDLES = 2_000
"""Changed candles in memory."""
_MOST_TOUCHED = 500
"""Candles that are read again at once; of more the oldest are announced as revised."""
_MOST_WAITING = 5_000
"""Candles that wait until their trades are written; of more the oldest will be announced."""
_READ_TOGETHER = 200
"""Intervals in one query, at most."""
_log = structlog.get_logger()
CandleRow = tuple[Any, ...]
"""The values of CANDLE_FIELDS; amounts as text with 18 digits after the point."""
Candles = list[tuple[int, CandleRow]]
"""By start in ns, in order of time."""


class CandleHistory(Protocol):
    """Where candles are read; raises TapehouseError."""

    async def candles(self, account: str, interval: str, start_ns: int, end_ns: int) -> Candles:
        """The candles that start in a span."""

    async def last_candles(self, account: str, interval: str, count: int) -> Candles:
        """The last candles."""


class AccountCandlesTopic(Topic):
    """The candles of an account and interval, each whole whenever it has changed."""

    channel = "account_candles"

    def __init__(self, number: int, epoch: int, n: int, key: tuple[str, str], history: CandleHistory) -> None:
        """`key`: the account's id and a standard interval."""
        super().__init__(number, epoch, n)
        self.account, self.interval = key
        self._interval = interval_named(self.interval)
        self._history = history
        self._rows: OrderedDict[int, tuple[int, CandleRow]] = OrderedDict()
        """By start the version at which the candle changed, and the candle; the last changed last."""
        self._touched: dict[int, int] = {}
        """By start the message of the stream with the newest of its trades that are not read yet."""
        self._surplus: tuple[int, int, int] | None = None
        """Start of the first and of the last candle that will be announced, once this message is written."""
        self._revised: tuple[int, int, int] | None = None
        """Version, start and end, ns, of the span whose candles were not read again; both ends inclusive."""

    @property
    @override
    def title(self) -> dict[str, Any]:
        return {"account": self.account, "interval": self.interval}

    def touch(self, times: Sequence[int], seq: int) -> None:
        """Note that the message `seq` of the stream has trades at some times, ns."""
        for ts in times:
            start = self._interval.start_of(ts)
            self._touched[start] = max(seq, self._touched.get(start, 0))
        if len(self._touched) > _MOST_WAITING:
            starts = sorted(self._touched)[:-_MOST_TOUCHED]
            newest = max(self._touched.pop(start) for start in starts)
            first, last, before = self._surplus or (starts[0], starts[-1], 0)
            self._surplus = min(first, starts[0]), max(last, starts[-1]), max(newest, before)

    async def refresh(self, written_seq: int, next_version: Callable[[], int]) -> None:
        """Read the candles again whose trades are all written, up to the message `written_seq`; publish what changed.

        Where a store does not answer they are read the next time. Where it rejects the query, or where they are too
        many, followers are told to query them.
        """
        if self._surplus is not None and self._surplus[2] <= written_seq:
            self._give_up(self._surplus[:2], next_version())
            self._surplus = None
        due = sorted(start for start, seq in self._touched.items() if seq <= written_seq)
        surplus = due[: max(len(due) - _MOST_TOUCHED, 0)]
        if surplus:
            self._give_up(surplus, next_version())
            for start in surplus:
                del self._touched[start]
        for starts in self._together(due[len(surplus) :]):
            # One that is touched meanwhile is read once more.
            seqs = {start: self._touched.pop(start) for start in starts}
            end = self._interval.end_of(starts[-1])
            try:
                found = await self._history.candles(self.account, self.interval, starts[0], end)
            except ConnectError as reason:
                _log.warning("candles not read", account=self.account, reason=reason.message)
                self._touched = seqs | self._touched
                return
            except TapehouseError as reason:
                _log.warning("candles not read", account=self.account, reason=reason.message)
                self._give_up(starts, next_version())
                continue
            self._publish([(ts, row) for ts, row in found if ts in seqs or ts in self._rows], next_version)

    @override
    async def read_history(self, request: Subscribe) -> tuple[int, Candles]:
        """The last candles, and the version before they were read."""
        n = self.n
        return n, await self._history.last_candles(self.account, self.interval, request.last)

    @override
    def is_current(self, history: tuple[int, Candles]) -> bool:
        return history[0] == self.n

    @override
    def snapshot(self, request: Subscribe, history: tuple[int, Candles]) -> Any:
        n, stored = history
        newer = {ts: row for ts, (changed, row) in self._rows.items() if changed > n}
        rows = dict(stored) | newer
        return self._encode(sorted(rows.items())[-request.last :])

    @override
    def changes(self, after: int) -> Any:
        return self._encode(self._changed_after(after))

    @override
    def catch_up(self, after: Position) -> Iterator[Message]:
        if self._revised is not None and self._revised[0] > after.n:
            yield self._revised_message()
        if found := self._changed_after(after.n):
            yield self._message(found)

    @override
    def named(self, rows: Any) -> Any:
        return [_named(ts * SECOND, row) for ts, *row in rows]

    def _publish(self, found: Candles, next_version: Callable[[], int]) -> None:
        changed = [(ts, row) for ts, row in found if ts not in self._rows or self._rows[ts][1] != row]
        if not changed:
            return
        before, self.n = Position(self.n), next_version()
        for ts, row in changed:
            self._rows[ts] = self.n, row
            self._rows.move_to_end(ts)
        while len(self._rows) > _MOST_CANDLES:
            _, (dropped, _) = self._rows.popitem(last=False)
            self.known_after = max(self.known_after, dropped)
        self.publish(lambda: self._message(changed), before)

    def _give_up(self, starts: Sequence[int], n: int) -> None:
        """Announce candles as revised instead of reading them."""
        first, last = starts[0], starts[-1]
        if self._revised is not None:
            first, last = min(first, self._revised[1]), max(last, self._revised[2])
        before, self.n = Position(self.n), n
        self._revised = n, first, last
        # Who was away has to read them anew.
        self.known_after = n
        self.publish(self._revised_message, before)

    def _together(self, starts: Sequence[int]) -> Iterator[list[int]]:
        """Starts in groups of near ones."""
        group: list[int] = []
        for start in starts:
            if group and start - group[0] >= _READ_TOGETHER * self._interval.length:
                yield group
                group = []
            group.append(start)
        if group:
            yield group

    def _changed_after(self, n: int) -> Candles:
        return sorted((ts, row) for ts, (changed, row) in self._rows.items() if changed > n)

    def _message(self, candles: Candles) -> Message:
        def named() -> dict[str, Any]:
            of = {"type": self.channel, "topic": self.number, **self.title, "n": self.n}
            return of | {"candles": [_named(ts, row) for ts, row in candles]}

        return Message([ACCOUNT_CANDLES, self.number, self.n, self._encode(candles)], named)

    def _revised_message(self) -> Message:
        assert self._revised is not None
        _, start, end = self._revised
        named = {"type": "revised", "topic": self.number, **self.title}
        named |= {"start": iso(start), "end": iso(end)}
        return Message([REVISED, self.number, start, end], lambda: named)

    def _encode(self, candles: Candles) -> list[list[Any]]:
        return [[ts // SECOND, *row] for ts, row in candles]


def _named(ts: int, row: Sequence[Any]) -> dict[str, Any]:
    return {"ts": iso(ts), **dict(zip(CANDLE_FIELDS, row, strict=True))}
