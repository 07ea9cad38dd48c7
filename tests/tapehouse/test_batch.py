"""Batches cut, chosen from and joined hold the rows that lists of the same rows would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.batch import Batch, Lists, Strings
from tapehouse.model import DEPTH, TICKS, TRADES
from tests.batches import batch, batches, rows_of, same

_texts = st.lists(st.none() | st.text(max_size=3), max_size=20)
_levels = st.lists(st.lists(st.floats(allow_nan=False), max_size=3), max_size=10)


@given(batches(), st.data())
def test_a_slice_is_the_slice_of_the_rows(whole: Batch, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, whole.rows))
    stop = data.draw(st.integers(start, whole.rows + 5))
    part = whole.slice(start, stop)
    assert rows_of(part) == rows_of(whole)[start:stop]
    assert part.rows == len(rows_of(part))


@given(batches(), st.data())
def test_rows_taken_are_those_of_the_mask_or_the_positions(whole: Batch, data: st.DataObject) -> None:
    rows = rows_of(whole)
    positions = data.draw(st.lists(st.integers(0, whole.rows - 1), max_size=60))
    taken = whole.take(np.array(positions, np.int64))
    assert rows_of(taken) == [rows[position] for position in positions]
    mask = np.isin(np.arange(whole.rows), positions)
    assert rows_of(whole.take(mask)) == [row for row, kept in zip(rows, mask, strict=True) if kept]
    assert whole.take(mask).rows == np.count_nonzero(mask)


@given(
    st.sampled_from(TICKS), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4)
)
def test_batches_joined_are_their_rows_in_order(kind: object, parts: list[tuple[int, int]]) -> None:
    assert kind in TICKS
    pieces = [batch(kind, rows, seed) for rows, seed in parts]
    joined = Batch.concat(pieces)
    assert rows_of(joined) == [row for piece in pieces for row in rows_of(piece)]
    assert joined.rows == sum(rows for rows, _ in parts)


@given(batches(), st.integers(1, 7))
def test_a_batch_cut_and_joined_is_itself(whole: Batch, step: int) -> None:
    pieces = [whole.slice(start, start + step) for start in range(0, whole.rows, step)]
    assert same(Batch.concat(pieces), whole)


@given(_texts)
def test_strings_are_their_rows(rows: list[str | None]) -> None:
    column = Strings.of(rows)
    assert column.to_list() == rows
    assert len(set(column.values)) == len(column.values)
    assert column.compact().to_list() == rows


@given(_texts, st.data())
def test_compact_strings_keep_the_rows_and_only_the_values_used(
    rows: list[str | None], data: st.DataObject
) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    column = Strings.of(rows).take(mask)
    compact = column.compact()
    assert compact.to_list() == column.to_list()
    assert set(compact.values) == {value for value in column.to_list() if value is not None}
    assert compact.compact() is compact


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_codes_of_any_width_may_use_all_their_range(dtype: type[np.integer]) -> None:
    count = min(np.iinfo(dtype).max + 1, 70_000)
    values = tuple(str(number) for number in range(count))
    column = Strings((*values, "unused"), np.arange(count).astype(dtype))
    assert column.compact().to_list() == list(values)
    assert column.compact().values == values


def test_a_constant_is_a_value_or_nothing() -> None:
    assert Strings.constant("x", 3).to_list() == ["x"] * 3
    assert Strings.constant(None, 2).to_list() == [None] * 2
    assert Strings.constant(None, 2).compact().to_list() == [None] * 2


@given(_levels)
def test_lists_are_their_rows(rows: list[list[float]]) -> None:
    column = Lists.of(rows)
    assert [column.row(index).tolist() for index in range(len(rows))] == rows
    assert column.starts.tolist() == [0, *column.ends.tolist()][: len(rows)]
    assert (
        Lists.of([column.row(index) for index in range(len(rows))]).values.tolist() == column.values.tolist()
    )


@given(_levels, st.data())
def test_lists_taken_are_those_of_a_plain_loop(rows: list[list[float]], data: st.DataObject) -> None:
    column = Lists.of(rows)
    places = st.lists(st.integers(-len(rows), len(rows) - 1), max_size=20) if rows else st.just([])
    positions = data.draw(places)
    taken = column.take(np.array(positions, np.int64))
    assert [taken.row(index).tolist() for index in range(len(positions))] == [rows[p] for p in positions]
    assert taken.ends.dtype == np.int64
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    kept = column.take(np.array(mask, np.bool_))
    expected = [row for row, chosen in zip(rows, mask, strict=True) if chosen]
    assert [kept.row(index).tolist() for index in range(len(expected))] == expected
    assert len(kept.ends) == len(expected)
    assert len(kept.values) == sum(map(len, expected))


def test_slices_are_views() -> None:
    whole = batch(DEPTH, 10)
    part = whole.slice(2, 5)
    assert np.shares_memory(part.array("ts_event"), whole.array("ts_event"))
    assert np.shares_memory(part.lists("bid_prices").values, whole.lists("bid_prices").values)
    assert np.shares_memory(part.strings("symbol").codes, whole.strings("symbol").codes)


def test_a_column_is_given_as_what_it_is_held_as() -> None:
    trades = batch(TRADES, 3)
    assert trades.array("price").dtype == np.float64
    with pytest.raises(AssertionError, match="symbol"):
        trades.array("symbol")
    with pytest.raises(AssertionError, match="price"):
        trades.strings("price")
    with pytest.raises(KeyError):
        trades.array("venue")
