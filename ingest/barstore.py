"""What the hot store holds of symbols, as the rings of bars want it, up to a seq of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tapehouse.barkernel import merge
from tapehouse.bars import Held
from tapehouse.barstate import BAR, LATEST, jit, number, start
from tapehouse.clock import INTERVALS, MINUTE, NAMES, SECOND
from tapehouse.model import NO_BAR
from tapehouse.questdb import QuestReader, bar_source, made_of
from tapehouse.settings import QuestDB

AT_ONCE = 200
"""Symbols that are asked for in one statement."""
_HEAD_NS = 10 * SECOND
"""How far back from the last trade rows are read one by one."""
_T = TypeVar("_T")
_TICK = np.dtype(
    [
        *[(name, "<i8") for name in ("symbol", "ts_event", "ts_recv", "seq")],
        *[(name, "<f8") for name in ("price", "size")],
        *[(name, "<i8") for name in ("side", "flags")],
    ]
)
PIECE = np.dtype([("symbol", "<i8"), *[(name, BAR[name]) for name in BAR.names or ()]])


@dataclass(frozen=True)
class Read:
    """What was read of a symbol."""

    held: Held
    clean: bool
    """Whether no bar holds a row above the seq: where not, read again later."""


@dataclass
class Venue:
    """The symbols of a venue that have bars, with the last seq in them: those of the last day first, and of
    these the most traded."""

    day_ns: int
    """The day of its last trade."""
    symbols: dict[str, int] = field(default_factory=dict)


class BarStore:
    """Reads from QuestDB by one connection, in a thread of its own by `run`."""

    def __init__(self, settings: QuestDB, rings: Mapping[str, int]) -> None:
        self.reader = QuestReader(settings)
        self._rings = rings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bar-store")

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """The result of a call that reads."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def close(self) -> None:
        """Close the connection, when what runs has ended."""
        self._thread.shutdown()
        self.reader.close()

    def venues(self, most: int) -> dict[str, Venue]:
        """Every venue with its symbols, `most` at most: those that traded last, and of these the most traded.

        The views must show all that is applied: `wait_queryable` before.
        """
        found: dict[str, Venue] = {}
        days = self.reader.fetch(
            "SELECT venue, symbol, cast(max(ts) AS long) AS day, max(seq_last), sum(trades) AS traded "
            "FROM bars_1d ORDER BY day DESC, traded DESC LIMIT %s",
            [most],
        )
        for name, symbol, day, seq, _ in days:
            venue = found.setdefault(name, Venue(day))
            if day >= self._ring_start("1M", venue.day_ns):
                venue.symbols[symbol] = seq
        return found

    def last_ns(self, venue: str, day_ns: int) -> int:
        """The time of a venue's last trade, on that day or later."""
        return self._max("ts_event", "trades", venue, self._max("ts", "bars_1m", venue, day_ns))

    def _max(self, time: str, table: str, venue: str, since: int) -> int:
        statement = (
            f"SELECT cast(max({time}) AS long) FROM {table} "  # noqa: S608
            f"WHERE venue = %s AND {time} >= cast(%s AS timestamp_ns)"
        )
        found = self.reader.fetch(statement, [venue, since])[0][0]
        return since if found is None else int(found)

    def read(self, venue: str, cuts: Mapping[str, int], head_ns: int) -> dict[str, Read]:
        """What is held of symbols up to the seq that `cuts` has of each, in rings that end at `head_ns`."""
        symbols = sorted(cuts)
        seqs = np.array([cuts[symbol] for symbol in symbols], np.int64)
        tail = min(self._ring_start("15s", head_ns), self._ring_start("30s", head_ns)) // MINUTE * MINUTE
        day = int(INTERVALS["1d"].bucket(np.array(tail)))
        head = max(tail, int(INTERVALS["15s"].bucket(np.array(head_ns - _HEAD_NS))))
        closed = self._bars("15s", "trades", venue, symbols, tail, head)
        ticks, latest = self._ticks(venue, symbols, seqs, head)
        above = closed["seq_last"] > seqs[closed["symbol"]]
        if above.any():
            # Symbols behind the clock of their venue, which trade on: row by row from there.
            since = int(closed["ts"][above].min())
            behind = np.unique(closed["symbol"][above])
            own = [symbols[place] for place in behind]
            rows, latest[behind] = self._ticks(venue, own, seqs[behind], since)
            rows["symbol"] = behind[rows["symbol"]]
            closed = closed[~np.isin(closed["symbol"], behind) | (closed["ts"] < since)]
            ticks = np.concatenate([ticks[~np.isin(ticks["symbol"], behind)], rows])
        recent = folded(np.concatenate([closed, ticks]), 0)
        today = self._bars("1d", "bars_1m", venue, symbols, day, tail)
        parts = []
        late = _above(seqs, recent) | _above(seqs, today)
        for at, interval in enumerate(NAMES):
            pieces = [recent]
            source = bar_source(interval)
            if source == "bars_1d":
                pieces.append(today)
            if source != "trades":
                last = day if source == "bars_1d" else tail
                since = self._ring_start(interval, head_ns)
                pieces.append(self._bars(interval, source, venue, symbols, since, last))
                late |= _above(seqs, pieces[-1])
            parts.append(folded(np.concatenate(pieces), at))
        held = _held(parts, len(symbols), latest)
        return {symbol: Read(held[place], not late[place]) for place, symbol in enumerate(symbols)}

    def last_bars(self, venue: str, symbol: str, interval: str, before_ns: int, count: int) -> NDArray[Any]:
        """BAR [n] of a symbol before a bar's start: the last `count` that there are, and all of that UTC day."""
        at = NAMES.index(interval)
        day = int(INTERVALS["1d"].bucket(np.array(before_ns - 1)))
        found = np.empty(0, BAR)
        # Empty intervals have no bar: further back where there are too few.
        for times in (1, 8, 64):
            first = max(0, min(day, int(start(at, number(at, before_ns) - count * times))))
            first = int(start(at, number(at, first)))
            rows = self._bars(interval, bar_source(interval), venue, [symbol], first, before_ns)
            found = np.empty(len(rows), BAR)
            for name in BAR.names or ():
                found[name] = rows[name]
            if len(found) >= count or first == 0:
                break
        found = found[np.argsort(found["ts"])]
        return found[-max(count, int(np.count_nonzero(found["ts"] >= day))) :]

    def quote(self, venue: str, symbol: str, before_ns: int) -> tuple[float, float]:
        """The best bid and ask as of a time, exclusive; NaN where there is none."""
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

    def _ring_start(self, interval: str, head_ns: int) -> int:
        at = NAMES.index(interval)
        return max(0, int(start(at, number(at, head_ns) - self._rings[interval] + 1)))

    def _bars(
        self, interval: str, source: str, venue: str, symbols: Sequence[str], first: int, last: int
    ) -> NDArray[Any]:
        """PIECE [n] of a source's rows with first <= time < last, both at bars' starts or a source's own."""
        if first >= last:
            return np.empty(0, PIECE)
        time, made = made_of(source)
        names = ", ".join(["%s"] * len(symbols))
        statement = (
            f"SELECT symbol, cast({time} AS long), {made} venue = %s AND symbol IN ({names}) "
            f"AND {time} >= cast(%s AS timestamp_ns) AND {time} < cast(%s AS timestamp_ns) "
            f"SAMPLE BY {INTERVALS[interval].questdb} ALIGN TO CALENDAR"
        )
        rows = self.reader.fetch(statement, [venue, *symbols, first, last])
        places = {symbol: place for place, symbol in enumerate(symbols)}
        return np.array([(places[row[0]], *row[1:], 0) for row in rows], PIECE)

    def _ticks(
        self, venue: str, symbols: Sequence[str], seqs: NDArray[np.int64], since: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The rows from `since` on up to the seqs, as 15s bars, and the latest of each symbol among them."""
        names = ", ".join(["%s"] * len(symbols))
        rows = self.reader.fetch(
            "SELECT symbol, cast(ts_event AS long), cast(ts_recv AS long), seq, price, size, "  # noqa: S608
            f"cast(side AS int), cast(flags AS int) FROM trades WHERE venue = %s AND symbol IN ({names}) "
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
        pieces = np.zeros(len(ticks), PIECE)
        pieces["symbol"], pieces["ts"], pieces["trades"] = ticks["symbol"], ticks["ts_event"], 1
        pieces["volume"], pieces["turnover"] = ticks["size"], ticks["price"] * ticks["size"]
        pieces["buy_volume"] = np.where(ticks["side"] == 1, ticks["size"], 0)
        for name in ("open", "high", "low", "close"):
            pieces[name] = ticks["price"]
        pieces["seq_first"] = pieces["seq_last"] = ticks["seq"]
        return pieces, latest


def _above(seqs: NDArray[np.int64], pieces: NDArray[Any]) -> NDArray[np.bool_]:
    """Of which symbols a piece holds a row above the seq."""
    above = np.zeros(len(seqs), np.bool_)
    above[pieces["symbol"][pieces["seq_last"] > seqs[pieces["symbol"]]]] = True
    return above


def folded(pieces: NDArray[Any], interval: int) -> NDArray[Any]:
    """Parts of bars as whole ones, by symbol and ascending; ts becomes the bucket's."""
    pieces["ts"] = INTERVALS[NAMES[interval]].bucket(pieces["ts"])
    pieces = pieces[np.lexsort((pieces["ts"], pieces["symbol"]))]
    out = np.empty(len(pieces), PIECE)
    return out[: _merged(pieces, out)]


@jit
def _merged(pieces: NDArray[Any], out: NDArray[Any]) -> int:
    count = 0
    for at in range(len(pieces)):
        piece = pieces[at]
        if count and out[count - 1].symbol == piece.symbol and out[count - 1].ts == piece.ts:
            merge(out[count - 1], piece)
        else:
            out[count] = piece
            count += 1
    return count


def _held(parts: Sequence[NDArray[Any]], symbols: int, latest: NDArray[Any]) -> list[Held]:
    """Of each symbol its bars of all intervals, and the latest price."""
    intervals = np.repeat(np.arange(len(parts), dtype=np.int8), [len(rows) for rows in parts])
    rows = np.concatenate(parts)
    order = np.argsort(rows["symbol"], kind="stable")
    intervals = intervals[order]
    bars = np.empty(len(rows), BAR)
    for name in BAR.names or ():
        bars[name] = rows[name][order]
    ends = np.searchsorted(rows["symbol"][order], np.arange(symbols + 1))
    held = []
    for place in range(symbols):
        own = slice(ends[place], ends[place + 1])
        price = latest[place]
        if len(bars[own]):
            newest = bars[own][np.argmax(bars["seq_last"][own])]
            if newest["seq_last"] > price["seq"]:
                # The last trade is too long ago to have been read by itself.
                price = np.array((newest["seq_last"], 0, 0, newest["close"], 0.0), LATEST)
        held.append(Held(bars[own], intervals[own], price))
    return held
