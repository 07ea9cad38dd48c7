"""Which rows may go on, column by column."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.validation import invalid_rows
from tapehouse.batch import Batch, Lists, Strings
from tapehouse.clock import MAX_TS, MIN_TS, MINUTE
from tapehouse.model import (
    ACCOUNT_TRADES,
    DEPTH,
    GAPS,
    NULL_LONG,
    PRICE_MAX,
    QUOTES,
    SEQ_MAX,
    SIZE_MAX,
    TRADES,
    Kind,
)
from tests.batches import SPAN, START, batch, batches

NOW = START + SPAN
NAN, INF = float("nan"), float("inf")


def _with(kind: Kind, column: str, values: list[Any]) -> Batch:
    """Rows that are valid but for what `column` holds."""
    whole = batch(kind, len(values))
    data: Any
    if kind.column(column).type in ("symbol", "text"):
        data = Strings.of(values)
    elif kind.column(column).type == "doubles":
        data = Lists.of(values)
    else:
        data = np.array(values, kind.column(column).types.numpy)
    return replace(whole, columns={**whole.columns, column: data})


@given(batches())
def test_valid_rows_have_no_fault(whole: Batch) -> None:
    assert invalid_rows(whole, NOW) == {}


@pytest.mark.parametrize(
    ("kind", "column", "good", "bad"),
    [
        (TRADES, "price", [-PRICE_MAX, PRICE_MAX, 0.0, -0.0, 5e-324], [NAN, INF, -INF, 1.01e12, -1.01e12]),
        (TRADES, "size", [0.0, SIZE_MAX], [-5e-324, NAN, INF, 1.01e15]),
        (TRADES, "side", [-1, 0, 1], [-2, 2, 127, -128]),
        (TRADES, "flags", [0, 7], [-1, 8, 32767]),
        (TRADES, "seq", [0, SEQ_MAX], [-1, SEQ_MAX + 1, NULL_LONG]),
        (TRADES, "symbol", ["A", " ", "☃"], [None, "", "A\x00B"]),
        (TRADES, "exchange", ["A", "", None], ["A\x00B"]),
        (QUOTES, "bid", [NAN, -PRICE_MAX, PRICE_MAX], [INF, -INF, 1.01e12]),
        (QUOTES, "ask_size", [NAN, 0.0, SIZE_MAX], [-1.0, INF]),
        (DEPTH, "seq_first", [NULL_LONG, 0, SEQ_MAX], [-1, NULL_LONG + 1, SEQ_MAX + 1]),
        (DEPTH, "snapshot", [True, False], []),
        (ACCOUNT_TRADES, "trans_type", [0, 32767], [-1, -32768]),
        (ACCOUNT_TRADES, "account_id", [0, SEQ_MAX], [-1, NULL_LONG]),
        (GAPS, "reason", ["A", None], ["\x00"]),
        (GAPS, "kind", ["trades"], [None, ""]),
        (GAPS, "missing", [NULL_LONG, 0, 5], [-1]),
    ],
)
def test_values_within_the_bounds_go_on_and_others_do_not(
    kind: Kind, column: str, good: list[Any], bad: list[Any]
) -> None:
    found = invalid_rows(_with(kind, column, [*good, *bad]), NOW)
    assert list(found) == list(range(len(good), len(good) + len(bad)))
    assert all(reason.startswith(f"{column}: expected ") for reason in found.values())
    assert all(", was " in reason for reason in found.values())


@pytest.mark.parametrize("column", ["ts_event", "ts_recv"])
def test_times_go_from_the_first_whole_week_to_a_minute_from_now(column: str) -> None:
    good = [MIN_TS, START, NOW, NOW + MINUTE]
    bad = [MIN_TS - 1, NULL_LONG, NOW + MINUTE + 1, MAX_TS, 2**63 - 1]
    found = invalid_rows(_with(TRADES, column, [*good, *bad]), NOW)
    assert list(found) == [4, 5, 6, 7, 8]
    assert (
        found[4]
        == f"{column}: expected a time from 1970-01-05 to a minute from now, was 1970-01-04T23:59:59.999999999Z"
    )


def test_no_time_is_beyond_what_all_stores_hold_whatever_the_clock_says() -> None:
    assert list(invalid_rows(_with(TRADES, "ts_event", [MAX_TS - 1, MAX_TS]), 2**62 * 2 - 1)) == [1]


@pytest.mark.parametrize("column", ["bid_prices", "ask_sizes"])
def test_a_level_out_of_bounds_is_the_fault_of_its_row(column: str) -> None:
    whole = _levels([[], [1.0, 2.0], [NAN], [], [3.0, 4.0, INF], [1e16], [5.0]], column)
    found = invalid_rows(whole, NOW)
    assert list(found) == [2, 4, 5]
    assert found[4].startswith(f"{column}: expected levels from ")
    assert found[4].endswith("was [3.0, 4.0, inf]")


def _levels(rows: list[list[float]], column: str) -> Batch:
    """Books whose prices and sizes stand side by side, all of them 1 but in `column`."""
    side = column.partition("_")[0]
    ones = Lists.of([[1.0] * len(row) for row in rows])
    whole = batch(DEPTH, len(rows))
    columns = {**whole.columns, f"{side}_prices": ones, f"{side}_sizes": ones, column: Lists.of(rows)}
    return replace(whole, columns=columns)


def test_prices_without_their_sizes_are_a_fault() -> None:
    whole = _levels([[1.0, 2.0], [1.0], []], "bid_prices")
    whole.columns["bid_sizes"] = Lists.of([[1.0, 2.0], [1.0, 2.0], []])
    found = invalid_rows(whole, NOW)
    assert found == {1: "bid_sizes: expected as many as bid_prices, was [1.0, 2.0]"}


def test_the_first_fault_of_a_row_is_told_and_every_row_that_has_one() -> None:
    whole = batch(TRADES, 3)
    whole.columns["price"] = np.array([NAN, 1.0, NAN])
    whole.columns["size"] = np.array([-1.0, -1.0, 1.0])
    found = invalid_rows(whole, NOW)
    assert {row: reason.partition(":")[0] for row, reason in found.items()} == {
        0: "price",
        1: "size",
        2: "price",
    }
    assert found[0] == "price: expected -1e+12 to 1e+12, was nothing"


def test_a_long_value_is_cut_in_its_reason() -> None:
    [reason] = invalid_rows(_with(TRADES, "symbol", ["x" * 10_000 + "\x00"]), NOW).values()
    assert len(reason) < 300
    [reason] = invalid_rows(_levels([[1e300] * 10_000], "ask_prices"), NOW).values()
    assert len(reason) < 300


def test_no_rows_have_no_fault() -> None:
    for kind in (TRADES, QUOTES, ACCOUNT_TRADES, GAPS):
        assert invalid_rows(batch(kind, 3).slice(0, 0), NOW) == {}


@given(st.lists(st.floats() | st.sampled_from([0.0, PRICE_MAX, -PRICE_MAX]), min_size=1, max_size=20))
def test_prices_are_judged_one_by_one(prices: list[float]) -> None:
    expected = [row for row, price in enumerate(prices) if not -PRICE_MAX <= price <= PRICE_MAX]
    assert list(invalid_rows(_with(TRADES, "price", prices), NOW)) == expected
