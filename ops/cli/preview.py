"""What `tapehouse ingest --dry-run` shows: the first rows as they would be stored, and the first bars."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ops.terminal import echo

if TYPE_CHECKING:
    import polars as pl

    from ingest.imports.row_sources import RowSource
    from tapehouse.batch import Batch

_ROWS = 5
_READ_ROWS = 1_000


def print_preview(source: RowSource) -> bool:
    """Print the first rows of each kind, for trades the first 1-minute bars, and the first rejected rows.

    Returns whether some rows were good, or there were none.
    """
    from tapehouse.batch import Batch
    from tapehouse.model import TRADES

    found: dict[str, list[Batch]] = {}
    rejected = 0
    for chunk in source.chunks():
        for row in chunk.rejected[: max(0, _ROWS - rejected)]:
            echo(f"to quarantine: {row.where}: {row.reason}")
        rejected += len(chunk.rejected)
        for batch in chunk.batches:
            found.setdefault(batch.kind.name, []).append(batch)
        if sum(batch.rows for batches in found.values() for batch in batches) >= _READ_ROWS:
            break
    for batches in found.values():
        rows, reasons = _as_stored(source, Batch.concat(batches))
        for reason in reasons[: max(0, _ROWS - rejected)]:
            echo(f"to quarantine: {source.name}: {reason}")
        rejected += len(reasons)
        echo(f"{rows.kind.name}: the first rows")
        _print_rows(rows.slice(0, _ROWS))
        if rows.kind is TRADES:
            echo("1m bars: the first")
            _print(_first_bars(rows))
    for note in source.reading_notes:
        echo(f"{source.name}: {note}", err=True)
    if not found:
        echo(f"{source.name}: " + ("all rows are invalid" if rejected else "0 rows"))
    echo("nothing was stored (--dry-run)")
    return bool(found) or not rejected


def _as_stored(source: RowSource, rows: Batch) -> tuple[Batch, list[str]]:
    """(the rows with their seq, repeats left out, why others of one key are rejected), were nothing stored yet."""
    import polars as pl

    from ingest.imports.id_comparison import IdComparison
    from ingest.numbering import BY_TIME, number_by_time

    if source.numbering(rows.kind) == BY_TIME:
        return number_by_time(rows, {}), []
    compared = IdComparison(rows.kind, source.provided(rows.kind)).compare(rows, pl.DataFrame())
    return compared.published, list(compared.rejected.values())


def _print_rows(rows: Batch) -> None:
    """Print rows without the venue and without columns that say nothing: ts_recv equal to ts_event, nulls alone."""
    from tapehouse.tabular import as_frame

    frame = as_frame(rows).drop("venue")
    if frame["ts_recv"].equals(frame["ts_event"]):
        frame = frame.drop("ts_recv")
    _print(frame.select(column for column in frame if column.null_count() < frame.height))


def _first_bars(rows: Batch) -> pl.DataFrame:
    """The first 1-minute bars, by symbol, made by the kernel of all bars."""
    import numpy as np
    import polars as pl

    from tapehouse.bars.series import time_bars
    from tapehouse.tabular import TIME

    names = rows.strings("symbol").to_list()
    shown = ("ts", "open", "high", "low", "close", "volume", "trades")
    found = []
    for symbol in sorted({str(name) for name in names})[:_ROWS]:
        own = rows.take(np.array([name == symbol for name in names]))
        ts, seq, price = own.array("ts_event"), own.array("seq"), own.array("price")
        bars = time_bars(ts, seq, price, own.array("size"), own.array("side"), own.array("flags"), "1m")[
            :_ROWS
        ]
        frame = pl.DataFrame({name: bars[name] for name in shown})
        found.append(frame.select(pl.lit(symbol).alias("symbol"), pl.col("ts").cast(TIME), *shown[1:]))
    return pl.concat(found).head(_ROWS)


def _print(frame: pl.DataFrame) -> None:
    import polars as pl

    from ops.export.table import print_frame

    if sys.stdout.isatty():
        print_frame(frame)
        return
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    frame = frame.with_columns(pl.col(times).dt.strftime("%Y-%m-%d %H:%M:%S%.f"))
    with pl.Config(
        tbl_cols=-1,
        tbl_rows=_ROWS,
        tbl_width_chars=1_000,
        fmt_str_lengths=40,
        tbl_formatting="NOTHING",
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
    ):
        echo(str(frame))
