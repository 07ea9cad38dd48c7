"""Candles of accounts of the messages of a subscription."""

from __future__ import annotations

import heapq
from decimal import Decimal
from typing import Any

from tapehouse.client.live_following import Follower, moment
from tapehouse.client.live_records import AccountCandle, Notice, Revised
from tapehouse.clock import SECOND, interval_named, now_ns
from tapehouse.stream.live_messages import ACCOUNT_CANDLES, LAST_BARS, MOST_BARS, REVISED


class AccountCandleFollower(Follower[AccountCandle]):
    """The candles from the first one of the snapshot on, and older ones that change."""

    def __init__(self, account: int | str, interval: str, last: int | None) -> None:
        """Raises UsageError where the interval is not a standard one."""
        options = {"account": str(account), "interval": interval, "last": last}
        super().__init__("account_candles", ACCOUNT_CANDLES, options)
        self._account = str(account)
        self._last = last or LAST_BARS
        self._length = interval_named(interval).length
        self._rows: dict[int, list[Any]] = {}
        """By start in s the candle as it came last."""

    def options(self) -> dict[str, Any]:
        """A snapshot that is requested anew reaches back to the first candle, as far as that is possible."""
        if not self._rows:
            return {}
        since = (now_ns() - min(self._rows) * SECOND) // self._length + 2
        return {"last": min(max(since, self._last), MOST_BARS)}

    def changed(self, rows: Any) -> list[AccountCandle | Notice]:
        """The candles that are not known as they are."""
        found: list[AccountCandle | Notice] = []
        for ts, *values in rows:
            if self._rows.get(ts) != values:
                self._rows[ts] = values
                found.append(self._candle(ts, *values))
        if len(self._rows) > 2 * MOST_BARS:
            kept = heapq.nlargest(MOST_BARS, self._rows)
            self._rows = {ts: self._rows[ts] for ts in kept}
        return found

    def _candle(self, ts: int, *values: Any) -> AccountCandle:
        first, high, low, last, volume = (Decimal(amount) for amount in values[:-1])
        start, account = moment(ts * SECOND), int(self._account)
        return AccountCandle(start, account, first, high, low, last, volume, values[-1])

    def noticed(self, kind: int, items: list[Any]) -> list[AccountCandle | Notice]:
        """Request the snapshot anew where candles that are followed have changed in the store."""
        if kind != REVISED:
            return []
        start, end = items
        self.wants_snapshot |= any(start <= ts * SECOND <= end for ts in self._rows)
        return [Revised(moment(start), moment(end))]
