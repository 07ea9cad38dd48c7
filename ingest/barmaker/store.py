"""Reads from QuestDB for the bar maker: bars of symbols up to a seq of each, as the rings take them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tapehouse.bars.engine import StoredBars
from tapehouse.bars.kernel import merge
from tapehouse.bars.state import BAR, LATEST, bucket_number, bucket_start, jit
from tapehouse.clock import DAY, INTERVALS, MAX_TS, MINUTE, NAMES, SECOND
from tapehouse.model import BARS, NO_BAR
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader, is_one_of
from tapehouse.stores.questdb_bars import BarPiece, bars_statement, read_refreshed_views

SYMBOLS_PER_QUERY = 200
"""Most symbols in one statement."""
_RAW_TICKS_NS = 10 * SECOND
"""The newest trades of a venue are read one by one, so that rows above a seq can be left out."""
_T = TypeVar("_T")
_TICK = np.dtype(
    [
        *[(name, "<i8") for name in ("symbol", "ts_event", "ts_recv", "seq")],
        *[(name, "<f8") for name in ("price", "size")],
        *[(name, "<i8") for name in ("side", "flags")],
    ]
)
PARTIAL_BAR = np.dtype([("symbol", "<i8"), *[(name, BAR[name]) for name in BAR.names or ()]])
"""A bar of some of a bucket's rows; `symbol` is an index into the symbols of the request."""


@dataclass(frozen=True)
class SymbolRead:
    """The bars of one symbol as read up to a seq."""

    stored: StoredBars
    complete: bool
    """False when a bar contains a row above the requested seq: read the symbol again later."""


@dataclass
class VenueSymbols:
    """The symbols of a venue with bars in the rings' reach: last traded first, on the same day most traded first."""

    last_day_ns: int
    """Start of the UTC day of the venue's last trade, ns."""
    last_seqs: dict[str, int] = field(default_factory=dict)
    """By symbol: the highest seq in its bars."""


class BarStore:
    """Reads from QuestDB over one connection. Call its methods by `run`, which uses one thread of its own."""

    def __init__(self, settings: QuestDB, rings: Mapping[str, int]) -> None:
        self.reader = QuestReader(settings)
        self._rings = rings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bar-store")

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Await `work(*arguments)` in the thread of the connection."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def close(self) -> None:
        """Wait for the running call and close the connection."""
        self._thread.shutdown()
        self.reader.close()

    def read_venues(self, max_symbols: int) -> dict[str, VenueSymbols]:
        """By venue its symbols, `max_symbols` in all at most: last traded first, on the same day most traded first."""
        series: dict[tuple[str, str], tuple[int, int, int]] = {}
        for piece in read_refreshed_views(self.reader, "1d").pieces("1d", 0, MAX_TS):
            last_seq, rows = ("seq", "count()") if piece.is_trades else ("seq_last", "sum(trades)")
            found = self.reader.fetch(
                f"SELECT venue, symbol, cast(max({piece.time}) AS long) AS last, max({last_seq}), {rows} "
                f"FROM {piece.source} WHERE {piece.condition}",
                [piece.start_ns, piece.end_ns],
            )
            for name, symbol, last, seq, trades in found:
                day, before, counted = series.get((name, symbol), (0, 0, 0))
                series[name, symbol] = max(day, last // DAY * DAY), max(before, seq), counted + trades
        newest = sorted(series.items(), key=lambda entry: (entry[1][0], entry[1][2]), reverse=True)
        venues: dict[str, VenueSymbols] = {}
        for (name, symbol), (day, seq, _) in newest[:max_symbols]:
            venue = venues.setdefault(name, VenueSymbols(day))
            if day >= self._ring_start("1M", venue.last_day_ns):
                venue.last_seqs[symbol] = seq
        return venues

    def last_trade_ns(self, venue: str, day_ns: int) -> int:
        """The latest ts_event of a venue's trades since the start of the day `day_ns`; `day_ns` where there is none."""
        return self._max_time("ts_event", "trades", venue, self._max_time("ts", "bars_1m", venue, day_ns))

    def _max_time(self, time: str, table: str, venue: str, since: int) -> int:
        statement = (
            f"SELECT cast(max({time}) AS long) FROM {table} "
            f"WHERE venue = %s AND {time} >= cast(%s AS timestamp_ns)"
        )
        # Of a venue that a table has never had there is no row.
        found = self.reader.fetch(statement, [venue, since])
        return since if not found or found[0][0] is None else int(found[0][0])

    def read_symbols(self, venue: str, last_seqs: Mapping[str, int], clock_ns: int) -> dict[str, SymbolRead]:
        """Bars of symbols, by symbol, from rows with a seq of at most `last_seqs[symbol]`.

        `clock_ns`: the ts_event of the venue's last trade, with which the rings end.
        """
        symbols = sorted(last_seqs)
        seqs = np.array([last_seqs[symbol] for symbol in symbols], np.int64)
        tail = min(self._ring_start("15s", clock_ns), self._ring_start("30s", clock_ns)) // MINUTE * MINUTE
        day = int(INTERVALS["1d"].bucket(np.array(tail)))
        newest_ns = max(tail, int(INTERVALS["15s"].bucket(np.array(clock_ns - _RAW_TICKS_NS))))
        views = read_refreshed_views(self.reader, "1d")
        closed = self._bars("15s", views.pieces("15s", tail, newest_ns), venue, symbols)
        ticks, latest = self._ticks(venue, symbols, seqs, newest_ns)
        above = closed["seq_last"] > seqs[closed["symbol"]]
        if above.any():
            # Symbols last traded before `newest_ns` that traded again since: read them row by row from there on.
            since = int(closed["ts"][above].min())
            slower = np.unique(closed["symbol"][above])
            own = [symbols[place] for place in slower]
            rows, latest[slower] = self._ticks(venue, own, seqs[slower], since)
            rows["symbol"] = slower[rows["symbol"]]
            closed = closed[~np.isin(closed["symbol"], slower) | (closed["ts"] < since)]
            ticks = np.concatenate([ticks[~np.isin(ticks["symbol"], slower)], rows])
        recent = merge_partial_bars(np.concatenate([closed, ticks]), 0)
        today = self._bars("1d", views.minutes(day, tail), venue, symbols)
        merged = []
        incomplete = _symbols_above(seqs, recent) | _symbols_above(seqs, today)
        for at, interval in enumerate(NAMES):
            parts = [recent]
            since = self._ring_start(interval, clock_ns)
            if INTERVALS[interval].length >= DAY:
                parts += [today, self._bars(interval, views.pieces(interval, since, day), venue, symbols)]
            elif INTERVALS[interval].length >= MINUTE:
                parts.append(self._bars(interval, views.pieces(interval, since, tail), venue, symbols))
            incomplete |= _symbols_above(seqs, parts[-1])
            merged.append(merge_partial_bars(np.concatenate(parts), at))
        stored = _split_by_symbol(merged, len(symbols), latest)
        return {
            symbol: SymbolRead(stored[place], not incomplete[place]) for place, symbol in enumerate(symbols)
        }

    def last_bars(self, venue: str, symbol: str, interval: str, before_ns: int, count: int) -> NDArray[Any]:
        """BAR [n], ascending: the last `count` bars of a symbol before `before_ns`, and all of that UTC day.

        `before_ns`: the start of a bar, exclusive. There may be fewer bars.
        """
        at = NAMES.index(interval)
        day = int(INTERVALS["1d"].bucket(np.array(before_ns - 1)))
        found = np.empty(0, BAR)
        # Empty intervals have no bar: go further back until there are enough.
        for times in (1, 8, 64):
            first = max(0, min(day, int(bucket_start(at, bucket_number(at, before_ns) - count * times))))
            first = int(bucket_start(at, bucket_number(at, first)))
            views = read_refreshed_views(self.reader, interval)
            rows = self._bars(interval, views.pieces(interval, first, before_ns), venue, [symbol])
            found = np.empty(len(rows), BAR)
            for name in BAR.names or ():
                found[name] = rows[name]
            if len(found) >= count or first == 0:
                break
        found = found[np.argsort(found["ts"])]
        return found[-max(count, int(np.count_nonzero(found["ts"] >= day))) :]

    def last_quote(self, venue: str, symbol: str, before_ns: int) -> tuple[float, float]:
        """The best bid and ask before `before_ns`, exclusive; NaN where there is none."""
        where = "FROM quotes WHERE venue = %s AND symbol = %s AND ts_event"
        last = self.reader.fetch(
            f"SELECT cast(ts_event AS long) {where} < cast(%s AS timestamp_ns) ORDER BY ts_event DESC LIMIT 1",
            [venue, symbol, before_ns],
        )
        if not last:
            return np.nan, np.nan
        rows = self.reader.fetch(
            f"SELECT bid, ask {where} = cast(%s AS timestamp_ns) ORDER BY seq DESC LIMIT 1",
            [venue, symbol, last[0][0]],
        )
        bid, ask = (np.nan if price is None else float(price) for price in rows[0])
        return bid, ask

    def _ring_start(self, interval: str, clock_ns: int) -> int:
        at = NAMES.index(interval)
        return max(0, int(bucket_start(at, bucket_number(at, clock_ns) - self._rings[interval] + 1)))

    def _bars(
        self, interval: str, pieces: Sequence[BarPiece], venue: str, symbols: Sequence[str]
    ) -> NDArray[Any]:
        """PARTIAL_BAR [n]: an interval's bars of the rows in `pieces`."""
        where = f"venue = %s AND {is_one_of('symbol', len(symbols))} AND "
        statement, bound = bars_statement(pieces, INTERVALS[interval], where, [venue, *symbols])
        rows = self.reader.fetch(
            f"SELECT symbol, cast(ts AS long), {', '.join(BARS.names[3:])} FROM ({statement})", bound
        )
        places = {symbol: place for place, symbol in enumerate(symbols)}
        return np.array([(places[row[0]], *row[1:], 0) for row in rows], PARTIAL_BAR)

    def _ticks(
        self, venue: str, symbols: Sequence[str], seqs: NDArray[np.int64], since: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Trades from `since` on with a seq of at most that of their symbol.

        Returns PARTIAL_BAR [trades] and, of the last of them, LATEST [symbols].
        """
        named = is_one_of("symbol", len(symbols))
        rows = self.reader.fetch(
            "SELECT symbol, cast(ts_event AS long), cast(ts_recv AS long), seq, price, size, "
            f"cast(side AS int), cast(flags AS int) FROM trades WHERE venue = %s AND {named} "
            "AND ts_event >= cast(%s AS timestamp_ns)",
            [venue, *symbols, since],
        )
        places = {symbol: place for place, symbol in enumerate(symbols)}
        ticks = np.array([(places[row[0]], *row[1:]) for row in rows], _TICK)
        ticks = ticks[(ticks["seq"] <= seqs[ticks["symbol"]]) & ((ticks["flags"] & int(NO_BAR)) == 0)]
        ticks = ticks[np.lexsort((ticks["seq"], ticks["symbol"]))]
        latest = np.zeros(len(symbols), LATEST)
        for tick in ticks[np.flatnonzero(np.diff(ticks["symbol"], append=-1))]:
            latest[tick["symbol"]] = tuple(tick[name] for name in LATEST.names or ())
        parts = np.zeros(len(ticks), PARTIAL_BAR)
        parts["symbol"], parts["ts"], parts["trades"] = ticks["symbol"], ticks["ts_event"], 1
        parts["volume"], parts["turnover"] = ticks["size"], ticks["price"] * ticks["size"]
        parts["buy_volume"] = np.where(ticks["side"] == 1, ticks["size"], 0)
        for name in ("open", "high", "low", "close"):
            parts[name] = ticks["price"]
        parts["seq_first"] = parts["seq_last"] = ticks["seq"]
        return parts, latest


def _symbols_above(seqs: NDArray[np.int64], parts: NDArray[Any]) -> NDArray[np.bool_]:
    """[symbols] whether a part contains a row above the symbol's seq."""
    above = np.zeros(len(seqs), np.bool_)
    above[parts["symbol"][parts["seq_last"] > seqs[parts["symbol"]]]] = True
    return above


def merge_partial_bars(parts: NDArray[Any], interval: int) -> NDArray[Any]:
    """PARTIAL_BAR [n] merged into bars, ascending by symbol and ts. Sets `ts` of the input to its bucket."""
    parts["ts"] = INTERVALS[NAMES[interval]].bucket(parts["ts"])
    parts = parts[np.lexsort((parts["ts"], parts["symbol"]))]
    out = np.empty(len(parts), PARTIAL_BAR)
    return out[: _merge_sorted(parts, out)]


@jit
def _merge_sorted(parts: NDArray[Any], out: NDArray[Any]) -> int:
    count = 0
    for at in range(len(parts)):
        piece = parts[at]
        if count and out[count - 1].symbol == piece.symbol and out[count - 1].ts == piece.ts:
            merge(out[count - 1], piece)
        else:
            out[count] = piece
            count += 1
    return count


def _split_by_symbol(parts: Sequence[NDArray[Any]], symbols: int, latest: NDArray[Any]) -> list[StoredBars]:
    """For each symbol its bars of all intervals and its last price. `parts` has one array an interval."""
    intervals = np.repeat(np.arange(len(parts), dtype=np.int8), [len(rows) for rows in parts])
    rows = np.concatenate(parts)
    order = np.argsort(rows["symbol"], kind="stable")
    intervals = intervals[order]
    bars = np.empty(len(rows), BAR)
    for name in BAR.names or ():
        bars[name] = rows[name][order]
    ends = np.searchsorted(rows["symbol"][order], np.arange(symbols + 1))
    stored = []
    for place in range(symbols):
        own = slice(ends[place], ends[place + 1])
        price = latest[place]
        if len(bars[own]):
            newest = bars[own][np.argmax(bars["seq_last"][own])]
            if newest["seq_last"] > price["seq"]:
                # The last trade is too old to have been read by itself.
                price = np.array((newest["seq_last"], 0, 0, newest["close"], 0.0), LATEST)
        stored.append(StoredBars(bars[own], intervals[own], price))
    return stored
