"""Rows of a source beside the stored ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.imports.comparison import TimeNumbering
from ingest.imports.stored_rows import read_columns
from tapehouse.batch import Batch, Strings
from tapehouse.model import TRADES
from tapehouse.tabular import as_frame

_FEW = settings(max_examples=25)
_STEP = 1_000
_PRICES = (1.0, 2.0)
_SYMBOLS = ("A", "B")
_COLUMNS = ("ts_event", "symbol", "price", "size", "side")

Trade = tuple[int, str, float, int]
"""(time in steps, symbol, price, side)."""

TAPES = st.lists(
    st.tuples(
        st.integers(0, 4), st.sampled_from(_SYMBOLS), st.sampled_from(_PRICES), st.sampled_from((1, -1))
    ),
    min_size=1,
    max_size=25,
).map(lambda rows: sorted(rows, key=lambda row: row[0]))


def trades(rows: list[Trade], side: bool = True) -> Batch:
    count = len(rows)
    times = np.array([row[0] * _STEP for row in rows], np.int64)
    return Batch(
        TRADES,
        "V",
        count,
        {
            "ts_event": times,
            "ts_recv": times,
            "symbol": Strings.of([row[1] for row in rows]),
            "seq": np.zeros(count, np.int64),
            "price": np.array([row[2] for row in rows]),
            "size": np.ones(count),
            "side": np.array([row[3] if side else 0 for row in rows], np.int8),
            "flags": np.zeros(count, np.int16),
            "exchange": Strings.constant(None, count),
            "conditions": Strings.constant(None, count),
        },
    )


class Store:
    """The rows of an import by key, and its counts."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str, int], dict[str, Any]] = {}
        self.counts = Counter[str]()

    def load(self, rows: list[Trade], cut: int, side: bool = True) -> None:
        """Import a file, whose rows are in order of time, in pieces."""
        provided = [name for name in _COLUMNS if side or name != "side"]
        numbering = TimeNumbering(TRADES, provided, {})
        batch = trades(rows, side)
        for start in range(0, batch.rows, cut):
            piece = batch.slice(start, start + cut)
            compared = numbering.number(piece, self.near(piece))
            for row, duplicate, corrected in zip(
                as_frame(compared.batch).iter_rows(named=True),
                compared.duplicate.tolist(),
                compared.corrected.tolist(),
                strict=True,
            ):
                key = (row["ts_event"].timestamp(), row["symbol"], row["seq"])
                assert (key in self.rows) == (duplicate or corrected)
                self.counts["duplicate" if duplicate else "corrected" if corrected else "accepted"] += 1
                if not duplicate:
                    self.rows[key] = row

    def near(self, piece: Batch) -> pl.DataFrame:
        """All rows: more than the numbering asks for changes nothing."""
        names = read_columns(TRADES)
        if not self.rows:
            return pl.DataFrame()
        return (
            as_frame(piece, names)
            .clear()
            .vstack(
                pl.DataFrame([{name: row[name] for name in names} for row in self.rows.values()]).cast(
                    as_frame(piece, names).schema  # type: ignore[arg-type]
                )
            )
        )

    def tape(self) -> list[tuple[Any, ...]]:
        """Each symbol's rows by seq."""
        ordered = sorted(self.rows.values(), key=lambda row: (row["symbol"], row["seq"]))
        return [(row["symbol"], row["ts_event"], row["price"], row["side"]) for row in ordered]


def expected(rows: list[Trade]) -> list[tuple[Any, ...]]:
    whole = as_frame(trades(rows)).with_row_index("place").sort("symbol", "ts_event", "place")
    return whole.select("symbol", "ts_event", "price", "side").rows()


@_FEW
@given(TAPES, st.integers(1, 9), st.integers(1, 9))
def test_a_file_gives_its_rows_in_its_order_and_again_nothing(
    rows: list[Trade], cut: int, other_cut: int
) -> None:
    store = Store()
    store.load(rows, cut)
    assert store.counts == {"accepted": len(rows)}
    assert store.tape() == expected(rows)
    store.load(rows, other_cut)
    assert store.counts == {"accepted": len(rows), "duplicate": len(rows)}


@_FEW
@given(TAPES, st.data())
def test_pieces_that_overlap_and_come_in_any_order_give_the_rows_of_the_whole(
    rows: list[Trade], data: st.DataObject
) -> None:
    """Cut where the time changes, as an export of days is: within one time the counts of equal rows would be open."""
    store = Store()
    bounds = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4))
    for first, last in [*bounds, (0, 4)]:
        piece = [row for row in rows if first <= row[0] <= last]
        if piece:
            store.load(piece, data.draw(st.integers(1, 9)))
    assert store.tape() == expected(rows)
    assert store.counts["accepted"] == len(rows)


@_FEW
@given(TAPES, st.data())
def test_rows_of_one_time_in_another_order_are_the_same_rows(rows: list[Trade], data: st.DataObject) -> None:
    store = Store()
    store.load(rows, 4)
    before = store.tape()
    again = sorted(data.draw(st.permutations(rows)), key=lambda row: row[0])
    store.load(again, data.draw(st.integers(1, 9)))
    assert store.tape() == before
    assert store.counts["duplicate"] == len(rows)


@_FEW
@given(TAPES, st.integers(1, 9))
def test_a_file_without_sides_changes_nothing_and_one_with_sides_completes(
    rows: list[Trade], cut: int
) -> None:
    rich = Store()
    rich.load(rows, cut)
    before = rich.tape()
    rich.load(rows, cut, side=False)
    assert rich.tape() == before
    assert rich.counts == {"accepted": len(rows), "duplicate": len(rows)}

    poor = Store()
    poor.load(rows, cut, side=False)
    poor.load(rows, cut)
    assert sorted(map(str, poor.tape())) == sorted(map(str, before))
    assert poor.counts == {"accepted": len(rows), "corrected": len(rows)}
