"""Trades with the quotes that stood, against a loop."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.client.asof import asof
from tapehouse.errors import UsageError

_TIME = pl.Datetime("ns", "UTC")
_ROW = st.tuples(
    st.integers(0, 20), st.sampled_from(["X", "Y"]), st.sampled_from(["A", "B"]), st.integers(0, 99)
)
_ROWS = st.lists(_ROW, max_size=30, unique_by=lambda row: row[1:])


def _frame(rows: list[tuple[int, str, str, int]], value: str) -> pl.DataFrame:
    schema = {"ts_event": pl.Int64, "venue": pl.String, "symbol": pl.String, "seq": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col("ts_event").cast(_TIME), pl.col("seq").cast(pl.Float64).alias(value))


@given(_ROWS, _ROWS)
def test_each_trade_has_the_last_quote_at_or_before_it(
    trades: list[tuple[int, str, str, int]], quotes: list[tuple[int, str, str, int]]
) -> None:
    found = asof(_frame(trades, "price"), _frame(quotes, "bid"))
    by_time = sorted(trades, key=lambda row: row[0])
    standing = [
        max(
            (q for q in quotes if q[1:3] == trade[1:3] and q[0] <= trade[0]),
            key=lambda q: (q[0], q[3]),
            default=None,
        )
        for trade in by_time
    ]
    assert found.select("ts_event", "venue", "symbol", "seq", "price").equals(_frame(by_time, "price"))
    assert found["seq_quote"].to_list() == [None if quote is None else quote[3] for quote in standing]
    assert found["bid"].to_list() == [None if quote is None else quote[3] for quote in standing]
    times = found["ts_event_quote"].cast(pl.Int64).to_list()
    assert times == [None if quote is None else quote[0] for quote in standing]
    assert found.columns == [
        "ts_event",
        "venue",
        "symbol",
        "seq",
        "price",
        "ts_event_quote",
        "seq_quote",
        "bid",
    ]


def test_without_numbers_the_later_row_of_a_time_counts() -> None:
    quotes = _frame([(1, "X", "A", 9), (1, "X", "A", 5)], "bid").drop("seq")
    assert asof(_frame([(1, "X", "A", 0)], "price"), quotes)["bid"].to_list() == [5.0]


def test_columns_that_are_needed_are_named() -> None:
    whole = _frame([(1, "X", "A", 0)], "price")
    with pytest.raises(UsageError, match="quotes: expected a column venue"):
        asof(whole, whole.drop("venue"))
