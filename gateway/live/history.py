"""Stored rows for the snapshots of topics, read by the query surface in a thread."""

from __future__ import annotations

from functools import partial
from typing import Any

import polars as pl

from gateway.last_prices import LastPrice
from gateway.live.account_candles import Candles
from gateway.live.bars import BarRow
from gateway.live.ticks import QUOTE_FIELDS, TRADE_FIELDS, Row
from gateway.query import Query
from gateway.rest.readers import Readers
from gateway.surface import QuerySurface
from tapehouse.clock import MAX_TS
from tapehouse.stream.live_messages import BAR_FIELDS, CANDLE_FIELDS

_TICK_FIELDS = {"trades": TRADE_FIELDS, "quotes": QUOTE_FIELDS}


class History:
    """Reads the stores. Raises what the query surface and its readers raise."""

    def __init__(self, surface: QuerySurface, readers: Readers) -> None:
        self._surface = surface
        self._readers = readers

    async def venue_of(self, kind: str, symbol: str) -> str:
        """The one venue that has a symbol."""
        return await self._readers.run(lambda: self._surface.venue_of(kind, [symbol]))

    async def bars(
        self, venue: str, symbol: str, interval: str, end_ns: int, count: int
    ) -> list[tuple[int, BarRow]]:
        """The last bars that start before a time, in order of time, as (start in ns, values of BAR_FIELDS)."""
        query = Query("bars", venue, (symbol,), 0, min(end_ns, MAX_TS), interval, limit=count, last=True)
        frame = await self._read_written(query)
        rows = frame.with_columns(revision=pl.lit(0)).select(BAR_FIELDS).rows()
        return list(zip(frame["ts"].to_physical().to_list(), rows, strict=True))

    async def ticks(self, kind: str, venue: str, symbol: str, count: int) -> list[Row]:
        """The last trades or quotes, in order of time."""
        if not count:
            return []
        frame = await self._read_written(Query(kind, venue, (symbol,), 0, MAX_TS, limit=count, last=True))
        return frame.select(_TICK_FIELDS[kind]).with_columns(pl.col("ts_event").to_physical()).rows()

    async def candles(self, account: str, interval: str, start_ns: int, end_ns: int) -> Candles:
        """The candles of an account that start in a span."""
        query = Query("account_candles", "", (account,), max(start_ns, 0), min(end_ns, MAX_TS), interval)
        return _candles(await self._read_written(query))

    async def last_candles(self, account: str, interval: str, count: int) -> Candles:
        """The last candles of an account."""
        query = Query("account_candles", "", (account,), 0, MAX_TS, interval, limit=count, last=True)
        return _candles(await self._read_written(query))

    async def last_price(self, venue: str, symbol: str) -> LastPrice | None:
        """The last stored trade that counts in bars."""
        found: list[dict[str, Any]] = (
            await self._readers.run(partial(self._surface.latest, venue, [symbol]))
        ).to_pylist()
        if not found:
            return None
        row = found[0]
        return row["seq"], row["ts_event"].value, row["ts_recv"].value, row["price"], row["size"]

    async def _read_written(self, query: Query) -> pl.DataFrame:
        return await self._readers.run(partial(self._surface.read_written, query))


def _candles(frame: pl.DataFrame) -> Candles:
    rows = frame.select(CANDLE_FIELDS).with_columns(pl.col(pl.Decimal).cast(pl.String)).rows()
    return list(zip(frame["ts"].to_physical().to_list(), rows, strict=True))
