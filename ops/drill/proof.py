"""Verifies that exactly the source's rows are stored and that the stored bars equal a rebuild from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from ops.drill.source import ExpectedRows
from tapehouse.clock import INTERVALS, MAX_TS, parse_interval
from tapehouse.model import BARS, NO_BAR, TRADES
from tapehouse.settings import QuestDB
from tapehouse.stores.questdb import QuestReader, frame
from tapehouse.stores.questdb_bars import bars_statement, read_refreshed_views
from tapehouse.stores.questdb_refresh import refresh_bar_views
from tapehouse.tabular import TIME

_VIEWS = {"bars_1m": "1m", "bars_1d": "1d"}
_COLUMNS = ", ".join("cast(ts AS long)" if name == "ts" else name for name in BARS.names)
_SUMS = ("volume", "turnover", "buy_volume")
_SUM_ERROR = 1e-9
_REFRESH_TIMEOUT_S = 60


@dataclass(frozen=True)
class Verdict:
    """The comparison of one venue's stored rows and bars with the expected ones."""

    rows: int
    """Rows of the source that must be stored."""
    lost: int
    """Rows of the source that are missing or stored with other values."""
    doubled: int
    """Stored rows that the source does not have, and duplicates."""
    bars: int
    """1m and 1d bars that differ from a rebuild, as they are read or in the refreshed views."""

    @property
    def good(self) -> bool:
        """Whether no row is lost or duplicated and no bar differs."""
        return not (self.lost or self.doubled or self.bars)


def verify_rows(settings: QuestDB, venue: str, expected: ExpectedRows) -> Verdict:
    """Compare all stored rows and bars of a venue with the rows of its source. Blocking.

    Bars as they are read now, and as the views show them once they are refreshed: each must be right. Raises
    ConnectError if QuestDB does not answer or its views are not refreshed in time.
    """
    with QuestReader(settings) as reader:
        reader.wait_applied(TRADES.name)
        found, present = _verify_trades(reader, venue, expected)
        rebuilt = {interval: rebuild_bars(present, interval) for interval in _VIEWS.values()}
        as_read = {
            interval: count_different_bars(_read_bars(reader, interval, venue), rebuilt[interval])
            for interval in rebuilt
        }
        refresh_bar_views(settings, _REFRESH_TIMEOUT_S)
        bars = sum(
            max(as_read[interval], count_different_bars(_shown_bars(reader, view, venue), rebuilt[interval]))
            for view, interval in _VIEWS.items()
        )
    return replace(found, bars=bars)


def _verify_trades(reader: QuestReader, venue: str, expected: ExpectedRows) -> tuple[Verdict, pl.DataFrame]:
    """The verdict on the trades alone, and the rows of the source that are stored."""
    rows = pl.concat([expected.certain, expected.possible]).unique(TRADES.key, keep="first")
    stored = _stored_rows(reader, venue, rows)
    lost = _rows_not_in(expected.certain, stored, expected.columns).height
    extra = (
        _rows_not_in(stored, rows, expected.columns).height + stored.height - stored.unique(TRADES.key).height
    )
    # Rows of other symbols and of days outside the source's.
    extra += reader.count(TRADES, venue, 0, MAX_TS) - stored.height
    present = rows.join(stored, on=expected.columns, how="semi", nulls_equal=True)
    return Verdict(expected.certain.height, lost, extra, 0), present


def rebuild_bars(trades: pl.DataFrame, interval: str) -> pl.DataFrame:
    """The bars of the trades of one venue, by an implementation that is independent of the platform's."""
    price, size = pl.col("price"), pl.col("size")
    starts = parse_interval(interval).bucket(trades["ts_event"].cast(pl.Int64).to_numpy())
    return (
        trades.with_columns(ts=pl.Series(np.asarray(starts), dtype=pl.Int64).cast(TIME))
        .filter(pl.col("flags") & int(NO_BAR) == 0)
        .sort("seq")
        .group_by("ts", "venue", "symbol")
        .agg(
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=size.sum(),
            turnover=(price * size).sum(),
            trades=pl.len().cast(pl.Int64),
            buy_volume=size.filter(pl.col("side") == 1).sum(),
            seq_first=pl.col("seq").first(),
            seq_last=pl.col("seq").last(),
        )
        .sort(BARS.key)
        .select(BARS.names)
    )


def count_different_bars(found: pl.DataFrame, expected: pl.DataFrame) -> int:
    """The number of bars that only one frame has or that differ; sums may differ by a relative 1e-9."""
    both = expected.join(found, on=BARS.key, how="full", coalesce=True, suffix="_found")
    same = pl.lit(True)
    for name in BARS.names:
        if name in BARS.key:
            continue
        here, there = pl.col(name), pl.col(f"{name}_found")
        if name in _SUMS:
            same &= (here - there).abs() <= _SUM_ERROR * here.abs()
        else:
            same &= here == there
    return both.filter(~same.fill_null(False)).height


def _stored_rows(reader: QuestReader, venue: str, rows: pl.DataFrame) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    times = rows["ts_event"].cast(pl.Int64)
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]
    symbols = rows["symbol"].unique().to_list()
    pages = list(reader.rows(TRADES, venue, symbols, first, last + 1))
    return pl.concat(pages) if pages else rows.clear()


def _rows_not_in(rows: pl.DataFrame, others: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """The rows that have no equal row in `others`, compared by these columns."""
    return rows.join(others, on=columns, how="anti", nulls_equal=True)


def _read_bars(reader: QuestReader, interval: str, venue: str) -> pl.DataFrame:
    pieces = read_refreshed_views(reader, interval).pieces(interval, 0, MAX_TS)
    statement, bound = bars_statement(pieces, INTERVALS[interval], "venue = %s AND ", [venue])
    return frame(BARS.columns, reader.fetch(f"SELECT {_COLUMNS} FROM ({statement})", bound))  # noqa: S608


def _shown_bars(reader: QuestReader, view: str, venue: str) -> pl.DataFrame:
    return frame(BARS.columns, reader.fetch(f"SELECT {_COLUMNS} FROM {view} WHERE venue = %s", [venue]))  # noqa: S608
