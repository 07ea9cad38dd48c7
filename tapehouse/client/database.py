"""`Database`, the client's entry point: one method per kind, which returns a polars frame."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Literal, Self

import polars as pl

from tapehouse.client import display
from tapehouse.client.asof import asof
from tapehouse.client.display import Plan
from tapehouse.client.download import RowDownload
from tapehouse.client.installed import backtest
from tapehouse.client.live import Live
from tapehouse.client.parameters import Accounts, Names, as_ids, as_names, kind_parameters, span_parameters
from tapehouse.client.transport import Parameters, Transport
from tapehouse.clock import iso, now_ns
from tapehouse.errors import TapehouseError
from tapehouse.query_times import Time, query_ns

_FIRST_COLUMNS: Final = {
    "trades": ("ts_event", "symbol", "price", "size"),
    "quotes": ("ts_event", "symbol", "bid", "ask"),
}
"""The first columns of a frame: a printed one shows four columns from its start and four from its end."""


class Database:
    """Queries over all stores of a platform, through its gateway. Returned by `tapehouse.connect()`.

    Parameters of most methods:

    symbols: one name, or up to 500, or "*" for all of the venue, then with `last`, `limit` or `end`.
    start, end: the half-open span [start, end) by the venue's clock, UTC. Without `end` it reaches to the newest row;
        `start` may be left out if `last` is given. Text may refer to now: "now", "today", "yesterday", "-1h", "-5d".
    last: only the last so many rows of the span, of each symbol; 100,000 at most, 1,000,000 of all symbols.
    limit: only the first so many rows of the span.
    venue: the source of the rows. May be left out where one venue has the symbols, or where `connect` was given one.
    columns: columns of the kind; all if empty.
    flags: leaves out rows with any of these bits (1 cancelled, 2 not in bars, 4 estimated time).

    Frames have the columns of `tapehouse.model` (of trades and quotes the prices first), times as Datetime(ns, UTC),
    missing values as null, and are sorted by the kind's key: time, venue, symbol, seq.

    All methods raise UsageError for an invalid query (NaiveTimeError for a time without a zone, UnknownSeriesError,
    which names near ones, for a venue or symbol that is not stored) and ConnectError if the gateway or a store does
    not answer; an incomplete frame is never returned. A span without rows is an empty frame with all columns.
    """

    def __init__(self, transport: Transport, venue: str | None = None) -> None:
        self._transport = transport
        self._venue = venue
        self._segments: list[dict[str, Any]] = []
        self.live = Live(transport, venue)
        """Rows as they come."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return self._transport.url

    @property
    def default_venue(self) -> str | None:
        """The venue of queries that name none."""
        return self._venue

    @property
    def segments(self) -> pl.DataFrame:
        """Which store served which span of the last answer.

        Columns: store, start, end (exclusive; null if open), rows, ms, quality, why.
        """
        return display.served(self._segments)

    def trades(
        self,
        symbols: Names,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> pl.DataFrame:
        """Trades: ts_event, symbol, price and size, then the other columns; `side` is 1 where the buyer was the taker.

        >>> db.trades(["BTCUSDT", "ETHUSDT"], "-1h", columns=["symbol", "price"])
        """
        span = span_parameters(
            start, end, venue=venue or self._venue, last=last, limit=limit, columns=columns, flags=flags
        )
        return self._rows("trades", {"symbol": as_names(symbols), **span})

    def quotes(
        self,
        symbols: Names,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> pl.DataFrame:
        """Best bids and asks with their sizes: ts_event, symbol, bid and ask first; null for an empty side of the book.

        >>> db.quotes("BTCUSDT", "today")
        """
        span = span_parameters(
            start, end, venue=venue or self._venue, last=last, limit=limit, columns=columns, flags=flags
        )
        return self._rows("quotes", {"symbol": as_names(symbols), **span})

    def depth(
        self,
        symbols: Names,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> pl.DataFrame:
        """Order book updates with levels as lists; a row with `snapshot` true has the complete book.

        >>> db.depth("BTCUSDT", last=10)
        """
        span = span_parameters(
            start, end, venue=venue or self._venue, last=last, limit=limit, columns=columns, flags=flags
        )
        return self._rows("depth", {"symbol": as_names(symbols), **span})

    def bars(
        self,
        symbols: Names,
        interval: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        fill: Literal["none", "flat"] = "none",
        open: bool = True,  # noqa: A002 - the parameter's name in every interface
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
    ) -> pl.DataFrame:
        """Bars whose start `ts` is in the span, each whole; `final` is false of one whose interval has not ended.

        interval: 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w or 1M; or a whole number of minutes or hours, or a multiple of
            15 seconds, up to a day, such as 45s, 7m or 90m, whose bars start at its multiples since 1970-01-01T00:00Z.
        fill: "flat" adds a bar with the previous close and volume 0 for each empty interval.
        open: False leaves out bars that are not final.

        >>> db.bars("BTCUSDT", "1h", "2024-01-02", "2024-01-03", fill="flat")
        """
        span = span_parameters(
            start, end, venue=venue or self._venue, last=last, limit=limit, columns=columns
        )
        bars = {"interval": interval, "fill": fill, "open": None if open else "false"}
        return self._rows("bars", {"symbol": as_names(symbols), **bars, **span})

    def account_trades(
        self,
        accounts: Accounts,
        start: Time | None = None,
        end: Time | None = None,
        *,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        store: str | None = None,
    ) -> pl.DataFrame:
        """The trades of accounts, given by id; amounts are Decimal(38, 18).

        store: "timescale" for the answer of TimescaleDB alone.

        >>> db.account_trades(1, "2024-11-05")
        """
        span = span_parameters(start, end, last=last, limit=limit, columns=columns)
        return self._rows("account_trades", {"account": as_ids(accounts), "store": store, **span})

    def account_candles(
        self,
        accounts: Accounts,
        interval: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        store: str | None = None,
    ) -> pl.DataFrame:
        """Candles of accounts, given by id, whose start `ts` is in the span, each whole; amounts are Decimal(38, 18).

        store: "timescale" for the answer of TimescaleDB alone.

        Open, high, low and close are of `amount`, open and close by (ts_event, id); volume is the sum of `trx_amount`.
        interval: as of `bars`.

        >>> db.account_candles(1, "30m", "2024-11-05", "2024-11-06")
        """
        span = span_parameters(start, end, last=last, limit=limit, columns=columns)
        return self._rows(
            "account_candles", {"account": as_ids(accounts), "store": store, "interval": interval, **span}
        )

    def gaps(
        self,
        symbols: Names = (),
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
    ) -> pl.DataFrame:
        """Gaps: rows that a source sent and the platform did not receive; of all symbols and venues by default.

        >>> db.gaps(start="yesterday")
        """
        span = span_parameters(start, end, venue=venue, last=last, limit=limit, columns=columns)
        return self._rows("gaps", {"symbol": as_names(symbols), **span})

    def features(
        self,
        symbols: Names,
        interval: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        last: int | None = None,
    ) -> pl.DataFrame:
        """A row per bar: `ts`, `symbol` and the features of `tapehouse.features.candle`, null where undefined.

        In order of time, then symbol; at most 500,000 bars. interval: 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w or 1M.

        >>> db.features(["BTCUSDT", "ETHUSDT"], "1m", "-1h")
        """
        span = span_parameters(start, end, venue=venue or self._venue, last=last)
        return self._rows("features", {"symbol": as_names(symbols), "interval": interval, **span})

    def latest(self, symbols: Names = (), *, venue: str | None = None) -> pl.DataFrame:
        """The last trade of each symbol, sorted by symbol; of all live symbols of the venue by default.

        >>> db.latest(["BTCUSDT", "ETHUSDT"])
        """
        return self._rows("latest", {"venue": venue or self._venue, "symbol": as_names(symbols)})

    def rankings(
        self,
        window: Literal["1h", "24h", "7d"] = "24h",
        measure: Literal["change", "volatility", "turnover"] = "change",
        *,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """The `limit` (by default 20) live symbols with the highest `measure` over a rolling window, highest first.

        >>> db.rankings("1h", "turnover", limit=5)
        """
        return self._rows("rankings", {"window": window, "measure": measure, "limit": limit})

    def book(
        self, symbol: str, at: Time | None = None, *, venue: str | None = None, depth: int | None = None
    ) -> dict[str, Any]:
        """The order book as of a time, inclusive; the newest by default.

        `bids` and `asks` are lists of [price, size], best first, at most `depth` (by default 50) each. `snapshot` is
        the time of the snapshot that the book was built from; `broken` is whether an update after it is missing, in
        which case the book ends before that update.

        >>> db.book("BTCUSDT", "2024-01-02T12:00:00Z", depth=5)["bids"]
        """
        moment = None if at is None else iso(query_ns(at, "at", now_ns()))
        parameters = {"venue": venue or self._venue, "symbol": symbol, "at": moment, "depth": depth}
        document = self._transport.json("/v1/book", parameters)
        self._segments = []
        return dict(document)

    def catalog(self, kind: str | None = None, *, venue: str | None = None) -> pl.DataFrame:
        """The stored trades, quotes and depth: kind, venue, symbol, first, last, rows.

        `first` and `last` are the times of the first and the last row. Of trades all are of those that count in bars.

        >>> db.catalog("trades", venue="sim")
        """
        return self._rows("catalog", {"kind": kind, "venue": venue})

    def explain(
        self,
        kind: str,
        symbols: Names = (),
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        interval: str | None = None,
        fill: Literal["none", "flat"] | None = None,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> Plan:
        """The plan of a query, without executing it: stores, spans, statements, and how many rows there are.

        `rows` are those of the symbols in the span (of trades those that count in bars; null where QuestDB would have
        to read them), `all_rows` and `all_bytes` what the store has of all venues and symbols in it.

        For kind account_trades `symbols` are account ids.

        >>> db.explain("bars", "BTCUSDT", "2024-01-02", interval="1m")
        """
        span = {"last": last, "limit": limit, "columns": columns, "flags": flags}
        parameters = kind_parameters(kind, symbols, start, end, venue, self._venue, **span)
        parameters |= {"kind": kind, "interval": interval, "fill": fill}
        return Plan(self._transport.json("/v1/explain", parameters))

    def batches(
        self,
        kind: str,
        symbols: Names = (),
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str | None = None,
        interval: str | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> Iterator[pl.DataFrame]:
        """The rows of a kind as frames of about 32 MB, in order, while they arrive: for answers larger than the memory.

        An error in the middle, such as ConnectError, means that rows are missing after the frames before it.

        >>> for frame in db.batches("trades", "BTCUSDT", "2024-01-01", columns=["price", "size"]):
        ...     print(frame["size"].sum())
        """
        parameters = kind_parameters(
            kind, symbols, start, end, venue, self._venue, limit=limit, columns=columns, flags=flags
        )
        self._segments = []
        with RowDownload(self._transport, f"/v1/{kind}", {**parameters, "interval": interval}) as download:
            yield from download.frames()
        self._segments = download.segments

    backtest = backtest
    asof = staticmethod(asof)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __repr__(self) -> str:
        try:
            rows = self._catalog()
        except TapehouseError as reason:
            return f"Tapehouse at {self.url}: {reason}"
        return f"{self._heading(rows)}\n{display.text(display.catalog(rows))}"

    def _repr_html_(self) -> str | None:
        try:
            rows = self._catalog()
        except TapehouseError:
            return None  # the notebook then shows the text
        return f"<p>{self._heading(rows)}</p>{display.html(display.catalog(rows))}"

    def _heading(self, rows: pl.DataFrame) -> str:
        return f"Tapehouse at {self.url}: {rows.height:,} series, {int(rows['rows'].sum()):,} rows"

    def _catalog(self) -> pl.DataFrame:
        """As `catalog`, without changing `segments`."""
        with RowDownload(self._transport, "/v1/catalog", {}) as download:
            return download.frame()

    def _rows(self, name: str, parameters: Parameters) -> pl.DataFrame:
        self._segments = []
        with RowDownload(self._transport, f"/v1/{name}", parameters) as download:
            rows = download.frame()
        self._segments = download.segments
        if parameters.get("columns"):
            return rows
        first = [column for column in _FIRST_COLUMNS.get(name, ()) if column in rows.columns]
        return rows.select(*first, *(column for column in rows.columns if column not in first))
