"""Rows of a source in order of time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.imports import time_order
from ingest.imports.time_order import TimeOrder, TimeOrderScan, TimeSorter
from tapehouse.batch import Batch, Strings
from tapehouse.model import TRADES

_ROWS = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("AB")), min_size=1, max_size=60)


def trades(times: list[int], symbols: list[str] | None = None) -> Batch:
    """Rows whose price is their place."""
    rows = len(times)
    return Batch(
        TRADES,
        "V",
        rows,
        {
            "ts_event": np.array(times, np.int64),
            "ts_recv": np.array(times, np.int64),
            "symbol": Strings.of(symbols or ["A"] * rows),
            "seq": np.zeros(rows, np.int64),
            "price": np.arange(rows, dtype=np.float64),
            "size": np.ones(rows),
            "side": np.zeros(rows, np.int8),
            "flags": np.zeros(rows, np.int16),
            "exchange": Strings.constant(None, rows),
            "conditions": Strings.constant(None, rows),
        },
    )


def scanned(times: list[int], symbols: list[str] | None = None, cut: int = 3) -> TimeOrder:
    scan = TimeOrderScan()
    batch = trades(times, symbols)
    for start in range(0, batch.rows, cut):
        piece = batch.slice(start, start + cut)
        scan.add(piece.array("ts_event"), piece.strings("symbol"))
    return scan.order


@pytest.mark.parametrize(
    ("times", "order"),
    [
        ([1, 2, 2, 3], TimeOrder(0, False)),
        ([2, 2, 2], TimeOrder(0, False)),
        ([3, 2, 2, 1], TimeOrder(3, True)),
        ([3, 1, 2, 4], TimeOrder(2, False)),
        ([1, 5, 2, 3, 6], TimeOrder(2, False)),
    ],
)
def test_the_order_of_times_is_found(times: list[int], order: TimeOrder) -> None:
    assert scanned(times) == order


def test_a_source_with_one_symbol_after_another_is_in_order() -> None:
    assert scanned([5, 6, 7, 1, 2, 3], list("AAABBB")) == TimeOrder(0, False)


@given(_ROWS, st.integers(1, 20))
def test_the_order_is_that_of_each_symbol_wherever_the_rows_are_cut(
    rows: list[tuple[int, str]], cut: int
) -> None:
    late, rises = 0, False
    for symbol in "AB":
        own = [ts for ts, name in rows if name == symbol]
        late += sum(ts < max(own[:place], default=ts) for place, ts in enumerate(own))
        rises |= any(after > before for before, after in itertools.pairwise(own))
    found = scanned([ts for ts, _ in rows], [name for _, name in rows], cut)
    assert found == TimeOrder(late, late > 0 and not rises)


@given(
    times=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    cut=st.integers(1, 20),
    falling=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_sorted_by_time_and_keep_the_order_of_the_source_within_one(
    times: list[int], cut: int, falling: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    batch = trades(times)
    pieces = [batch.slice(start, start + cut) for start in range(0, batch.rows, cut)]
    with pytest.MonkeyPatch.context() as small:
        small.setattr(time_order, "_RUN_ROWS", 7)
        small.setattr(time_order, "_BLOCK_ROWS", 2)
        small.setattr(time_order, "_MERGED_AT_ONCE", 3)
        sorter = TimeSorter(folder, falling)
        for piece in pieces:
            sorter.add(piece)
        found = Batch.concat(list(sorter.merged()))
    places = range(batch.rows)[::-1] if falling else range(batch.rows)
    expected = sorted(places, key=lambda place: times[place])
    assert found.array("price").tolist() == expected
    assert found.array("ts_event").tolist() == sorted(times)
    assert not list(folder.iterdir())
