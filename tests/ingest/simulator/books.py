"""Quotes, depth and trades of a timeline as frames, for the tests of the simulated books."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from ingest.simulator.book_rows import BookRows
from ingest.simulator.timeline import Timeline
from ingest.simulator.trades import Simulator
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.book import Book
from tapehouse.client.asof import asof
from tapehouse.model import DEPTH, QUOTES, TRADES, Kind

SIDES = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")


def frame(batches: list[Batch]) -> pl.DataFrame:
    """The rows of batches of one kind, in their order."""
    batch = Batch.concat(batches)
    columns = {}
    for name, data in batch.columns.items():
        if isinstance(data, Strings):
            columns[name] = pl.Series(data.to_list(), dtype=pl.String)
        elif isinstance(data, Lists):
            rows = [data.row(row).tolist() for row in range(batch.rows)]
            columns[name] = pl.Series(rows, dtype=pl.List(pl.Float64))
        else:
            columns[name] = pl.Series(data)
    return pl.DataFrame(columns).with_columns(venue=pl.lit(batch.venue))


def emitted(timeline: Timeline, start: int, stop: int) -> dict[Kind, pl.DataFrame]:
    """By kind the rows emitted with some positions; a kind without rows is left out."""
    trades = Simulator(timeline)
    batches: dict[Kind, list[Batch]] = {TRADES: [trades.batch(start, stop)]}
    for batch in BookRows(trades).batches(start, stop):
        assert batch.rows
        batches.setdefault(batch.kind, []).append(batch)
    return {kind: frame(found) for kind, found in batches.items()}


def outside(trades: pl.DataFrame, quotes: pl.DataFrame) -> pl.DataFrame:
    """Trades that are not within the quote in force at their time, or have none."""
    within = (pl.col("bid") <= pl.col("price")) & (pl.col("price") <= pl.col("ask"))
    return asof(trades, quotes).filter(within.fill_null(False).not_())


def replayed(depth: pl.DataFrame) -> Iterator[tuple[dict[str, object], Book]]:
    """The rows of one symbol in order of their key, each with the book after it; fails where an update is missing.

    A snapshot that follows no row begins the book of a segment; any other one must be the book as it is.
    """
    book = None
    for row in depth.sort("ts_event", "seq", "snapshot").iter_rows(named=True):
        levels = [row[name] for name in SIDES]
        if not row["snapshot"]:
            assert book is not None
            assert row["seq_previous"] == book.seq == row["seq_first"] - 1
            assert book.apply(row["seq_previous"], row["seq"], row["ts_event"], *levels)
        elif book is not None and book.seq == row["seq"]:
            assert levels == list(book.levels())
        else:
            book = Book(row["seq"], row["ts_event"], *levels)
        yield row, book


def different(rows: pl.DataFrame) -> set[tuple[object, ...]]:
    """The different rows of a frame, their levels as texts."""
    lists = [name for name in rows.columns if name in SIDES]
    return set(rows.with_columns(pl.col(lists).cast(pl.List(pl.String)).list.join(" ")).rows())


def whole(timeline: Timeline, start: int, stop: int) -> dict[str, set[tuple[object, ...]]]:
    """By kind the different rows emitted with some positions."""
    found = emitted(timeline, start, stop)
    return {kind.name: different(found[kind]) if kind in found else set() for kind in (TRADES, QUOTES, DEPTH)}
