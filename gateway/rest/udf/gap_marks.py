"""Gaps as marks: on the bars that lack trades, and on the time axis for gaps of any kind.

The library shows a mark only where its time is that of a bar, and at most ten on one bar. So all gaps of a bar are one
mark, and what was lost where no bar is belongs to the bar before, or else to the first one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import polars as pl

from gateway.query import Query
from gateway.rest.udf.history import last_bars, span_ns
from gateway.rest.udf.names import Series
from gateway.rest.udf.parameters import MAX_BARS
from gateway.surface import QuerySurface
from tapehouse.clock import MAX_TS, SECOND, Interval, iso
from tapehouse.model import GAPS, TRADES

_MAX_GAPS = 10_000
_MAX_LINES = 5
_Gap = dict[str, Any]


def bar_starts(
    surface: QuerySurface, series: Series, interval: Interval, start_s: int, end_s: int
) -> list[int]:
    """The starts of the bars in [start_s, end_s], ns: the times that marks may have."""
    start, end = span_ns(start_s, end_s + 1)
    starts: list[int] = (
        last_bars(surface, series, interval, start, end, MAX_BARS)["ts"].to_physical().to_list()
    )
    return starts


def gaps_by_bar(
    surface: QuerySurface, series: Series, interval: Interval, starts: Sequence[int]
) -> dict[int, list[_Gap]]:
    """By the start of a bar, ns: the gaps that began in it or after it, in order of time."""
    if not starts:
        return {}
    end = min(interval.end_of(starts[-1]), MAX_TS)
    query = Query(GAPS.name, series.venue, (series.symbol,), starts[0], end, limit=_MAX_GAPS, last=True)
    times = [column.name for column in GAPS.columns if column.type == "time"]
    found: dict[int, list[_Gap]] = {}
    for gap in surface.read(query).with_columns(pl.col(times).to_physical()).iter_rows(named=True):
        bar = starts[max(bisect_right(starts, gap["ts_event"]) - 1, 0)]
        found.setdefault(bar, []).append(gap)
    return found


def marks_of_gaps(gaps: dict[int, list[_Gap]]) -> list[dict[str, Any]]:
    """Marks on the bars that lack trades: of gaps of trades that are still open."""
    marks = []
    for start, of_bar in gaps.items():
        lost = [gap for gap in of_bar if gap["kind"] == TRADES.name and not gap["closed"]]
        if lost:
            marks.append(
                {
                    "id": f"gaps-{start // SECOND}-{len(lost)}",
                    "time": start // SECOND,
                    "color": "red",
                    "text": "\n".join(_lines(lost)),
                    "label": "G",
                    "labelFontColor": "white",
                    "minSize": 14,
                }
            )
    return marks


def timescale_marks_of_gaps(gaps: dict[int, list[_Gap]]) -> list[dict[str, Any]]:
    """Marks on the time axis: red where a gap is still open, else grey."""
    marks = []
    for start, of_bar in gaps.items():
        still_open = sum(not gap["closed"] for gap in of_bar)
        marks.append(
            {
                "id": f"gaps-{start // SECOND}-{len(of_bar)}-{still_open}",
                "time": start // SECOND,
                "color": "red" if still_open else "grey",
                "label": "G",
                "tooltip": _lines(of_bar),
            }
        )
    return marks


def _lines(gaps: Sequence[_Gap]) -> list[str]:
    """What was lost, a gap a line."""
    lines = [_line(gap) for gap in gaps[:_MAX_LINES]]
    more = len(gaps) - len(lines)
    return [*lines, f"and {more:,} more"] if more else lines


def _line(gap: _Gap) -> str:
    missing = "unknown how many" if gap["missing"] is None else f"{gap['missing']:,}"
    state = "closed" if gap["closed"] else "open"
    reason = f", {gap['reason']}" if gap["reason"] else ""
    return (
        f"{gap['kind']} missing: {missing}, {iso(gap['ts_event'])} to {iso(gap['ts_end'])}, {state}{reason}"
    )
