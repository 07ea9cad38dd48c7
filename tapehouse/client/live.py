"""`db.live`: rows as they come, over the gateway's WebSocket; and the chart of a symbol for notebooks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Literal
from urllib.parse import quote, urlencode

from tapehouse.client.download import RowDownload
from tapehouse.client.live_bars import BarFollower
from tapehouse.client.live_candles import AccountCandleFollower
from tapehouse.client.live_following import (
    Follower,
    GapsFollower,
    LatestFollower,
    QuoteFollower,
    RankingsFollower,
    Record,
)
from tapehouse.client.live_records import AccountCandle, Bar, Gap, LastPrice, Notice, Quote, Ranked, Trade
from tapehouse.client.live_socket import LiveAddress, LiveStream
from tapehouse.client.live_trades import TradeFollower
from tapehouse.client.transport import Transport
from tapehouse.clock import interval_named
from tapehouse.stream.live_messages import GAPS, LATEST, QUOTES, RANKINGS

OnNotice = Callable[[Notice], object] | None


class Live:
    """Live rows, as `db.live`. Each method gives a `LiveStream` for a loop, `for` or `async for`.

    First come the rows that there are, then each change; between them nothing is missing and nothing comes twice.
    Records are named tuples with the names of the columns of `db.bars`, `db.trades`, ...

    Parameters of all methods:

    venue: the source of the rows. May be left out where one venue has the symbol, or where `connect` was given one.
    on_notice: called with what the loop's records do not say: `Skipped`, `Revised`, `Reconnected` or `Slow`.

    >>> for bar in db.live.bars("BTCUSDT", "1m"):
    ...     print(bar.ts, bar.close, bar.final)
    """

    def __init__(self, transport: Transport, venue: str | None = None) -> None:
        self.away_s = 60.0
        """How long a loop waits for a gateway that does not answer before it raises ConnectError."""
        self._transport = transport
        self._venue = venue

    def bars(
        self,
        symbol: str,
        interval: str,
        *,
        venue: str | None = None,
        last: int | None = None,
        full: bool = False,
        on_notice: OnNotice = None,
    ) -> LiveStream[Bar]:
        """The last bars, then each that changes, whole; also those that are no more, with 0 trades.

        interval: 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w or 1M.
        last: how many bars come first, 1 to 2,000, by default 100. Changes of older bars do not come.
        full: with turnover, buy_volume, seq_first and seq_last.

        After a lost connection come the bars that are other than before, of the newest 2,000.
        """
        venue = venue or self._venue
        return self._stream(lambda: BarFollower(venue, symbol, interval, last, full), on_notice)

    def trades(
        self, symbol: str, *, venue: str | None = None, last: int | None = None, on_notice: OnNotice = None
    ) -> LiveStream[Trade]:
        """The last trades, then each that comes, also one that is late or corrects another.

        last: how many trades come first, 0 to 1,000, by default 50.

        After a lost connection come those of meanwhile, at most the last 1,000; `Skipped` says which are missing.
        """
        venue = venue or self._venue
        return self._stream(lambda: TradeFollower(venue, symbol, last), on_notice)

    def quotes(
        self, symbol: str, *, venue: str | None = None, on_notice: OnNotice = None
    ) -> LiveStream[Quote]:
        """The quote in force, then each newer one; not all of them where the loop or the connection is slow."""
        options = {"venue": venue or self._venue, "symbol": symbol}
        return self._stream(lambda: QuoteFollower("quotes", QUOTES, options), on_notice)

    def latest(
        self, symbol: str, *, venue: str | None = None, on_notice: OnNotice = None
    ) -> LiveStream[LastPrice]:
        """The last trade that counts in bars, then each newer one, at most 20 a second."""
        options = {"venue": venue or self._venue, "symbol": symbol}
        return self._stream(lambda: LatestFollower("latest", LATEST, options), on_notice)

    def rankings(
        self,
        window: Literal["1h", "24h", "7d"] = "24h",
        measure: Literal["change", "volatility", "turnover"] = "change",
        *,
        limit: int | None = None,
        on_notice: OnNotice = None,
    ) -> LiveStream[list[Ranked]]:
        """The live symbols with the highest `measure`, highest first, as a list; a new one when it changes.

        limit: 1 to 200, by default 20.
        """
        options = {"window": window, "measure": measure, "limit": limit}
        return self._stream(lambda: RankingsFollower("rankings", RANKINGS, options), on_notice)

    def gaps(self, *, on_notice: OnNotice = None) -> LiveStream[Gap]:
        """Gaps of all venues and symbols, from now on."""
        return self._stream(lambda: GapsFollower("gaps", GAPS, {}), on_notice)

    def account_candles(
        self, account: int | str, interval: str, *, last: int | None = None, on_notice: OnNotice = None
    ) -> LiveStream[AccountCandle]:
        """The last candles of an account, then each that changes, whole, a second or two after its trades.

        interval: 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w or 1M.
        last: how many candles come first, 1 to 2,000, by default 100. Older ones that change come too.
        """
        return self._stream(lambda: AccountCandleFollower(account, interval, last), on_notice)

    def chart(
        self, symbol: str, interval: str = "1m", *, venue: str | None = None, height: int = 480
    ) -> Chart:
        """A live chart, for a notebook to show; `height` in pixels.

        >>> db.live.chart("BTCUSDT", "1m")
        """
        interval_named(interval)
        name = venue or self._venue or self._venue_of(symbol)
        path = f"/chart/{quote(name, safe='')}/{quote(symbol, safe='')}"
        return Chart(f"{self._transport.url}{path}?{urlencode({'interval': interval})}", height)

    def _venue_of(self, symbol: str) -> str:
        """The one venue that has a symbol."""
        with RowDownload(self._transport, "/v1/trades", {"symbol": [symbol], "last": 1}) as download:
            return str(download.frame()["venue"][0])

    def _stream(self, follow: Callable[[], Follower[Record]], on_notice: OnNotice) -> LiveStream[Record]:
        return LiveStream(LiveAddress(self._transport, self.away_s), follow, on_notice)


@dataclass(frozen=True)
class Chart:
    """A page of the gateway, shown by notebooks. `url` opens it in a browser."""

    url: str
    height: int

    def _repr_html_(self) -> str:
        return f'<iframe src="{escape(self.url)}" width="100%" height="{self.height}" style="border: 0"></iframe>'
