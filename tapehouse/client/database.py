"""The database as a quant uses it: one method a kind, polars frames back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from types import TracebackType
from typing import Any, Literal, Self

import polars as pl

from tapehouse.client import display
from tapehouse.client.asof import asof
from tapehouse.client.display import Plan
from tapehouse.client.pull import Pull
from tapehouse.client.transport import Parameters, Transport
from tapehouse.clock import iso, to_ns
from tapehouse.errors import TapehouseError

Time = str | int | datetime | date
"""ISO 8601 with a zone, a date (UTC midnight), ns since 1970, or an aware datetime."""
Names = str | Sequence[str]
"""One name, or several."""


class Database:
    """A gateway, and behind it every store of the platform. Made by `tapehouse.connect()`.

    Spans are half-open: `start` inclusive, `end` exclusive, by the venue's clock in UTC. Without `end` they reach to
    the newest row. Instead of `start`, or inside a span, `last=1000` gives the last thousand rows (100,000 at most),
    `limit=1000` the first. `symbols` are one name or up to 500. `columns` are some of the kind's, all where left out;
    `flags` leaves out the rows that have any of its bits (1 cancelled, 2 not in bars, 4 estimated time).

    Frames have the columns of `tapehouse.model`, times as Datetime(ns, UTC), absent values null, and come in the
    order of the kind's key: by time, venue, symbol, seq.

    All methods raise UsageError for what cannot be asked (NaiveTimeError for a time without a zone) and ConnectError
    where the gateway or a store does not answer; a frame is never short in silence.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._segments: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return self._transport.url

    @property
    def segments(self) -> pl.DataFrame:
        """Which store served which span of the last answer: store, start, end, rows, ms, quality, why.

        `end` is exclusive, and null where it is open.
        """
        return display.served(self._segments)

    def trades(
        self,
        symbols: Names,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> pl.DataFrame:
        """Trades: ts_event, ts_recv, venue, symbol, seq, price, size, side (1 the buyer took), flags ..."""
        asked = _asked(start, end, venue=venue, last=last, limit=limit, columns=columns, flags=flags)
        return self._rows("trades", {"symbol": _names(symbols), **asked})

    def quotes(
        self,
        symbols: Names,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> pl.DataFrame:
        """Best bids and asks with their sizes; an empty side of the book is null."""
        asked = _asked(start, end, venue=venue, last=last, limit=limit, columns=columns, flags=flags)
        return self._rows("quotes", {"symbol": _names(symbols), **asked})

    def depth(
        self,
        symbols: Names,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
        flags: int = 0,
    ) -> pl.DataFrame:
        """Updates of books, levels as lists; rows with `snapshot` set hold the whole book."""
        asked = _asked(start, end, venue=venue, last=last, limit=limit, columns=columns, flags=flags)
        return self._rows("depth", {"symbol": _names(symbols), **asked})

    def bars(
        self,
        symbols: Names,
        interval: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str,
        fill: Literal["none", "flat"] = "none",
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
    ) -> pl.DataFrame:
        """Bars of 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w or 1M whose start `ts` is in the span; each is whole.

        `fill="flat"` gives empty intervals too, at the close before with volume 0.
        """
        asked = _asked(start, end, venue=venue, last=last, limit=limit, columns=columns)
        return self._rows("bars", {"symbol": _names(symbols), "interval": interval, "fill": fill, **asked})

    def account_trades(
        self,
        accounts: int | str | Sequence[int | str],
        start: Time | None = None,
        end: Time | None = None,
        *,
        last: int | None = None,
        limit: int | None = None,
        columns: Names = (),
    ) -> pl.DataFrame:
        """The trades of accounts by their ids, amounts as Decimal(38, 18)."""
        asked = _asked(start, end, last=last, limit=limit, columns=columns)
        ids = [str(account) for account in ([accounts] if isinstance(accounts, (int, str)) else accounts)]
        return self._rows("account_trades", {"account": ids, **asked})

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
        """What sources had and this system has not: of all symbols and venues where none is named."""
        asked = _asked(start, end, venue=venue, last=last, limit=limit, columns=columns)
        return self._rows("gaps", {"symbol": _names(symbols), **asked})

    def features(
        self,
        symbol: str,
        interval: str,
        start: Time | None = None,
        end: Time | None = None,
        *,
        venue: str,
        last: int | None = None,
    ) -> pl.DataFrame:
        """A row a bar: `ts` and the numbers and patterns of `tapehouse.features`, null where undefined."""
        asked = _asked(start, end, venue=venue, last=last)
        return self._rows("features", {"symbol": symbol, "interval": interval, **asked})

    def latest(self, venue: str, symbols: Names | None = None) -> pl.DataFrame:
        """The last trade of each symbol, of all that are known live where none is named."""
        return self._rows("latest", {"venue": venue, "symbol": _names(symbols or ())})

    def rankings(
        self,
        window: Literal["1h", "24h", "7d"] = "24h",
        measure: Literal["change", "volatility", "turnover"] = "change",
        *,
        limit: int | None = None,
    ) -> pl.DataFrame:
        """Symbols of live venues by a measure over a rolling window, the highest first; `limit` (20) of them."""
        return self._rows("rankings", {"window": window, "measure": measure, "limit": limit})

    def book(
        self, symbol: str, at: Time | None = None, *, venue: str, depth: int | None = None
    ) -> dict[str, Any]:
        """The book as of a time, that instant included, the newest where none is given.

        `bids` and `asks` are [price, size], the best first, `depth` (50) of each at most; `snapshot` is when the book
        was begun, `broken` whether updates are missing behind it, where it stops.
        """
        moment = None if at is None else iso(to_ns(at))
        parameters = {"venue": venue, "symbol": symbol, "at": moment, "depth": depth}
        document = self._transport.json("/v1/book", parameters)
        self._segments = []
        return dict(document)

    def catalog(self, kind: str | None = None, venue: str | None = None) -> pl.DataFrame:
        """What there is of trades, quotes and depth: kind, venue, symbol, the first and the last time, rows.

        The times are exact only to the day; so ask for the newest rows with `last`.
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
        """How a query would be answered, without running it: stores, spans, statements, expected rows and bytes.

        `symbols` are the accounts where `kind` is account_trades.
        """
        asked = _asked(start, end, venue=venue, last=last, limit=limit, columns=columns, flags=flags)
        owner = "account" if kind == "account_trades" else "symbol"
        parameters = {"kind": kind, owner: _names(symbols), "interval": interval, "fill": fill, **asked}
        return Plan(self._transport.json("/v1/explain", parameters))

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
            return None  # so that the text is shown
        return f"<p>{self._heading(rows)}</p>{display.html(display.catalog(rows))}"

    def _heading(self, rows: pl.DataFrame) -> str:
        return f"Tapehouse at {self.url}: {rows.height:,} series, {int(rows['rows'].sum()):,} rows"

    def _catalog(self) -> pl.DataFrame:
        """As `catalog`; what the last answer's segments were stays."""
        with Pull(self._transport, "/v1/catalog", {}) as pull:
            return pull.frame()

    def _rows(self, name: str, parameters: Parameters) -> pl.DataFrame:
        self._segments = []
        with Pull(self._transport, f"/v1/{name}", parameters) as pull:
            rows = pull.frame()
        self._segments = pull.segments
        return rows


def _asked(
    start: Time | None,
    end: Time | None,
    *,
    venue: str | None = None,
    last: int | None = None,
    limit: int | None = None,
    columns: Names = (),
    flags: int = 0,
) -> dict[str, object]:
    """What queries of all kinds have, as the gateway is asked."""
    return {
        "venue": venue or None,
        "start": None if start is None else iso(to_ns(start)),
        "end": None if end is None else iso(to_ns(end)),
        "last": last,
        "limit": limit,
        "columns": _names(columns),
        "flags": flags or None,
    }


def _names(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
