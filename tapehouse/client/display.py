"""How a database and a plan are displayed: small tables as text and HTML."""

from __future__ import annotations

import shutil
from typing import Any, Final

import polars as pl

from tapehouse.clock import parse_ns
from tapehouse.errors import UsageError
from tapehouse.printable import printable

_ROWS: Final = 20
"""Rows shown of a table; the middle of longer tables is left out."""
_WIDTH: Final = 110
_PLAN_COLUMNS: Final = {
    "store": pl.String,
    "start": pl.Datetime("ns", "UTC"),
    "end": pl.Datetime("ns", "UTC"),
    "rows": pl.Int64,
    "all_rows": pl.Int64,
    "all_bytes": pl.Int64,
    "quality": pl.String,
    "why": pl.String,
    "statement": pl.String,
}
_SEGMENT_COLUMNS: Final = {
    "store": pl.String,
    "start": pl.Datetime("ns", "UTC"),
    "end": pl.Datetime("ns", "UTC"),
    "rows": pl.Int64,
    "cached": pl.Int64,
    "ms": pl.Float64,
    "quality": pl.String,
    "why": pl.String,
}


class Plan:
    """The plan of a query, which was not executed. `document`: the gateway's JSON."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @property
    def segments(self) -> pl.DataFrame:
        """One row per segment, in order of time.

        Columns: store, start, end (exclusive; null if open), rows of the symbols (of trades those that count in bars;
        null if unknown), all_rows and all_bytes of all venues and symbols, quality, why, statement.
        """
        return _segments(self.document.get("segments", []), _PLAN_COLUMNS)

    def __repr__(self) -> str:
        return text(self.segments.drop("statement"))

    def _repr_html_(self) -> str:
        return html(self.segments)


def served(segments: list[dict[str, Any]]) -> pl.DataFrame:
    """The segments of an answer as a table: store, start, end (exclusive; null if open), rows, ms, quality, why."""
    return _segments(segments, _SEGMENT_COLUMNS)


def text(table: pl.DataFrame) -> str:
    """A table as text: at most 20 rows, and as wide as the terminal, at most 110 characters."""
    with _config():
        return printable(repr(table))


def html(table: pl.DataFrame) -> str:
    """A table as HTML for a notebook: at most 20 rows."""
    with _config():
        return str(table._repr_html_())


def catalog(rows: pl.DataFrame) -> pl.DataFrame:
    """The catalog for display, trades first: times as text, to the minute, or as days."""
    times = [name for name, kind in rows.schema.items() if isinstance(kind, pl.Datetime)]
    rows = rows.sort(pl.col("kind") != "trades", maintain_order=True)
    return rows.with_columns(pl.col(times).dt.strftime("%Y-%m-%d %H:%M").str.strip_suffix(" 00:00"))


def _segments(segments: list[dict[str, Any]], columns: dict[str, Any]) -> pl.DataFrame:
    rows = [{name: _cell(name, segment.get(name)) for name in columns} for segment in segments]
    return pl.DataFrame(rows, schema=columns, strict=False)


def _cell(name: str, value: Any) -> Any:
    if name in ("start", "end"):
        return _instant(str(value))
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _instant(text: str) -> int | None:
    """The time in ns; None for an open end."""
    try:
        return parse_ns(text)
    except UsageError:
        return None


def _config() -> pl.Config:
    return pl.Config(
        tbl_rows=_ROWS,
        tbl_cols=-1,
        tbl_width_chars=min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns),
        fmt_str_lengths=60,
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
    )
