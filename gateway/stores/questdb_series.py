"""The series of trades in QuestDB: found by the daily bars, their first and last times then in ever finer rows.

The daily bars tell the first and last day of a series, the 1-minute bars of those days alone the minutes, and the
trades of those minutes alone the times. Series share days and minutes: what is read grows with how many different ones
there are, never with the number of trades in a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl

from gateway.stores.contract import symbols_frame
from tapehouse.clock import DAY, MINUTE, iso
from tapehouse.stores.questdb import QuestReader
from tapehouse.stores.questdb_bars import (
    DAILY_BARS,
    MINUTE_BARS,
    TRADES,
    BarPiece,
    RefreshedViews,
    read_refreshed_views,
)
from tapehouse.tabular import TIME

_STARTS = 500
"""Days or minutes that one statement reads."""
_FINER = ((DAILY_BARS, MINUTE_BARS, DAY), (MINUTE_BARS, TRADES, MINUTE))
"""(source, the source of finer times, how long a bar of the first is in ns)."""
_SERIES = ("venue", "symbol")


def read_series(reader: QuestReader, start_ns: int, end_ns: int, *, exact: bool) -> pl.DataFrame:
    """venue, symbol, first, last (Datetime ns UTC), rows: of the trades that count in bars; sorted.

    With `exact` the times are those of trades, otherwise they may be the starts of their days or minutes. The span is
    cut at midnights.
    """
    pieces = read_refreshed_views(reader, "1d").pieces("1d", start_ns, end_ns)
    found = _read_pieces(reader, pieces)
    series = found.group_by(_SERIES).agg(
        pl.col("first").min(),
        pl.col("last").max(),
        pl.col("rows").sum(),
        # Pieces have different times: the first time is of one piece.
        first_of=pl.col("source").sort_by("first").first(),
        last_of=pl.col("source").sort_by("last").last(),
    )
    if exact:
        for source, finer, step in _FINER:
            series = _refine(reader, series, source, finer, step)
    return series.select(*_SERIES, pl.col("first", "last").cast(TIME), "rows").sort(_SERIES)


def count_trades(
    reader: QuestReader, where: str, bound: Sequence[str | int], start_ns: int, end_ns: int
) -> int:
    """The trades in a span that count in bars.

    `where`: a condition on venue and symbol that ends with AND, or nothing; `bound`: its values.
    """
    pieces = _count_pieces(read_refreshed_views(reader, "1d"), start_ns, end_ns)
    statement = " UNION ALL ".join(
        f"(SELECT {_rows_of(piece)} FROM {piece.source} WHERE {where}{piece.condition})" for piece in pieces
    )
    values = [value for piece in pieces for value in (*bound, piece.start_ns, piece.end_ns)]
    return sum(int(rows or 0) for (rows,) in reader.fetch(statement, values))


def _count_pieces(views: RefreshedViews, start_ns: int, end_ns: int) -> list[BarPiece]:
    """Whole days by their daily bars, whole minutes of the rest by theirs, and what is left by the trades."""
    pieces: list[BarPiece] = []
    spans = [(start_ns, end_ns)]
    for step, pieces_of in ((DAY, partial(views.pieces, "1d")), (MINUTE, views.minutes)):
        rest = []
        for start, end in spans:
            first, last = -(-start // step) * step, end // step * step
            if first < last:
                pieces += pieces_of(first, last)
                rest += [(start, first), (last, end)]
            else:
                rest.append((start, end))
        spans = [(start, end) for start, end in rest if start < end]
    return pieces + [BarPiece(TRADES, start, end) for start, end in spans]


def _refine(reader: QuestReader, series: pl.DataFrame, source: str, finer: str, step: int) -> pl.DataFrame:
    """The series with the times that are of a source's bars replaced by those of the finer source within the bars."""
    coarse = [series.filter(pl.col(f"{end}_of") == source)[end] for end in ("first", "last")]
    within = _read_within(reader, BarPiece(finer, 0, step), pl.concat(coarse).unique().sort().to_list())
    # Of a series the first time is in the first of its bars: it has none in the earlier ones that are of others.
    series = series.join(within, on=_SERIES, how="left")
    for end in ("first", "last"):
        # A trade that was cancelled meanwhile leaves the time of its bar.
        is_finer = (pl.col(f"{end}_of") == source) & pl.col(f"finer_{end}").is_not_null()
        series = series.with_columns(
            pl.when(is_finer).then(f"finer_{end}").otherwise(end).alias(end),
            pl.when(is_finer).then(pl.lit(finer)).otherwise(f"{end}_of").alias(f"{end}_of"),
        )
    return series.drop("finer_first", "finer_last")


def _read_within(reader: QuestReader, piece: BarPiece, starts: Sequence[int]) -> pl.DataFrame:
    """venue, symbol, finer_first and finer_last (ns) of a piece's source within days or minutes, given by their starts.

    The piece says how long they are; QuestDB reads nothing else.
    """
    digits = len("2024-01-01" if piece.end_ns == DAY else "2024-01-01T00:00")
    parts = []
    for at in range(0, len(starts), _STARTS):
        listed = ",".join(iso(start)[:digits] for start in starts[at : at + _STARTS])
        parts += reader.fetch(
            f"SELECT venue, symbol, cast(min({piece.time}) AS long), cast(max({piece.time}) AS long), count() "
            f"FROM {piece.source} WHERE {piece.counted}{piece.time} IN '[{listed}]' GROUP BY venue, symbol"
        )
    times = pl.col("first", "last").cast(pl.Int64)
    found = symbols_frame(parts).with_columns(times).group_by(_SERIES)
    return found.agg(finer_first=pl.col("first").min(), finer_last=pl.col("last").max())


def _read_pieces(reader: QuestReader, pieces: Sequence[BarPiece]) -> pl.DataFrame:
    """venue, symbol, first and last (ns), rows, of each piece apart, with its source."""
    statement = " UNION ALL ".join(
        f"(SELECT {place} AS place, venue, symbol, cast(min({piece.time}) AS long), cast(max({piece.time}) AS long), "
        f"{_rows_of(piece)} FROM {piece.source} WHERE {piece.condition} GROUP BY venue, symbol)"
        for place, piece in enumerate(pieces)
    )
    found = reader.fetch(statement, [value for piece in pieces for value in (piece.start_ns, piece.end_ns)])
    frame = symbols_frame([row[1:] for row in found]).with_columns(pl.col("first", "last").cast(pl.Int64))
    return frame.with_columns(source=pl.Series([pieces[row[0]].source for row in found], dtype=pl.String))


def _rows_of(piece: BarPiece) -> str:
    return "count()" if piece.is_trades else "sum(trades)"
