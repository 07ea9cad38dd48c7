"""What is shown of a database and of a plan: small tables, as text and as HTML."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from tapehouse.clock import parse_ns
from tapehouse.errors import UsageError

_LINES: Final = 20
"""Of a table; where there are more its middle is left out."""
_WIDTH: Final = 110
_PLAN: Final = {
    "store": pl.String,
    "start": pl.Datetime("ns", "UTC"),
    "end": pl.Datetime("ns", "UTC"),
    "rows": pl.Int64,
    "bytes": pl.Int64,
    "quality": pl.String,
    "why": pl.String,
    "statement": pl.String,
}
_SERVED: Final = {**{name: _PLAN[name] for name in ("store", "start", "end", "rows")}, "ms": pl.Float64,
                  **{name: _PLAN[name] for name in ("quality", "why")}}  # fmt: skip


class Plan:
    """What a query would ask of which store, without having run it; `document` is all that the gateway said."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @property
    def segments(self) -> pl.DataFrame:
        """A row a segment, in the order of time: store, start, end (exclusive; null where it is open), expected rows
        and bytes, quality, why this store, and the statement that it would be asked.
        """
        return _segments(self.document.get("segments", []), _PLAN)

    def __repr__(self) -> str:
        return text(self.segments.drop("statement"))

    def _repr_html_(self) -> str:
        return html(self.segments)


def served(segments: list[dict[str, Any]]) -> pl.DataFrame:
    """The segments of an answer as a table: store, start, end (exclusive; null: open), rows, ms, quality, why."""
    return _segments(segments, _SERVED)


def text(table: pl.DataFrame) -> str:
    """A table of at most twenty lines and 110 characters."""
    with _config():
        return repr(table)


def html(table: pl.DataFrame) -> str:
    """The same for a notebook."""
    with _config():
        return str(table._repr_html_())


def catalog(rows: pl.DataFrame) -> pl.DataFrame:
    """The catalogue as it is shown: times to the second, or as days."""
    times = [name for name, kind in rows.schema.items() if isinstance(kind, pl.Datetime)]
    return rows.with_columns(pl.col(times).dt.strftime("%Y-%m-%d %H:%M:%S").str.strip_suffix(" 00:00:00"))


def _segments(segments: list[dict[str, Any]], columns: dict[str, Any]) -> pl.DataFrame:
    rows = [{name: _cell(name, segment.get(name)) for name in columns} for segment in segments]
    return pl.DataFrame(rows, schema=columns, strict=False)


def _cell(name: str, value: Any) -> Any:
    if name in ("start", "end"):
        return _instant(str(value))
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _instant(text: str) -> int | None:
    """None for an end that is open."""
    try:
        return parse_ns(text)
    except UsageError:
        return None


def _config() -> pl.Config:
    return pl.Config(
        tbl_rows=_LINES,
        tbl_cols=-1,
        tbl_width_chars=_WIDTH,
        fmt_str_lengths=60,
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
    )
