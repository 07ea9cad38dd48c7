"""The rows of a run as one sequence of events, in order of the moment when each could be known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.backtest.instrument import Series
from analytics.backtest.source import DayRows, Source
from analytics.backtest.strategy import Bar, Quote, Trade
from tapehouse.clock import DAY, Interval
from tapehouse.errors import UsageError

Clock = Literal["event", "recv"]
KINDS = ("bars", "quotes", "trades")
"""Kinds in the order of events of the same moment: a bar that ends, the quote in force, then trades."""
BARS, QUOTES, TRADES = range(len(KINDS))
_BLOCK = 65_536
_ROWS: dict[str, Any] = {"bars": Bar, "quotes": Quote, "trades": Trade}
_NS = pl.Datetime("ns", "UTC")


class Event(NamedTuple):
    """A row and when it could be known."""

    known: int
    """ns UTC, by the clock of the run."""
    kind: int
    """Index in KINDS."""
    series: int
    """Index in the series of the run."""
    row: Any
    """A Bar, Quote or Trade."""
    took: int
    """ns from the venue to this system; 0 for bars."""


@dataclass(frozen=True)
class Tape:
    """The events of a run.

    clock: "event": quotes and trades are known when the venue says they happened, which is before anybody received
        them. "recv": when this system received them, never before they happened. A bar is known at its end plus
        `grace` by either.
    until: events that are known later are left out; None: all.
    """

    source: Source
    series: tuple[Series, ...]
    interval: Interval
    clock: Clock = "event"
    grace: int = 0
    until: int | None = None

    def __post_init__(self) -> None:
        if self.clock not in get_args(Clock):
            raise UsageError(f"clock: expected one of {' '.join(get_args(Clock))}, was {self.clock!r}")
        if self.grace < 0:
            raise UsageError(f"grace: expected 0 or more ns, was {self.grace}")

    def events(self, kinds: Sequence[str], digests: list[dict[str, str | int]]) -> Iterator[Event]:
        """The events of these kinds in order; the digests of the days are added as they are read."""
        waiting: list[_Part] = []
        for day in self.source.days(kinds):
            digests += day.digests
            waiting += self._parts(day)
            # What is known after the day may come after rows of the next.
            now, waiting = _split(waiting, day.start + DAY)
            yield from self._merged(now)
        yield from self._merged(waiting)

    def bars(self) -> pl.DataFrame:
        """All bars that are known by `until`, with `ts` as Datetime[ns, UTC]."""
        frames = [day.frames["bars"] for day in self.source.days(("bars",))]
        if not frames:
            raise UsageError("bars: there are none in the span of the run")
        bars = pl.concat(frames)
        if self.until is None:
            return bars
        ends = pl.Series(self._ends(bars["ts"].to_physical().to_numpy()))
        return bars.filter(ends + self.grace <= self.until)

    def _ends(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(self.interval.following(starts), np.int64)

    def _parts(self, day: DayRows) -> Iterator[_Part]:
        index = pl.DataFrame(self.series, ("venue", "symbol"), orient="row").with_row_index("place")
        for kind, frame in day.frames.items():
            if frame.is_empty():
                continue
            named = frame.select("venue", "symbol").join(
                index, on=("venue", "symbol"), how="left", maintain_order="left"
            )
            places = named["place"].cast(pl.Int64).fill_null(-1).to_numpy()
            if kind == "bars":
                ends = self._ends(frame["ts"].to_physical().to_numpy())
                columns = frame.with_columns(pl.Series("end", ends))
                known, took = ends + self.grace, np.zeros(frame.height, np.int64)
            else:
                happened = frame["ts_event"].to_physical().to_numpy()
                took = frame["ts_recv"].to_physical().to_numpy() - happened
                known = happened + np.maximum(took, 0) if self.clock == "recv" else happened
                columns = frame
            keep = places >= 0
            if self.until is not None:
                keep &= known <= self.until
            columns = columns.with_columns(pl.selectors.by_dtype(_NS).to_physical())
            rows = columns.select(_ROWS[kind]._fields).filter(keep)
            yield _Part(KINDS.index(kind), rows, known[keep], places[keep], took[keep])

    def _merged(self, parts: list[_Part]) -> Iterator[Event]:
        if not parts:
            return
        known = np.concatenate([part.known for part in parts])
        kinds = np.concatenate([np.full(len(part.known), part.kind) for part in parts])
        of = np.concatenate([np.full(len(part.known), place) for place, part in enumerate(parts)])
        rows = np.concatenate([np.arange(len(part.known)) for part in parts])
        # Stable: rows of one part that are known at once stay in the order of their key.
        order = np.lexsort((kinds, known))
        for first in range(0, len(order), _BLOCK):
            block = order[first : first + _BLOCK]
            yield from _events(parts, of[block], rows[block])


class _Part(NamedTuple):
    """Rows of one kind and day."""

    kind: int
    rows: pl.DataFrame
    known: NDArray[np.int64]
    series: NDArray[np.int64]
    took: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> _Part:
        """The rows where a mask is true."""
        return _Part(self.kind, self.rows.filter(mask), self.known[mask], self.series[mask], self.took[mask])


def _split(parts: list[_Part], end: int) -> tuple[list[_Part], list[_Part]]:
    """The rows known before `end`, and those from it on."""
    before = [part.where(part.known < end) for part in parts]
    after = [part.where(part.known >= end) for part in parts]
    return [part for part in before if len(part.known)], [part for part in after if len(part.known)]


def _events(parts: list[_Part], of: NDArray[Any], rows: NDArray[Any]) -> Iterator[Event]:
    """The events of a block, in its order."""
    readers = {place: _read(parts[place], rows[of == place]) for place in np.unique(of).tolist()}
    if len(readers) == 1:
        yield from readers.popitem()[1]
        return
    for place in of.tolist():
        yield next(readers[place])


def _read(part: _Part, rows: NDArray[Any]) -> Iterator[Event]:
    """The events of some rows of a part, in this order."""
    return map(
        Event,
        part.known[rows].tolist(),
        itertools.repeat(part.kind),
        part.series[rows].tolist(),
        map(_ROWS[KINDS[part.kind]]._make, part.rows[rows].iter_rows()),
        part.took[rows].tolist(),
    )
