"""Tables for people."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from tapehouse.client.display import Plan, catalog, served, text
from tests.tapehouse.client.played import SEGMENTS


def test_segments_have_times_of_any_precision() -> None:
    table = served(SEGMENTS)
    assert table["start"].dt.to_string("%F").to_list() == ["2024-01-01", "2024-01-02"]
    assert table["rows"].to_list() == [2, 1]
    assert table["ms"].to_list() == [1.5, 0.5]


def test_no_segments_are_an_empty_table() -> None:
    assert served([]).columns == ["store", "start", "end", "rows", "cached", "ms", "quality", "why"]


def test_a_plan_of_unknown_size_shows_none() -> None:
    segment = {
        "store": "questdb",
        "start": "2024-01-01T00:00:00Z",
        "end": "2024-01-02T00:00:00Z",
        "rows": None,
    }
    plan = Plan({"segments": [segment]})
    assert plan.segments["rows"].to_list() == [None]
    assert "questdb" in repr(plan)


def test_an_open_end_is_none() -> None:
    table = served([{**SEGMENTS[0], "end": "open end"}])
    assert table["end"].to_list() == [None]
    assert table["start"].null_count() == 0


def test_a_table_is_bounded_and_cells_are_cut() -> None:
    said = text(pl.DataFrame({"a": ["x" * 500] * 500}))
    assert len(said.splitlines()) <= 30
    assert max(map(len, said.splitlines())) <= 120


def test_a_catalog_begins_with_trades_and_has_times_to_the_minute() -> None:
    rows = pl.DataFrame(
        {
            "kind": ["depth", "quotes", "trades", "trades"],
            "symbol": ["A", "A", "A", "B"],
            "first": [datetime(2024, 1, 2), datetime(2024, 1, 2, 3), datetime(2024, 1, 2, 3, 4, 5), None],
        }
    )
    found = catalog(rows)
    assert found["kind"].to_list() == ["trades", "trades", "depth", "quotes"]
    assert found["symbol"].to_list() == ["A", "B", "A", "A"]
    assert found["first"].to_list() == ["2024-01-02 03:04", None, "2024-01-02", "2024-01-02 03:00"]


def test_a_name_is_no_html() -> None:
    segment = {**SEGMENTS[0], "why": "<script>"}
    assert "<script>" not in Plan({"segments": [segment]})._repr_html_()
