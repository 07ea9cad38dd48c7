"""Bars cut at any seam and put together again are the bars of the whole."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import arrow
from gateway.answers.merge import fill_flat, merge_bars
from gateway.query import Query
from tapehouse.clock import DAY, INTERVALS, MAX_TS, parse_ns
from tapehouse.model import BARS, TRADES
from tapehouse.tabular import TIME, as_frame
from tests.batches import batch
from tests.gateway import oracle

SCHEMA = arrow.schema(BARS.name, BARS.names)
FIRST = parse_ns("2024-02-27")
SYMBOLS = ("A", "B", "Ä")


def _trades(chance: Random, rows: int) -> pl.DataFrame:
    times = [FIRST + chance.randrange(9 * DAY) for _ in range(rows)]
    return as_frame(batch(TRADES, rows, chance.randrange(2**31))).with_columns(
        pl.Series("ts_event", times, pl.Int64).cast(TIME),
        # A late trade may have a lower seq than one of the day before.
        pl.Series("seq", chance.sample(range(rows), rows)),
        pl.Series("symbol", [chance.choice(SYMBOLS) for _ in times]),
        pl.Series("price", [chance.randrange(1, 400) / 4 for _ in times]),
        pl.Series("size", [chance.randrange(0, 40) / 4 for _ in times]),
        flags=pl.lit(0, pl.Int16),
    )


def _batch(bars: pl.DataFrame) -> pa.RecordBatch:
    return arrow.batch_from_frame(bars, SCHEMA)


def _frame(bars: pa.RecordBatch) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(bars))


@settings(max_examples=60)
@given(
    chance=st.randoms(use_true_random=False),
    rows=st.integers(1, 200),
    seams=st.sets(st.integers(0, 9), max_size=4),
    interval=st.sampled_from(["4h", "1d", "1w", "1M"]),
)
def test_parts_of_bars_put_together_are_the_bars(
    chance: Random, rows: int, seams: set[int], interval: str
) -> None:
    trades = _trades(chance, rows)
    cuts = [0, *(FIRST + day * DAY for day in sorted(seams)), MAX_TS]
    parts = [
        oracle.bars_of(trades.filter(oracle.within("ts_event", start, end)), interval)
        for start, end in pairwise(cuts)
    ]
    found = merge_bars([_batch(part) for part in parts])
    assert found.schema == SCHEMA
    oracle.assert_answers(_frame(found), oracle.bars_of(trades, interval))


def test_the_open_is_that_of_the_lowest_seq_though_it_is_in_the_later_part() -> None:
    bar = oracle.bars_of(_trades(Random(1), 1), "1M").with_columns(
        ts=pl.lit(FIRST).cast(TIME), symbol=pl.lit("A")
    )
    early = bar.with_columns(open=pl.lit(1.0), close=pl.lit(2.0), seq_first=pl.lit(5), seq_last=pl.lit(9))
    late = bar.with_columns(open=pl.lit(3.0), close=pl.lit(4.0), seq_first=pl.lit(4), seq_last=pl.lit(8))
    [row] = _frame(merge_bars([_batch(early), _batch(late)])).rows(named=True)
    assert (row["open"], row["close"], row["seq_first"], row["seq_last"]) == (3.0, 2.0, 4, 9)


def test_one_part_with_rows_is_taken_as_it_is_and_none_is_none() -> None:
    bars = _batch(oracle.bars_of(_trades(Random(2), 30), "1d"))
    none = _batch(_frame(bars).clear())
    assert merge_bars([none, bars, none]) is bars
    assert merge_bars([none, none]).num_rows == 0
    assert merge_bars([none]).schema == SCHEMA


@settings(max_examples=60)
@given(
    chance=st.randoms(use_true_random=False),
    rows=st.integers(1, 60),
    interval=st.sampled_from(["15m", "1h", "4h", "1d", "1w", "1M"]),
    first=st.integers(-3, 9),
    steps=st.integers(1, 60),
    cut=st.integers(1, 60),
)
def test_filled_in_pieces_or_at_once_each_empty_interval_is_flat_at_the_close_before(
    chance: Random, rows: int, interval: str, first: int, steps: int, cut: int
) -> None:
    trades = _trades(chance, rows).filter(pl.col("symbol") != SYMBOLS[2])
    table = INTERVALS[interval]
    starts = [int(table.bucket(np.array([FIRST + first * DAY]))[0])]
    while len(starts) <= steps:
        starts.append(int(table.following(np.array([starts[-1]]))[0]))
    query = Query("bars", "V", SYMBOLS, starts[0], starts[-1], interval, "flat")
    trades = trades.with_columns(venue=pl.lit("V"))
    bars = oracle.bars_of(trades, interval)
    before = bars.filter(oracle.within("ts", 0, starts[0])).group_by("symbol").agg(pl.col("close").last())
    closes = {**dict.fromkeys(SYMBOLS), **dict(before.iter_rows())}
    found = []
    for begin, end in ((starts[0], starts[min(cut, steps)]), (starts[min(cut, steps)], starts[-1])):
        if begin == end:
            continue
        inside = bars.filter(oracle.within("ts", begin, end))
        filled = fill_flat(_batch(inside), "V", closes, table, begin, end)
        assert filled.schema == SCHEMA
        found.append(_frame(filled))
        closes |= dict(found[-1].group_by("symbol").agg(pl.col("close").last()).iter_rows())
    oracle.assert_answers(pl.concat(found), oracle.answer({"trades": trades}, query, MAX_TS).drop("final"))


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_symbol_without_a_close_has_no_bar(interval: str) -> None:
    table = INTERVALS[interval]
    start = int(table.bucket(np.array([FIRST]))[0])
    none = _batch(oracle.bars_of(_trades(Random(3), 1), interval).clear())
    end = int(table.following(np.array([start]))[0])
    found = _frame(fill_flat(none, "V", {"A": None, "B": 2.5}, table, start, end))
    assert found.select("symbol", "open", "high", "low", "close", "volume", "trades", "seq_first").rows() == [
        ("B", 2.5, 2.5, 2.5, 2.5, 0.0, 0, None)
    ]
