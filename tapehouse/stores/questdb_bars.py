"""What bars are read from in QuestDB: its views where they are refreshed, the trades where they are not.

The views are refreshed when told to, after a minute has closed and after late rows (`ingest/writer/refresher.py`). So
they lack rows of the open minute, and of any minute written to since. QuestDB itself tells which: the last transaction
that a view shows, and the times of each later one. A reader takes those minutes from the trades, everything else from
the views: bars are as fresh as trades, whatever the refresher does, and no process has to inform another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tapehouse.clock import DAY, MAX_TS, MINUTE, Interval
from tapehouse.model import BARS, NO_BAR
from tapehouse.stores.questdb import QuestReader

MINUTE_BARS, DAILY_BARS, TRADES = "bars_1m", "bars_1d", "trades"
_SOURCES = {"15s": TRADES, "30s": TRADES, "1d": DAILY_BARS, "1w": DAILY_BARS, "1M": DAILY_BARS}
# The materialized views use the same aggregates.
_OF_TRADES = """arg_min(price, seq) AS open, max(price) AS high, min(price) AS low,
    arg_max(price, seq) AS close, sum(size) AS volume, sum(price * size) AS turnover, count() AS trades,
    sum(CASE WHEN side = 1 THEN size ELSE 0.0 END) AS buy_volume, min(seq) AS seq_first, max(seq) AS seq_last"""
_OF_BARS = """arg_min(open, seq_first) AS open, max(high) AS high, min(low) AS low,
    arg_max(close, seq_last) AS close, sum(volume) AS volume, sum(turnover) AS turnover,
    sum(trades) AS trades, sum(buy_volume) AS buy_volume,
    min(seq_first) AS seq_first, max(seq_last) AS seq_last"""
_MOST_SPANS = 8
"""Spans that are not refreshed and closest to each other are read as one, until so many are left."""
Span = tuple[int, int]


@dataclass(frozen=True)
class BarPiece:
    """A span of time, [start_ns, end_ns), of a table or view: bars are made of its rows there."""

    source: str
    """trades, bars_1m or bars_1d."""
    start_ns: int
    end_ns: int

    @property
    def is_trades(self) -> bool:
        """Whether the source has trades, not bars."""
        return self.source == TRADES

    @property
    def time(self) -> str:
        """The column of the source's times."""
        return "ts_event" if self.is_trades else "ts"

    @property
    def counted(self) -> str:
        """The part of the condition that leaves out trades that count in no bar, with a trailing AND, or nothing."""
        return f"(flags & {int(NO_BAR)}) = 0 AND " if self.is_trades else ""

    @property
    def condition(self) -> str:
        """The WHERE condition of the rows that count in bars, with %s for its start and its end."""
        return f"{self.counted}{self.time} >= cast(%s AS timestamp_ns) AND {self.time} < cast(%s AS timestamp_ns)"


@dataclass(frozen=True)
class RefreshedViews:
    """Which bars the views show with every committed row, as of when it was read."""

    unrefreshed: tuple[Span, ...]
    """Whole minutes, [start, end) in ns, of which `bars_1m` may lack rows; ascending and apart."""
    daily_before_ns: int
    """Start of a day: of days before it `bars_1d` shows all that `bars_1m` shows."""

    def pieces(self, interval: str, start_ns: int, end_ns: int) -> list[BarPiece]:
        """What bars of an interval that start in [start_ns, end_ns) are made of, in order of time; one at least."""
        return list(self._pieces(_SOURCES.get(interval, MINUTE_BARS), start_ns, end_ns))

    def minutes(self, start_ns: int, end_ns: int) -> list[BarPiece]:
        """What 1-minute bars that start in [start_ns, end_ns) are made of; longer bars can be made of the same."""
        return list(self._pieces(MINUTE_BARS, start_ns, end_ns))

    def _pieces(self, source: str, start_ns: int, end_ns: int) -> Iterator[BarPiece]:
        if source == TRADES:
            yield BarPiece(TRADES, start_ns, end_ns)
            return
        step, unrefreshed = MINUTE, self.unrefreshed
        if source == DAILY_BARS:
            step, unrefreshed = DAY, (*unrefreshed, (self.daily_before_ns, MAX_TS))
        at, end_ns = _rounded_up(start_ns, step), _rounded_up(end_ns, step)
        spans = _few(_widened(unrefreshed, step, at, end_ns))
        for start, end in spans:
            if at < start:
                yield BarPiece(source, at, start)
            if source == DAILY_BARS:
                yield from self._pieces(MINUTE_BARS, start, end)
            else:
                yield BarPiece(TRADES, start, end)
            at = end
        if at < end_ns or not spans:
            yield BarPiece(source, at, end_ns)


@dataclass(frozen=True)
class ShownTransactions:
    """The transactions that the views show. Still right when it is old: bars of less are then read from the views."""

    minutes: tuple[int, int] | None
    """The last transaction on trades that `bars_1m` shows, and the last one of then; None where that is unusable."""
    daily_before_ns: int
    """As in `RefreshedViews`; 0 where it was not asked for."""


def read_refreshed_views(reader: QuestReader, interval: str) -> RefreshedViews:
    """What the views show now, for bars of an interval. Rows committed later may be missing in either.

    Raises ConnectError, TapehouseError.
    """
    if is_made_of_trades(interval):
        return RefreshedViews((), 0)
    return read_refreshed_since(reader, read_shown(reader, daily=is_made_of_days(interval)))


def is_made_of_trades(interval: str) -> bool:
    """Whether bars of an interval are always made of trades."""
    return _SOURCES.get(interval) == TRADES


def is_made_of_days(interval: str) -> bool:
    """Whether bars of an interval are made of daily ones."""
    return _SOURCES.get(interval) == DAILY_BARS


def read_shown(reader: QuestReader, *, daily: bool) -> ShownTransactions:
    """The transactions that the views show, with `daily` of both. Raises ConnectError, TapehouseError."""
    minutes = _shown_transaction(reader, MINUTE_BARS)
    if not daily:
        return ShownTransactions(minutes, 0)
    # Read after what bars_1m shows is visible: if that is refreshed in between, bars_1d is found to lack it.
    latest = _shown_transaction(reader, DAILY_BARS)
    is_daily = latest is not None and latest[0] >= latest[1]
    return ShownTransactions(minutes, MAX_TS if is_daily else _oldest_day(reader))


def read_refreshed_since(reader: QuestReader, shown: ShownTransactions) -> RefreshedViews:
    """What the views are known to show, by what they showed before. Raises ConnectError, TapehouseError."""
    spans = None if shown.minutes is None else _unrefreshed(reader, *shown.minutes)
    return RefreshedViews(((_oldest_day(reader), MAX_TS),) if spans is None else spans, shown.daily_before_ns)


def bars_statement(
    pieces: Sequence[BarPiece], interval: Interval, where: str, bound: Sequence[str | int]
) -> tuple[str, list[str | int]]:
    """The SQL of the bars made of `pieces`, with the columns of `BARS`, in order of time.

    `where`: a condition on venue and symbol that ends with AND, or nothing; `bound`: its values.
    """
    names = ", ".join(BARS.names)
    values = [value for piece in pieces for value in (*bound, piece.start_ns, piece.end_ns)]
    parts = [
        f"SELECT {names} FROM {piece.source} WHERE {where}{piece.condition}"
        if piece.source == f"bars_{interval.name}"
        else f"SELECT {piece.time} AS ts, venue, symbol, {_OF_TRADES if piece.is_trades else _OF_BARS} "
        f"FROM {piece.source} WHERE {where}{piece.condition} SAMPLE BY {interval.questdb} ALIGN TO CALENDAR"
        for piece in pieces
    ]
    if len(parts) == 1:
        return f"{parts[0]} ORDER BY ts", values
    union = " UNION ALL ".join(f"({part})" for part in parts)
    # A bar may have rows in two pieces.
    return f"SELECT ts, venue, symbol, {_OF_BARS} FROM ({union}) ORDER BY ts", values


def _shown_transaction(reader: QuestReader, view: str) -> tuple[int, int] | None:
    """(the last transaction of its base that a view shows, the base's last one); None where the view is unusable."""
    found = reader.fetch(
        "SELECT view_status, refresh_base_table_txn, base_table_txn FROM materialized_views() WHERE view_name = %s",
        [view],
    )
    if not found or found[0][0] == "invalid" or found[0][1] is None:
        return None
    # A refresh is a commit to the view itself.
    reader.wait_applied(view)
    return int(found[0][1]), int(found[0][2] or 0)


def _oldest_day(reader: QuestReader) -> int:
    """The start of the oldest day that has trades, ns: bars of earlier days are in the views alone."""
    found = reader.fetch("SELECT cast(min(ts_event) AS long) FROM trades")
    return MAX_TS if not found or found[0][0] is None else int(found[0][0]) // DAY * DAY


def _unrefreshed(reader: QuestReader, shown: int, last: int) -> tuple[Span, ...] | None:
    """Whole minutes, ascending and apart, that transactions on trades after `shown` have written to.

    None where QuestDB does not tell.
    """
    found = reader.fetch(
        "SELECT cast(timestamp_floor('1m', minTimestamp) AS long) AS first, cast(max(maxTimestamp) AS long), "
        "max(sequencerTxn), count(), sum(CASE WHEN walId > 0 THEN 1 ELSE 0 END) "
        "FROM wal_transactions('trades') WHERE sequencerTxn > %s GROUP BY first ORDER BY first",
        [shown],
    )
    listed = sum(row[3] for row in found)
    if listed != max([shown, last, *(row[2] for row in found)]) - shown:
        # QuestDB has forgotten some of them.
        return None
    if any(first is None and rows for first, _, _, _, rows in found):
        # Of a table made before QuestDB was told to keep the times.
        return None
    spans: list[Span] = []
    for first_us, last_us, *_ in found:
        if first_us is None:
            continue
        start, end = first_us * 1000, _rounded_up(last_us * 1000 + 1000, MINUTE)
        if spans and start <= spans[-1][1]:
            start, end = spans[-1][0], max(end, spans.pop()[1])
        spans.append((start, end))
    return tuple(spans)


def _widened(spans: Sequence[Span], step: int, start_ns: int, end_ns: int) -> list[Span]:
    """The spans within [start_ns, end_ns) widened to whole steps; ascending and apart."""
    found: list[Span] = []
    for first, last in sorted(spans):
        first, last = max(first // step * step, start_ns), min(_rounded_up(last, step), end_ns)
        if first >= last:
            continue
        if found and first <= found[-1][1]:
            first, last = found[-1][0], max(last, found.pop()[1])
        found.append((first, last))
    return found


def _few(spans: list[Span]) -> list[Span]:
    """The spans, those with the smallest gaps between them as one."""
    gaps = sorted(range(1, len(spans)), key=lambda place: spans[place][0] - spans[place - 1][1], reverse=True)
    cuts = [0, *sorted(gaps[: _MOST_SPANS - 1]), len(spans)]
    return [(spans[a][0], spans[b - 1][1]) for a, b in pairwise(cuts) if a < b]


def _rounded_up(ns: int, step: int) -> int:
    return min(-(-ns // step) * step, MAX_TS)
