import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.simulator.instruments import Instruments
from ingest.simulator.update_times import Selection, UpdateTimes, runs
from tapehouse.clock import SECOND

NOW = 1_723_161_600_000_000_000
BLOCK = 4_096
RATES = st.integers(1, 100_000)


@given(RATES, RATES, st.integers(0, 2 * 10**15))
def test_each_selected_change_has_its_number(one: int, other: int, first: int) -> None:
    selection = Selection(min(one, other), max(one, other))
    numbers = np.arange(first, first + 50, dtype=np.int64)
    changes = selection.changes(numbers)
    assert (np.diff(changes) >= 1).all()
    assert np.array_equal(selection.last(changes), numbers)
    assert np.array_equal(selection.last(changes - 1), numbers - 1)


@given(st.integers(1, 1_000), st.integers(0, 10**9))
def test_of_so_many_changes_so_many_are_selected(chosen: int, rounds: int) -> None:
    start = np.array([rounds * 1_000], np.int64)
    selection = Selection(chosen, 1_000)
    assert (selection.last(start + 1_000) - selection.last(start)).tolist() == [chosen]


@pytest.mark.parametrize(("quotes", "depth"), [(100, 100), (1, 0), (0, 100_000), (100_000, 7), (3, 50_000)])
def test_times_rise_and_are_as_many_as_set(quotes: int, depth: int) -> None:
    instruments = Instruments(50, 1)
    times = UpdateTimes(instruments, 1, BLOCK, quotes, depth)
    length = SECOND * 20_000 // times.rate
    codes = instruments.codes
    first, stop = times.first_after(codes, NOW), times.first_after(codes, NOW + length)
    all_codes, changes = runs(codes, first, stop)
    found = times.times(all_codes, changes)
    assert ((found > NOW) & (found <= NOW + length)).all()
    assert (np.diff(found)[np.diff(all_codes) == 0] > 0).all()
    assert (times.times(codes, first - 1) <= NOW).all()
    assert (times.times(codes, stop) > NOW + length).all()
    assert abs(len(found) - 20_000) < 300
    counts = np.bincount(all_codes)
    assert counts[0] > 5 * counts[-1]


def test_quotes_are_updates_too_where_there_are_as_many_updates() -> None:
    times = UpdateTimes(Instruments(1, 1), 1, BLOCK, 30, 100)
    assert times.quotes is not None
    assert times.depth == Selection(100, 100)
    assert times.best == times.quotes == Selection(30, 100)


def test_runs_are_columns_of_codes_and_numbers() -> None:
    codes, numbers = runs(np.array([0, 1, 2], np.int32), np.array([5, 9, 7]), np.array([7, 9, 10]))
    assert codes.tolist() == [0, 0, 2, 2, 2]
    assert numbers.tolist() == [5, 6, 7, 8, 9]
