"""Prints rows as a table that fits the terminal: the first and the last rows, and the columns that matter first."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from ops.terminal import echo
from tapehouse.clock import DAY, SECOND
from tapehouse.printable import one_line

if TYPE_CHECKING:
    import polars as pl

    from ops.export.rows import Rows

_SHOWN = 20
"""Rows shown from the start of a table, and from its end."""
_FIRST = (
    "ts",
    "ts_event",
    "symbol",
    "price",
    "size",
    "side",
    "bid",
    "ask",
    "bid_size",
    "ask_size",
    "open",
    "high",
    "low",
    "close",
    "final",
    "volume",
)
"""Columns in the order in which they get room; others come after them in their own order."""
_DIGITS = 10
"""Significant digits of a float."""
_BORDER = 3
_NAMED = 10
"""Columns without room that are named."""
_TIMES = ((DAY, "%Y-%m-%d"), (SECOND, "%Y-%m-%d %H:%M:%S"))
"""How times are printed that are multiples of so many ns."""
_NESTED = 20
"""Characters of a list, of which polars prints the first values."""


def print_rows(rows: Rows) -> int:
    """Print the rows of an answer; returns their number. Columns without room are named below the table."""
    import polars as pl

    head = tail = rows.empty
    count = 0
    for frame in rows.frames(1):
        count += frame.height
        head = pl.concat([head, frame.head(_SHOWN + 1 - head.height)])
        tail = pl.concat([tail, frame]).tail(_SHOWN)
    # One row more than polars shows makes it print the ellipsis.
    print_frame(pl.concat([head, tail.tail(max(count - head.height, 0))]))
    return count


def print_frame(frame: pl.DataFrame) -> None:
    """Print a frame with as many columns as fit, and times to the millisecond."""
    import polars as pl

    shown = frame.with_columns(_texts(frame))
    width = shutil.get_terminal_size().columns
    names = fitting(shown, width)
    with pl.Config(
        tbl_rows=2 * _SHOWN,
        tbl_cols=-1,
        tbl_width_chars=width,
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
    ):
        echo(str(shown.select(names)))
    if left_out := [name for name in frame.columns if name not in names]:
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        echo(f"without room: {' '.join(left_out[:_NAMED])}{more}")


def fitting(frame: pl.DataFrame, width: int) -> list[str]:
    """The columns of a frame that fit in `width` characters, two at least, those that matter first.

    A symbol that is the same in all rows is none of those.
    """
    order = [name for name in _FIRST if name in frame.columns]
    if "symbol" in order and frame["symbol"].n_unique() == 1:
        order.remove("symbol")
    order += [name for name in frame.columns if name not in order]
    names: list[str] = []
    left = width - 1
    for name in order:
        left -= max(len(name), _length(frame[name])) + _BORDER
        if left < 0 and len(names) >= 2:
            break
        names.append(name)
    return names


def _texts(frame: pl.DataFrame) -> list[pl.Series]:
    """The columns of a frame as text that is printed otherwise: times to the day, second or millisecond, floats
    aligned to the right, texts in one line."""
    import polars as pl

    texts = []
    for column in frame:
        if isinstance(column.dtype, pl.Datetime):
            ns = column.dt.epoch("ns")
            form = next((form for unit, form in _TIMES if (ns % unit == 0).all()), "%Y-%m-%d %H:%M:%S%.3f")
            texts.append(column.dt.strftime(form))
        elif column.dtype.is_float():
            numbers = ["null" if value is None else f"{value:.{_DIGITS}g}" for value in column]
            longest = max(map(len, numbers), default=0)
            texts.append(pl.Series(column.name, [number.rjust(longest) for number in numbers], pl.String))
        elif column.dtype == pl.String:
            lines = [None if value is None else one_line(value) for value in column]
            texts.append(pl.Series(column.name, lines, pl.String))
    return texts


def _length(column: pl.Series) -> int:
    """Characters of the longest value."""
    import polars as pl

    if column.dtype.is_nested():
        return _NESTED
    longest = column.cast(pl.String).str.len_chars().max()
    return longest if isinstance(longest, int) else len("null")
