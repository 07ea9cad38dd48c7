"""Rows to a file or to standard output as they come: no answer is held in memory, none that was cut looks whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import polars as pl

    from tapehouse.cli.answers import Rows

SUFFIXES = (".parquet", ".csv", ".arrow")
_TIME = "%Y-%m-%dT%H:%M:%S%.9fZ"


def write_out(rows: Rows) -> None:
    """CSV on standard output: a header and the rows."""
    texts = _texts(rows.empty.schema)
    sys.stdout.write(rows.empty.with_columns(texts).write_csv())
    for frame in rows.frames(1):
        sys.stdout.write(frame.with_columns(texts).write_csv(include_header=False, datetime_format=_TIME))


def write_file(rows: Rows, out: Path) -> int:
    """A file of the kind that its suffix says; how many rows it has. It has its name once it is whole.

    Raises TapehouseError where it cannot be written, and what the answer raises where that breaks off.
    """
    import polars as pl

    from tapehouse.errors import TapehouseError

    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    counted = _Counted(rows)
    try:
        # Open here, for a sink that is interrupted goes on for a while: what it writes then has no name any more.
        with part.open("wb") as file:
            _sink(counted.lazy(), rows.empty.schema, out.suffix, file)
        part.replace(out)
    except (OSError, pl.exceptions.PolarsError) as reason:
        raise TapehouseError(f"--out: {out} cannot be written: {reason}") from None
    finally:
        part.unlink(missing_ok=True)
    return counted.count


class _Counted:
    """The rows as polars pulls them, piece by piece, while it writes."""

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


def _sink(frame: pl.LazyFrame, schema: pl.Schema, suffix: str, to: BinaryIO) -> None:
    import polars as pl

    if suffix == ".parquet":
        frame.sink_parquet(to, engine="streaming")
    elif suffix == ".arrow":
        # Text as every reader of Arrow knows it.
        frame.sink_ipc(to, engine="streaming", compat_level=pl.CompatLevel.oldest())
    else:
        frame.with_columns(_texts(schema)).sink_csv(to, engine="streaming", datetime_format=_TIME)


def _texts(schema: pl.Schema) -> list[pl.Expr]:
    """Lists as JSON text, for CSV has none."""
    import polars as pl

    return [
        pl.format("[{}]", pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(",")).alias(name)
        for name, kind in schema.items()
        if isinstance(kind, pl.List)
    ]
