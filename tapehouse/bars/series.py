"""Bars of columns of trades, by time or by trades, volume or turnover, made by the kernel of the live bars.

bars = time_bars(ts, seq, price, size, side, flags, "1m")

series = volume_bars(10_000)
for chunk in chunks:
    made = series.add(ts, seq, price, size, side, flags)  # the columns of the chunk
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from tapehouse.bars.kernel import add, clear, merge
from tapehouse.bars.state import BAR, bucket_number, bucket_start, jit
from tapehouse.clock import NAMES, interval_named
from tapehouse.errors import NaiveTimeError, UsageError
from tapehouse.model import BARS, NO_BAR

_NO_BAR = int(NO_BAR)
_TRADES, _VOLUME, _TURNOVER = range(3)
# A sum of floats reaches a threshold that it misses by rounding: ten times 0.1 is 1.
_ROUNDING_TOLERANCE = 1 - 1e-12
_TRADE_COLUMNS = ("ts_event", "seq", "price", "size", "side", "flags")


class _Rows(NamedTuple):
    """Columns of trades, of one length."""

    ts: NDArray[np.int64]
    seq: NDArray[np.int64]
    price: NDArray[np.float64]
    size: NDArray[np.float64]
    side: NDArray[np.int8]
    flags: NDArray[np.int16]


def time_bars(
    ts: ArrayLike,
    seq: ArrayLike,
    price: ArrayLike,
    size: ArrayLike,
    side: ArrayLike,
    flags: ArrayLike,
    interval: str,
) -> NDArray[Any]:
    """The bars of one (venue, symbol): BAR [n] ascending by `ts`, without empty buckets.

    `ts`: ts_event, ns UTC. Rows may be in any order, `seq` decides which is a bar's first and last; it is fastest when
    the rows of a bucket are adjacent. Rows whose flags keep them out of bars are skipped. Raises UsageError for an
    unknown interval or columns of different lengths.
    """
    return _time_bars(_rows(ts, seq, price, size, side, flags), interval)


def _time_bars(rows: _Rows, interval: str) -> NDArray[Any]:
    place = NAMES.index(interval_named(interval).name)
    parts = np.empty(_count_runs(rows, place), BAR)
    _fill_parts(rows, place, parts)
    parts = parts[np.argsort(parts["ts"], kind="stable")]
    bars: NDArray[Any] = parts[: _merge_adjacent(parts)]
    return bars


@dataclass(frozen=True)
class ThresholdBars:
    """Bars that close at a threshold: BAR [n], `ts` being that of the first trade, ns.

    `ends` [n] has the ts of the last trade of each bar, inclusive. `final` [n] is False only for a last bar that has
    not reached the threshold.
    """

    bars: NDArray[Any]
    ends: NDArray[np.int64]
    final: NDArray[np.bool_]


class ThresholdBarBuilder:
    """Builds tick, volume or turnover bars of one series; a bar closes with the trade that reaches the threshold.

    What that trade has above the threshold is not carried over to the next bar. Create it with `tick_bars`,
    `volume_bars` or `turnover_bars`.
    """

    def __init__(self, unit: int, threshold: float) -> None:
        if not 0 < threshold < np.inf:
            raise UsageError(f"threshold: expected a number above 0, was {threshold}", threshold=threshold)
        self._unit = unit
        self._threshold = float(threshold) * _ROUNDING_TOLERANCE
        # The open bar, the ts of its last trade, and its sum towards the threshold.
        self._bar = np.zeros(1, BAR)
        self._end = np.zeros(1, np.int64)
        self._sum = np.zeros(1)
        clear(self._bar[0], 0)

    def add(
        self,
        ts: ArrayLike,
        seq: ArrayLike,
        price: ArrayLike,
        size: ArrayLike,
        side: ArrayLike,
        flags: ArrayLike,
    ) -> ThresholdBars:
        """Add rows, in ascending order of seq within and across calls; returns the bars that they close or change.

        An open bar is the last one and not final; the next call returns it again. Raises UsageError for rows out of
        order or columns of different lengths.
        """
        rows = _rows(ts, seq, price, size, side, flags)
        if len(rows.seq) and (self._bar[0]["seq_last"] >= rows.seq[0] or (np.diff(rows.seq) <= 0).any()):
            raise UsageError(
                "seq: expected to rise from row to row and from one call to the next",
                remedy="Sort the rows by seq, and give each row once.",
            )
        bars = np.empty(len(rows.seq) + 1, BAR)
        ends = np.empty(len(rows.seq) + 1, np.int64)
        count = _close_at_threshold(
            rows, self._unit, self._threshold, self._bar, self._end, self._sum, bars, ends
        )
        final = np.ones(count + 1, np.bool_)
        if self._bar[0]["trades"]:
            bars[count], ends[count], final[count] = self._bar[0], self._end[0], False
            count += 1
        return ThresholdBars(bars[:count].copy(), ends[:count].copy(), final[:count])


def tick_bars(trades: int) -> ThresholdBarBuilder:
    """Bars of `trades` trades each."""
    return ThresholdBarBuilder(_TRADES, trades)


def volume_bars(volume: float) -> ThresholdBarBuilder:
    """Bars that close when the sum of sizes reaches `volume`."""
    return ThresholdBarBuilder(_VOLUME, volume)


def turnover_bars(turnover: float) -> ThresholdBarBuilder:
    """Bars that close when the sum of |price| times size reaches `turnover` (dollar bars)."""
    return ThresholdBarBuilder(_TURNOVER, turnover)


def bars_frame(trades: pl.DataFrame, interval: str) -> pl.DataFrame:
    """Bars by time of a frame of trades of any number of venues and symbols, ascending by their key.

    `trades` has the model's columns (without `exchange`, `conditions` and `ts_recv` if you like), `ts_event` with a
    time zone. The result has the columns of BARS, `ts` as Datetime[ns, UTC]. Raises NaiveTimeError for times without a
    zone.
    """
    kind = trades.schema["ts_event"]
    if isinstance(kind, pl.Datetime) and kind.time_zone is None:
        raise NaiveTimeError(
            "ts_event: its times have no zone",
            remedy='Give them one: pl.col("ts_event").dt.replace_time_zone("UTC").',
        )
    ordered = trades.with_columns(pl.col("ts_event").cast(pl.Datetime("ns", "UTC")).to_physical())
    parts = [_empty()]
    for (venue, symbol), rows in ordered.partition_by("venue", "symbol", as_dict=True).items():
        bars = _time_bars(_rows(*(rows[name].to_numpy() for name in _TRADE_COLUMNS)), interval)
        columns = {name: pl.Series(bars[name]) for name in BARS.names if name not in ("venue", "symbol")}
        made = pl.DataFrame(columns).with_columns(
            pl.col("ts").cast(pl.Datetime("ns", "UTC")), venue=pl.lit(venue), symbol=pl.lit(symbol)
        )
        parts.append(made.select(BARS.names))
    return pl.concat(parts).sort(BARS.key)


def _empty() -> pl.DataFrame:
    kinds: dict[str, Any] = {"time": pl.Datetime("ns", "UTC"), "symbol": pl.String, "double": pl.Float64}
    return pl.DataFrame(schema={column.name: kinds.get(column.type, pl.Int64) for column in BARS.columns})


def _rows(
    ts: ArrayLike, seq: ArrayLike, price: ArrayLike, size: ArrayLike, side: ArrayLike, flags: ArrayLike
) -> _Rows:
    """The columns as the kernel is compiled for."""
    rows = _Rows(
        np.ascontiguousarray(ts, np.int64),
        np.ascontiguousarray(seq, np.int64),
        np.ascontiguousarray(price, np.float64),
        np.ascontiguousarray(size, np.float64),
        np.ascontiguousarray(side, np.int8),
        np.ascontiguousarray(flags, np.int16),
    )
    lengths = sorted({len(column) for column in rows})
    if len(lengths) > 1:
        raise UsageError(f"columns: expected one length, was {lengths}")
    return rows


@jit
def _count_runs(rows: _Rows, interval: int) -> int:
    """The number of runs of adjacent rows in one bucket."""
    count = 0
    begins = ends = 0
    for row in range(len(rows.ts)):
        if rows.flags[row] & _NO_BAR or begins <= rows.ts[row] < ends:
            continue
        bucket = bucket_number(interval, rows.ts[row])
        begins, ends = bucket_start(interval, bucket), bucket_start(interval, bucket + 1)
        count += 1
    return count


@jit
def _fill_parts(
    rows: _Rows,
    interval: int,
    parts: NDArray[Any],
) -> None:
    """Write one part of a bar for each run of adjacent rows in one bucket."""
    at = -1
    begins = ends = 0
    for row in range(len(rows.ts)):
        if rows.flags[row] & _NO_BAR:
            continue
        if not begins <= rows.ts[row] < ends:
            bucket = bucket_number(interval, rows.ts[row])
            begins, ends = bucket_start(interval, bucket), bucket_start(interval, bucket + 1)
            at += 1
            clear(parts[at], begins)
        add(parts[at], rows.seq[row], rows.price[row], rows.size[row], rows.side[row])


@jit
def _merge_adjacent(parts: NDArray[Any]) -> int:
    """Merge adjacent parts of the same bucket in place, at the start of `parts`; returns the number of bars."""
    count = 0
    for at in range(len(parts)):
        if count and parts[count - 1].ts == parts[at].ts:
            merge(parts[count - 1], parts[at])
        else:
            parts[count] = parts[at]
            count += 1
    return count


@jit
def _close_at_threshold(
    rows: _Rows,
    unit: int,
    threshold: float,
    open_bar: NDArray[Any],
    open_end: NDArray[np.int64],
    open_sum: NDArray[np.float64],
    bars: NDArray[Any],
    ends: NDArray[np.int64],
) -> int:
    """Add rows to the open bar and write it to `bars` whenever it reaches the threshold; returns how many."""
    count = 0
    bar = open_bar[0]
    for row in range(len(rows.ts)):
        if rows.flags[row] & _NO_BAR:
            continue
        if bar.trades == 0:
            clear(bar, rows.ts[row])
            open_sum[0] = 0.0
        add(bar, rows.seq[row], rows.price[row], rows.size[row], rows.side[row])
        open_end[0] = rows.ts[row]
        if unit == _TRADES:
            open_sum[0] += 1.0
        elif unit == _VOLUME:
            open_sum[0] += rows.size[row]
        else:
            open_sum[0] += abs(rows.price[row]) * rows.size[row]
        if open_sum[0] >= threshold:
            bars[count] = bar
            ends[count] = open_end[0]
            count += 1
            bar.trades = 0
    return count
