"""Writes rows to a file or standard output in pieces; a file gets its name only when it is complete."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import polars as pl

    from ops.export.rows import Rows

SUFFIXES = (".parquet", ".csv", ".arrow")
_FORMULA = r"^[=+\-@\t\r]"
_TIME = "%Y-%m-%dT%H:%M:%S%.9fZ"


def write_out(rows: Rows, *, spreadsheet: bool = False) -> None:
    """CSV on standard output: a header and the rows. With `spreadsheet` no text is a formula to one."""
    texts = _texts(rows.empty.schema, spreadsheet)
    # Nothing is written before the first rows: an answer that fails is not half a file.
    frames = rows.frames(1)
    first = next(frames, rows.empty)
    sys.stdout.write(first.with_columns(texts).write_csv(datetime_format=_TIME))
    for frame in frames:
        sys.stdout.write(frame.with_columns(texts).write_csv(include_header=False, datetime_format=_TIME))


def write_frame(frame: pl.DataFrame) -> None:
    """A whole frame on standard output: a table on a terminal, CSV when piped."""
    from ops.export.table import print_frame

    if sys.stdout.isatty():
        print_frame(frame)
    else:
        sys.stdout.write(
            frame.with_columns(_texts(frame.schema, spreadsheet=False)).write_csv(datetime_format=_TIME)
        )


def write_file(rows: Rows, out: Path, *, spreadsheet: bool = False) -> int:
    """Write a file in the format of its suffix; returns the number of rows. It gets its name when it is complete.

    With `spreadsheet` no text of a CSV file is a formula to one; other formats tell texts from formulas.
    Raises TapehouseError if it cannot be written, and any error of the answer.
    """
    import polars as pl

    from tapehouse.errors import TapehouseError

    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    counted = _Counted(rows)
    try:
        # Opened here: an interrupted sink goes on for a while, and then writes to a file that is already removed.
        with part.open("wb") as file:
            _sink(counted.lazy(), _texts(rows.empty.schema, spreadsheet), out.suffix, file)
        part.replace(out)
    except (OSError, pl.exceptions.PolarsError) as reason:
        raise TapehouseError(f"--out: {out} cannot be written: {reason}") from None
    finally:
        try:
            part.unlink(missing_ok=True)
        finally:
            # Ctrl-C may interrupt the first try: polars raises one KeyboardInterrupt and Python another.
            part.unlink(missing_ok=True)
    return counted.count


class _Counted:
    """A polars source of the rows, in pieces, which counts them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.count = 0

    def lazy(self) -> pl.LazyFrame:
        from polars.io.plugins import register_io_source

        return register_io_source(self._frames, schema=self._rows.empty.schema)

    def _frames(self, *_: object) -> Iterator[pl.DataFrame]:
        """Polars may ask for some columns or rows alone; a sink wants all."""
        for frame in self._rows.frames(1):
            self.count += frame.height
            yield frame


def _sink(frame: pl.LazyFrame, texts: list[pl.Expr], suffix: str, to: BinaryIO) -> None:
    import polars as pl

    if suffix == ".parquet":
        frame.sink_parquet(to, engine="streaming")
    elif suffix == ".arrow":
        # Older Arrow readers do not know string views.
        frame.sink_ipc(to, engine="streaming", compat_level=pl.CompatLevel.oldest())
    else:
        frame.with_columns(texts).sink_csv(to, engine="streaming", datetime_format=_TIME)


def _texts(schema: pl.Schema, spreadsheet: bool) -> list[pl.Expr]:
    """Expressions that write lists as JSON text, since CSV has no lists, and texts so that none is a formula."""
    import polars as pl

    lists = [
        pl.format("[{}]", pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(",")).alias(name)
        for name, kind in schema.items()
        if isinstance(kind, pl.List)
    ]
    if not spreadsheet:
        return lists
    return [*lists, pl.col(pl.String).str.replace(_FORMULA, "'$0")]
