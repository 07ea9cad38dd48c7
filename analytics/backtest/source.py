"""Where a run's rows come from: frames a day, from the query surface or from memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import polars as pl

from analytics.backtest.instrument import Series
from tapehouse.client.database import Database
from tapehouse.clock import DAY, day_of, iso
from tapehouse.errors import UsageError
from tapehouse.model import NO_BAR

_TIMES = {"bars": "ts", "trades": "ts_event", "quotes": "ts_event"}
_COLUMNS = {
    "trades": ("ts_event", "ts_recv", "venue", "symbol", "seq", "price", "size", "side"),
    "quotes": ("ts_event", "ts_recv", "venue", "symbol", "seq", "bid", "bid_size", "ask", "ask_size"),
}
"""What is read; bars have all columns but `final`."""


class DayRows(NamedTuple):
    """The rows of a UTC day by kind, each in the order of its key, and what is read of them."""

    start: int
    frames: dict[str, pl.DataFrame]

    @property
    def digests(self) -> list[dict[str, str | int]]:
        """By kind: day, kind, rows and the SHA-256 of every value."""
        return [
            {"day": day_of(self.start), "kind": kind, "rows": frame.height, "sha256": digest(frame)}
            for kind, frame in self.frames.items()
        ]


class Source(Protocol):
    """Gives the days of a run in order, as often as it is asked, the same each time."""

    def days(self, kinds: Sequence[str]) -> Iterator[DayRows]:
        """The days with the rows of these kinds: bars, trades or quotes."""


class StoredRows:
    """The rows of a span as the query surface answers; each day is read while the one before is in use.

    Memory: the rows of two days. Bars that are not final are left out, and trades that are cancelled or not in bars.
    """

    def __init__(self, db: Database, series: Sequence[Series], interval: str, start: int, end: int) -> None:
        if not start < end:
            raise UsageError(f"end: expected a time after {iso(start)}, was {iso(end)}")
        self._db = db
        self._interval = interval
        self._span = (start, end)
        self._symbols: dict[str, list[str]] = {}
        for venue, symbol in series:
            self._symbols.setdefault(venue, []).append(symbol)

    def days(self, kinds: Sequence[str]) -> Iterator[DayRows]:
        """As `Source.days`. Raises what the queries raise."""
        start, end = self._span
        spans = [(max(day, start), min(day + DAY, end)) for day in range(start // DAY * DAY, end, DAY)]
        with ThreadPoolExecutor(1, "backtest-read") as pool:
            ahead: Future[DayRows] | None = None
            for span in spans:
                following = pool.submit(self._read, kinds, *span)
                if ahead is not None:
                    yield ahead.result()
                ahead = following
            if ahead is not None:
                yield ahead.result()

    def _read(self, kinds: Sequence[str], start: int, end: int) -> DayRows:
        return DayRows(
            start // DAY * DAY,
            {
                kind: pl.concat(
                    [
                        self._of_venue(kind, venue, symbols, start, end)
                        for venue, symbols in self._symbols.items()
                    ]
                )
                for kind in kinds
            },
        )

    def _of_venue(self, kind: str, venue: str, symbols: list[str], start: int, end: int) -> pl.DataFrame:
        if kind == "bars":
            return self._db.bars(symbols, self._interval, start, end, venue=venue, open=False).drop("final")
        columns = list(_COLUMNS[kind])
        if kind == "trades":
            return self._db.trades(symbols, start, end, venue=venue, columns=columns, flags=1 | int(NO_BAR))
        return self._db.quotes(symbols, start, end, venue=venue, columns=columns)


class FrameRows:
    """Rows of frames in memory, with the columns that the query surface gives."""

    def __init__(self, **frames: pl.DataFrame) -> None:
        self._frames = frames

    def days(self, kinds: Sequence[str]) -> Iterator[DayRows]:
        """As `Source.days`. Raises UsageError for a kind that was not given."""
        for kind in kinds:
            if kind not in self._frames:
                raise UsageError(f"{kind}: the run reads them, and no frame was given")
        frames = {kind: _with_day(self._frames[kind], _TIMES[kind]) for kind in kinds}
        starts = sorted({day for frame in frames.values() for day in frame["day"].unique()})
        for start in starts:
            of_day = pl.col("day") == start
            yield DayRows(start, {kind: frame.filter(of_day).drop("day") for kind, frame in frames.items()})


def _with_day(frame: pl.DataFrame, time: str) -> pl.DataFrame:
    return frame.with_columns((pl.col(time).to_physical() // DAY * DAY).alias("day"))


def digest(frame: pl.DataFrame) -> str:
    """SHA-256 of the names and every value of a frame, nulls told apart."""
    made = hashlib.sha256()
    for column in frame.rechunk():
        made.update(column.name.encode())
        made.update(column.is_null().to_numpy().tobytes())
        if column.dtype == pl.String:
            made.update("\0".join(column.fill_null("").to_list()).encode())
        else:
            made.update(column.to_physical().fill_null(0).to_numpy().tobytes())
    return made.hexdigest()
