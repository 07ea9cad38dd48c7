"""Live trades, quotes and gaps: rows as they are stored in the stream."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from typing_extensions import override

from gateway.live.message import Message
from gateway.live.requests import Subscribe
from gateway.live.symbol_topic import NewestTopic, SymbolTopic
from gateway.live.topic import Position, Topic
from tapehouse.clock import iso
from tapehouse.stream.live_messages import GAPS, QUOTES, SKIPPED, TRADES, scaled, unscaled

Row = tuple[Any, ...]
TRADE_FIELDS = ("ts_event", "seq", "price", "size", "side", "flags")
QUOTE_FIELDS = ("ts_event", "seq", "bid", "bid_size", "ask", "ask_size")
GAP_FIELDS = (
    "kind", "venue", "symbol", "ts_event", "ts_end", "seq", "seq_last", "missing", "closed", "reason"
)  # fmt: skip
_TIMES = frozenset({"ts_event", "ts_end"})
_MOST_TRADES = 2_000
_MOST_GAPS = 1_000
_SENT_TOGETHER = 500
"""Trades in one message, at most."""


class TradesTopic(SymbolTopic):
    """The trades of a symbol. A client is told of each that it is not sent."""

    channel = "trades"

    def __init__(
        self,
        number: int,
        epoch: int,
        n: int,
        key: tuple[str, str],
        recent: Sequence[Row],
        read_last: Callable[[int], Any],
    ) -> None:
        """`recent`: the newest trades; `read_last(count)` gives awaitably the last stored ones, in order of time."""
        super().__init__(number, epoch, n, key)
        self._read_last = read_last
        self._rows: OrderedDict[tuple[int, int], tuple[int, Row]] = OrderedDict()
        """By time and seq: the version at which the row came, and the row; in the order in which they came."""
        self._seq = self._count = 0
        self._add(recent, n)

    @override
    async def read_history(self, request: Subscribe) -> list[Row]:
        """Stored trades, where fewer than `last` are in memory."""
        return await self._read_last(request.last) if len(self._rows) < request.last else []

    @override
    def snapshot(self, request: Subscribe, history: list[Row]) -> Any:
        rows = {row[:2]: row for row in history} | {key: row for key, (_, row) in self._rows.items()}
        newest = [rows[key] for key in sorted(rows)][max(len(rows) - request.last, 0) :]
        self.settle_decimals(value for row in newest for value in row[2:4])
        return self._encode(newest)

    @override
    def changes(self, after: int) -> Any:
        return self._encode(self._rows_after(after))

    @override
    def catch_up(self, after: Position) -> Iterator[Message]:
        kept = self._rows_after(after.n)
        skipped = self._count - after.rows - len(kept)
        if self.known_after > after.n and skipped > 0:
            last = kept[0][1] - 1 if kept else self._seq
            named = {"type": "skipped", "topic": self.number, **self.title}
            named |= {"from": after.seq + 1, "to": last, "count": skipped}
            yield Message([SKIPPED, self.number, after.seq + 1, last, skipped], lambda: named)
        for first in range(0, len(kept), _SENT_TOGETHER):
            yield self._message(kept[first : first + _SENT_TOGETHER])

    def add(self, rows: Sequence[Row], n: int) -> None:
        """Publish trades that came. One that is known is published again only if it has changed."""
        before = Position(self.n, self._seq, self._count)
        new = self._add(rows, n)
        if new:
            self.n = n
            self.publish(lambda: self._message(new), before)

    @override
    def named(self, rows: Any) -> Any:
        if rows is None:
            return []
        base_ts, base_seq, found = rows
        return [
            _named(
                TRADE_FIELDS,
                (base_ts + row[0], base_seq + row[1], *_plain(row[2:4], self.decimals), *row[4:]),
            )
            for row in found
        ]

    def _add(self, rows: Sequence[Row], n: int) -> list[Row]:
        new = []
        for row in rows:
            known = self._rows.get(row[:2])
            if known is not None and known[1] == row:
                continue
            self._rows[row[:2]] = (n, row)
            self._rows.move_to_end(row[:2])
            new.append(row)
            self._seq = max(self._seq, row[1])
        self._count += len(new)
        while len(self._rows) > _MOST_TRADES:
            _, (dropped, _) = self._rows.popitem(last=False)
            self.known_after = max(self.known_after, dropped)
        return new

    def _rows_after(self, n: int) -> list[Row]:
        return [row for at, row in self._rows.values() if at > n]

    def _message(self, rows: Sequence[Row]) -> Message:
        def named() -> dict[str, Any]:
            of = {"type": "trades", "topic": self.number, **self.title, "n": self.n}
            return of | {"trades": [_named(TRADE_FIELDS, row) for row in rows]}

        return Message([TRADES, self.number, self.n, *self._encode(rows)], named)

    def _encode(self, rows: Sequence[Row]) -> Any:
        if not rows:
            return None
        base_ts, base_seq, *_ = rows[0]
        return [
            base_ts,
            base_seq,
            [
                [ts - base_ts, seq - base_seq, *_scaled(row[:2], self.decimals), *row[2:]]
                for ts, seq, *row in rows
            ],
        ]


class QuotesTopic(NewestTopic):
    """The quote of a symbol with the highest seq."""

    channel = "quotes"
    message_type = QUOTES

    def __init__(
        self, number: int, epoch: int, n: int, key: tuple[str, str], read_last: Callable[[int], Any]
    ) -> None:
        """`read_last(count)` gives awaitably the last stored quotes."""
        super().__init__(number, epoch, n, key)
        self._read_last = read_last
        self._row: Row | None = None

    @override
    async def read_history(self, request: Subscribe) -> list[Row]:
        """The last stored quote, where none has come yet."""
        return await self._read_last(1) if self._row is None else []

    @override
    def snapshot(self, request: Subscribe, history: list[Row]) -> Any:
        if self._row is None and history:
            self._row = history[-1]
        return self.encode()

    def add(self, rows: Sequence[Row], n: int) -> None:
        """Publish the newest of some quotes, if it is newer than the one before."""
        newest = max(rows, key=lambda row: row[1])
        if self._row is None or newest[1] > self._row[1]:
            before, self.n, self._row = Position(self.n), n, newest
            self.publish(self.message, before)

    @override
    def named(self, rows: Any) -> Any:
        return None if self._row is None else _named(QUOTE_FIELDS, self._row)

    @override
    def encode(self) -> list[Any] | None:
        if self._row is None:
            return None
        ts, seq, *values = self._row
        self.settle_decimals(values)
        return [ts, seq, *_scaled(values, self.decimals)]


class GapsTopic(Topic):
    """All gaps from when the topic began."""

    channel = "gaps"

    def __init__(self, number: int, epoch: int, n: int) -> None:
        super().__init__(number, epoch, n)
        self._rows: deque[tuple[int, Row]] = deque(maxlen=_MOST_GAPS)

    @override
    def snapshot(self, request: Subscribe, history: Any) -> Any:
        return []

    @override
    def changes(self, after: int) -> Any:
        return [row for n, row in self._rows if n > after]

    @override
    def catch_up(self, after: Position) -> Iterator[Message]:
        yield self._message(self.changes(after.n))

    def add(self, rows: Sequence[Row], n: int) -> None:
        """Publish gaps that came."""
        before, self.n = Position(self.n), n
        for row in rows:
            if len(self._rows) == _MOST_GAPS:
                self.known_after = self._rows[0][0]
            self._rows.append((n, row))
        self.publish(lambda: self._message(rows), before)

    @override
    def named(self, rows: Any) -> Any:
        return [_named(GAP_FIELDS, row) for row in rows]

    def _message(self, rows: Sequence[Row]) -> Message:
        named = {"type": "gaps", "topic": self.number, "n": self.n, "gaps": self.named(rows)}
        return Message([GAPS, self.number, self.n, list(rows)], lambda: named)


def _named(fields: Sequence[str], row: Row) -> dict[str, Any]:
    return {name: iso(value, 9) if name in _TIMES else value for name, value in zip(fields, row, strict=True)}


def _scaled(values: Sequence[float | None], decimals: int) -> list[Any]:
    return [None if value is None else scaled(value, decimals) for value in values]


def _plain(values: Sequence[Any], decimals: int) -> list[float]:
    return [unscaled(value, decimals) for value in values]
