"""The proof: exactly the source's rows are stored, and the bars are theirs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tapehouse.clock import INTERVALS, MAX_TS
from tapehouse.drill.source import Expected
from tapehouse.model import BARS, NO_BAR, TRADES
from tapehouse.questdb import QuestReader, frame
from tapehouse.tabular import TIME

_VIEWS = {"bars_1m": "1m", "bars_1d": "1d"}
_SUMS = ("volume", "turnover", "buy_volume")
_SUM_ERROR = 1e-9
_PATIENCE_S = 60


@dataclass(frozen=True)
class Verdict:
    """What was found of one venue."""

    rows: int
    """Stored, or at least the source's."""
    lost: int
    """Rows of the source that are not stored as they are."""
    doubled: int
    """Rows stored beyond the source's: again, or with other values."""
    bars: int
    """Bars that differ from a rebuild, of 1m and 1d."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.bars)


def prove(reader: QuestReader, venue: str, expected: Expected) -> Verdict:
    """Compare all that is stored of a venue with its source's rows. Blocking.

    Raises ConnectError where QuestDB does not answer or its views stay behind.
    """
    reader.wait_applied(TRADES.name)
    for view in _VIEWS:
        reader.wait_refreshed(view, _PATIENCE_S)
    rows = pl.concat([expected.certain, expected.possible]).unique(TRADES.key, keep="first")
    stored = _stored(reader, venue, rows)
    lost = _without(expected.certain, stored, expected.columns).height
    strange = (
        _without(stored, rows, expected.columns).height + stored.height - stored.unique(TRADES.key).height
    )
    # Rows of other symbols and other days than the source's.
    strange += reader.count(TRADES, venue, 0, MAX_TS) - stored.height
    present = rows.join(stored, on=expected.columns, how="semi", nulls_equal=True)
    bars = sum(
        different(_bars(reader, view, venue), rebuilt(present, interval)) for view, interval in _VIEWS.items()
    )
    return Verdict(expected.certain.height, lost, strange, bars)


def rebuilt(trades: pl.DataFrame, interval: str) -> pl.DataFrame:
    """The bars of trades of one venue: what a bar is, written a second time."""
    price, size = pl.col("price"), pl.col("size")
    starts = INTERVALS[interval].bucket(trades["ts_event"].cast(pl.Int64).to_numpy())
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


def different(found: pl.DataFrame, expected: pl.DataFrame) -> int:
    """Bars that one has and the other has not, or with other values; sums may differ by 1e-9 of themselves."""
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


def _stored(reader: QuestReader, venue: str, rows: pl.DataFrame) -> pl.DataFrame:
    if rows.is_empty():
        return rows
    times = rows["ts_event"].cast(pl.Int64)
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]
    symbols = rows["symbol"].unique().to_list()
    pages = list(reader.rows(TRADES, venue, symbols, first, last + 1))
    return pl.concat(pages) if pages else rows.clear()


def _without(rows: pl.DataFrame, others: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """The rows that have no equal among the others in these columns."""
    return rows.join(others, on=columns, how="anti", nulls_equal=True)


def _bars(reader: QuestReader, view: str, venue: str) -> pl.DataFrame:
    columns = ", ".join("cast(ts AS long)" if name == "ts" else name for name in BARS.names)
    return frame(BARS.columns, reader.fetch(f"SELECT {columns} FROM {view} WHERE venue = %s", [venue]))  # noqa: S608
