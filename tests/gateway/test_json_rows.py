"""Rows as JSON: any part of them is what encoding that part gives."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_rows import JsonRows
from tapehouse.tabular import TIME

_ROWS = st.lists(
    st.tuples(
        st.text(max_size=8) | st.sampled_from(["},{", "\n", "\\\n", '"', "\r\n"]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.integers(0, 2**62),
        st.booleans(),
    ),
    max_size=12,
)


def _batch(rows: list[tuple[str, float, int, bool]]) -> pa.RecordBatch:
    frame = pl.DataFrame(
        rows,
        {"symbol": pl.String, "price": pl.Float64, "ts": pl.Int64, "final": pl.Boolean},
        orient="row",
    ).with_columns(pl.col("ts").cast(TIME))
    return pa.RecordBatch.from_arrays([column.to_arrow() for column in frame], names=frame.columns)


@given(_ROWS, st.data())
def test_any_part_is_what_its_rows_give(
    rows: list[tuple[str, float, int, bool]], data: st.DataObject
) -> None:
    every = JsonRows(_batch(rows))
    assert len(every) == len(rows)
    first = data.draw(st.integers(0, len(rows)))
    last = data.draw(st.integers(first, len(rows)))
    found = json.loads(b"[" + every.part(first, last) + b"]")
    assert [(row["symbol"], row["price"], row["final"]) for row in found] == [
        (symbol, price, final) for symbol, price, _, final in rows[first:last]
    ]


def test_times_have_nine_digits_and_a_zone() -> None:
    found = JsonRows(_batch([("A", 1.5, 1, True)]))
    assert json.loads(found.part(0, 1))["ts"] == "1970-01-01T00:00:00.000000001Z"
    assert found.nbytes >= len(found.part(0, 1))
