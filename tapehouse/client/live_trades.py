"""Trades of the messages of a subscription: each once, and a notice of those that did not come."""

from __future__ import annotations

from typing import Any

from tapehouse.client.live_following import Follower, moment
from tapehouse.client.live_records import Notice, Skipped, Trade
from tapehouse.stream.live_messages import MOST_TRADES, SKIPPED, TRADES, unscaled

_KEPT_TRADES = 5 * MOST_TRADES
Key = tuple[int, int]
"""(time in ns, seq)."""


class TradeFollower(Follower[Trade]):
    """Trades from the first one of the snapshot on."""

    def __init__(self, venue: str | None, symbol: str, last: int | None) -> None:
        super().__init__("trades", TRADES, {"venue": venue, "symbol": symbol, "last": last})
        self._known: dict[Key, Trade] = {}
        """The trades that came last."""
        self._first: Key | None = None
        self._newest: Trade | None = None

    def options(self) -> dict[str, Any]:
        """A snapshot that is requested anew reaches back as far as possible, to have what came meanwhile."""
        return {} if self._first is None else {"last": MOST_TRADES}

    def rows(self, items: list[Any]) -> Any:
        """The items themselves."""
        return items

    def snapshot(self, rows: Any) -> list[Trade | Notice]:
        """The trades that are not known, after a notice where there may be others before them."""
        newest, found = self._newest, self._trades(rows)
        if self._first is None or newest is None:
            return self._new(found)
        skipped: list[Trade | Notice] = []
        if len(found) >= MOST_TRADES and _key(newest) not in map(_key, found):
            skipped = [self._skipped(newest.seq + 1, found[0].seq - 1, None)]
        return skipped + self._new([trade for trade in found if _key(trade) >= self._first])

    def changed(self, rows: Any) -> list[Trade | Notice]:
        """The trades that are not known as they are."""
        return self._new(self._trades(rows))

    def noticed(self, kind: int, items: list[Any]) -> list[Trade | Notice]:
        """Trades that the gateway did not send."""
        return [self._skipped(*items)] if kind == SKIPPED else []

    def _skipped(self, seq_from: int, seq_to: int, count: int | None) -> Skipped:
        after = None if self._newest is None else self._newest.ts_event
        return Skipped(self.venue, self.symbol, seq_from, seq_to, count, after)

    def _trades(self, rows: Any) -> list[Trade]:
        if not rows or rows[0] is None:
            return []
        base_ts, base_seq, found = rows
        return [self._trade(base_ts + row[0], base_seq + row[1], *row[2:]) for row in found]

    def _trade(self, ts: int, seq: int, price: Any, size: Any, side: int, flags: int) -> Trade:
        price, size = unscaled(price, self.decimals), unscaled(size, self.decimals)
        return Trade(moment(ts), self.venue, self.symbol, seq, price, size, side, flags, ts)

    def _new(self, trades: list[Trade]) -> list[Trade | Notice]:
        found: list[Trade | Notice] = []
        for trade in trades:
            key = _key(trade)
            self._first = self._first or key
            if self._known.get(key) == trade:
                continue
            self._known.pop(key, None)
            self._known[key] = trade
            if self._newest is None or key >= _key(self._newest):
                self._newest = trade
            found.append(trade)
        if len(self._known) > 2 * _KEPT_TRADES:
            self._known = dict(list(self._known.items())[-_KEPT_TRADES:])
        return found


def _key(trade: Trade) -> Key:
    return trade.ts_event_ns, trade.seq
