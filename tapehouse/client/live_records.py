"""What live iterators give: rows with the names of `db.bars`, `db.trades`, ..., and notices of what was missed.

Times are datetimes in UTC, cut to microseconds as those of a polars row are; `ts_event_ns` has all digits. Records are
named tuples: `polars.DataFrame([bar._asdict() for bar in bars])` is a frame.
"""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple


class Bar(NamedTuple):
    """A bar, whole, as it is now. It replaces the one of the same `ts` that came before.

    A bar whose trades were all cancelled comes once more, with 0 trades and prices that are NaN.
    """

    ts: datetime
    """Start of the half-open interval [ts, ts + interval)."""
    venue: str
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    """Sum of the sizes."""
    trades: int
    """Number of trades; 0: there is no such bar any more."""
    final: bool
    """Whether the interval ended the grace time ago. A late trade changes a final bar too, and raises `revision`."""
    revision: int
    """How often the bar has changed after it was first published; 0 for bars that come from the store."""
    turnover: float | None
    """Sum of price times size; None without `full`, as the three after it."""
    buy_volume: float | None
    """Sum of the sizes of trades whose taker bought."""
    seq_first: int | None
    seq_last: int | None

    @property
    def is_removed(self) -> bool:
        """Whether there is no such bar any more."""
        return not self.trades


class Trade(NamedTuple):
    """A trade. One with the `ts_event` and `seq` of one that came before is its correction."""

    ts_event: datetime
    venue: str
    symbol: str
    seq: int
    price: float
    size: float
    side: int
    """1 where the buyer was the taker, -1 where the seller was, 0 unknown."""
    flags: int
    """Bits: 1 cancelled, 2 not in bars, 4 estimated time."""
    ts_event_ns: int
    """ns since 1970, UTC."""


class Quote(NamedTuple):
    """The best bid and ask; None for an empty side of the book."""

    ts_event: datetime
    venue: str
    symbol: str
    seq: int
    bid: float | None
    bid_size: float | None
    ask: float | None
    ask_size: float | None
    ts_event_ns: int


class LastPrice(NamedTuple):
    """The last trade that counts in bars."""

    ts_event: datetime
    venue: str
    symbol: str
    seq: int
    price: float
    size: float
    ts_event_ns: int


class Ranked(NamedTuple):
    """A symbol of a ranking."""

    venue: str
    symbol: str
    change: float
    """Relative: 0.01 is 1 %."""
    volatility: float
    turnover: float


class Gap(NamedTuple):
    """Ids, or a time, of a source that were not received; see `docs/quarantine-and-gaps.md`."""

    kind: str
    venue: str
    symbol: str
    ts_event: datetime
    ts_end: datetime
    seq: int
    seq_last: int | None
    missing: int | None
    closed: bool
    reason: str | None


class AccountCandle(NamedTuple):
    """A candle of an account, whole, as it is now. It replaces the one of the same `ts` that came before."""

    ts: datetime
    """Start of the half-open interval [ts, ts + interval)."""
    account_id: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    """Sum of `trx_amount`."""
    trades: int


class Skipped(NamedTuple):
    """Trades that did not come: those after `seq_from - 1` and before `seq_to + 1`. Query them with `db.trades`."""

    venue: str
    symbol: str
    seq_from: int
    seq_to: int
    trades: int | None
    """How many; None where the gateway cannot know."""
    after: datetime | None
    """`ts_event` of the newest trade before them; None if there was none."""


class Revised(NamedTuple):
    """Stored bars or candles that start in this span, both ends inclusive, changed.

    Those of them that came are sent again.
    """

    start: datetime
    end: datetime


class Reconnected(NamedTuple):
    """The connection was lost, and there is a new one."""

    resumed: bool
    """True: what changed meanwhile follows. False: the newest rows were requested anew, and what differs follows."""


class Slow(NamedTuple):
    """The loop took its records too slowly: some changes were left out, and the newest state follows."""

    ms: int


Notice = Skipped | Revised | Reconnected | Slow
NAN = math.nan
