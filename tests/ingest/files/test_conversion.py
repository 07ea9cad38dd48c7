import math
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.files.conversion import RowFaults, convert_column, missing_column
from ingest.files.times import TimeFormat
from tapehouse.batch import Strings
from tapehouse.model import DEPTH, NULL_LONG, QUOTES, TRADES, Column, Kind

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+(\.0+)?", re.ASCII)
texts = st.one_of(
    st.none(),
    st.text("0123456789.-+eE, _infax\t", max_size=12),
    st.floats().map(repr),
    st.integers(-(2**65), 2**65).map(str),
)


def converted(column: Column, values: list[object], dtype: pl.DataType | None = None) -> list[object]:
    """Each value, or the reason why it is none."""
    faults = RowFaults()
    data = convert_column(column, pl.Series(values, dtype=dtype, strict=False), TimeFormat(), faults)
    found: list[object] = data.to_list() if isinstance(data, Strings) else np.asarray(data).tolist()
    return [faults.reasons.get(row, value) for row, value in enumerate(found)]


@given(st.lists(texts, max_size=20))
def test_a_text_is_a_number_exactly_where_it_is_plain_and_finite(found: list[str | None]) -> None:
    for text, value in zip(found, converted(TRADES.column("price"), [*found], pl.String()), strict=True):
        plain = text is not None and NUMBER.fullmatch(text.strip()) and math.isfinite(float(text))
        assert value == (float(text or 0) if plain else value)
        assert isinstance(value, float if plain else str)


@given(st.lists(texts, max_size=20))
def test_a_text_is_a_whole_number_exactly_where_64_bits_hold_it(found: list[str | None]) -> None:
    for text, value in zip(found, converted(TRADES.column("seq"), [*found], pl.String()), strict=True):
        plain = text is not None and WHOLE.fullmatch(text.strip())
        number = int((text or "").strip().split(".")[0]) if plain else 2**64
        if -(2**63) <= number < 2**63:
            assert value == number
        else:
            assert str(value).startswith("seq: expected a whole number, was ")


@pytest.mark.parametrize(
    ("words", "side"),
    [
        (["buy", "BUY", "Buy", "b", "B", "bid", "1", " buy ", "buyer"], 1),
        (["sell", "SELL", "s", "S", "ask", "Ask", "-1", "A", "seller"], -1),
        (["", None, "0", "unknown", "UNKNOWN", " ", "N", "none"], 0),
    ],
)
def test_every_writing_of_a_side(words: list[object], side: int) -> None:
    assert converted(TRADES.column("side"), words) == [side] * len(words)
    for wrong in ("long", "2", "-", "x"):
        reason = f"side: expected buy, sell, B, A, N, 1, -1 or 0, was {wrong!r}"
        assert converted(TRADES.column("side"), [*words, wrong]) == [side] * len(words) + [reason]


def test_flags_are_bits_or_the_truth_of_a_cancellation() -> None:
    assert converted(TRADES.column("flags"), ["0", "7", "true", "F", "", None]) == [0, 7, 1, 0, 0, 0]
    assert converted(TRADES.column("flags"), [True, False, None]) == [1, 0, 0]
    assert "expected flags from 0 to 7" in str(converted(TRADES.column("flags"), [8])[0])
    assert converted(DEPTH.column("snapshot"), ["yes", "no", "1", "0", None]) == [
        True,
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("missing", [None, "", "  "])
def test_what_is_absent_is_null_where_the_model_allows_it_and_else_a_fault(missing: str | None) -> None:
    assert converted(DEPTH.column("seq_first"), [missing, "5"], pl.String()) == [NULL_LONG, 5]
    (null,) = converted(QUOTES.column("bid"), [missing], pl.String())
    assert null != null
    assert str(converted(TRADES.column("price"), [missing], pl.String())[0]).startswith(
        "price: expected a number"
    )
    assert str(converted(TRADES.column("seq"), [missing], pl.String())[0]).startswith("seq: expected a whole")


def test_text_that_says_nan_is_no_absent_number() -> None:
    assert converted(QUOTES.column("bid"), ["nan"]) == ["bid: expected a number, was 'nan'"]


@pytest.mark.parametrize("kind", [TRADES, QUOTES, DEPTH])
def test_columns_that_a_source_lacks_are_defaults_or_nulls(kind: Kind) -> None:
    for column in kind.columns:
        if column.default is None and not column.nullable:
            continue
        data = missing_column(column, 3)
        if isinstance(data, Strings):
            assert data.to_list() == [None] * 3
        else:
            values = np.asarray(data)
            assert values.dtype == column.types.numpy
            if column.default is not None:
                assert values.tolist() == [column.default] * 3
            else:
                assert np.isnan(values).all() if column.type == "double" else (values == NULL_LONG).all()


def test_long_values_are_shown_cut() -> None:
    (reason,) = converted(TRADES.column("price"), ["x" * 1000])
    assert len(str(reason)) < 200
