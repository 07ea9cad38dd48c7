"""tapehouse query: rows or bars as a table, a file or a stream of CSV."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from tapehouse.cli.answers import Rows

_SHOWN = 20
"""Rows from the beginning of a table, and from its end."""
_COLUMN = 18
"""Characters of a terminal's width for each column; where there are more, the middle ones are left out."""


@click.command()
@click.argument("kind", metavar="KIND")
@click.argument("symbols", metavar="[SYMBOL,...]", default="")
@click.option("--venue", default="", help="The source, such as sim or comex. Account trades have none.")
@click.option("--start", help="First instant, inclusive: 2024-08-09T00:00:00Z, a date, or ns.")
@click.option("--end", help="Last instant, exclusive. Without it up to the newest row.")
@click.option("--last", type=int, help="The last so many rows; then --start may be left out.")
@click.option("--limit", type=int, help="The first so many rows.")
@click.option("--interval", help="Of bars: 15s 30s 1m 3m 5m 15m 30m 1h 4h 1d 1w 1M.")
@click.option(
    "--fill",
    type=click.Choice(["none", "flat"]),
    default="none",
    help="flat: empty intervals as bars at the close before, with volume 0.",
)
@click.option("--columns", metavar="NAME,...", default="", help="Some of the columns.")
@click.option(
    "--flags",
    type=int,
    default=0,
    help="Leave out rows with any of these bits: 1 cancelled, 2 not in bars, 4 estimated time.",
)
@click.option(
    "--out", metavar="FILE", help="FILE.parquet, FILE.csv, FILE.arrow, or - for CSV on standard output."
)
@click.option("--explain", is_flag=True, help="Show which store would be asked what, and ask nothing.")
@options.home
def command(
    kind: str,
    symbols: str,
    venue: str,
    start: str | None,
    end: str | None,
    last: int | None,
    limit: int | None,
    interval: str | None,
    fill: str,
    columns: str,
    flags: int,
    out: str | None,
    explain: bool,
    home: Path | None,
) -> None:
    """Read rows of SYMBOLs with START <= time < END.

    KIND is trades, quotes, depth, bars, gaps (SYMBOL and venue may be left out), or account_trades, whose SYMBOL is
    an account's id. A bar's time is its start, and every bar is whole.
    """
    from gateway.query import Query
    from tapehouse.cli.answers import source
    from tapehouse.cli.outfile import SUFFIXES, write_file, write_out
    from tapehouse.errors import UsageError
    from tapehouse.settings import load

    if out and out != "-" and Path(out).suffix not in SUFFIXES:
        raise UsageError(f"--out: expected FILE{', FILE'.join(SUFFIXES)} or -, was {out!r}")
    query = Query.asked(
        kind,
        venue=venue,
        symbols=_names(symbols),
        start=start,
        end=end,
        last=last,
        limit=limit,
        columns=_names(columns),
        interval=interval,
        fill=fill,
        flags=flags,
    )
    with source(load(home), query) as asked:
        if explain:
            _show_plan(asked.explain())
            return
        with asked.answer() as rows:
            if out and out != "-":
                count = write_file(rows, Path(out))
                click.echo(f"{count:,} rows to {out}{_served(rows)}")
            elif out or not sys.stdout.isatty():
                write_out(rows)
            else:
                _show(rows)


def _names(text: str) -> list[str]:
    return text.split(",") if text else []


def _served(rows: Rows) -> str:
    """Which store gave how many."""
    counts: dict[str, int] = {}
    for segment in rows.segments:
        counts[segment["store"]] = counts.get(segment["store"], 0) + segment["rows"]
    return f" ({', '.join(f'{store} {count:,}' for store, count in counts.items())})" if counts else ""


def _show(rows: Rows) -> None:
    """A table that fits the terminal: the first rows and the last."""
    import shutil

    import polars as pl

    head = tail = rows.empty
    count = 0
    for frame in rows.frames(1):
        count += frame.height
        head = pl.concat([head, frame.head(_SHOWN + 1 - head.height)])
        tail = pl.concat([tail, frame]).tail(_SHOWN)
    # With a row more than are shown, polars says that there are others between.
    shown = pl.concat([head, tail.tail(max(count - head.height, 0))])
    times = [name for name, kind in shown.schema.items() if isinstance(kind, pl.Datetime)]
    shown = shown.with_columns(pl.col(times).dt.strftime("%Y-%m-%d %H:%M:%S%.3f"))
    width = shutil.get_terminal_size().columns
    with pl.Config(
        tbl_rows=2 * _SHOWN,
        tbl_cols=max(width // _COLUMN, 4),
        tbl_width_chars=width,
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
    ):
        click.echo(shown)
    click.echo(f"{count:,} rows{_served(rows)}")


def _show_plan(document: dict[str, Any]) -> None:
    """A table and the statements; JSON when piped."""
    import json

    from tapehouse.client.display import Plan

    if not sys.stdout.isatty():
        click.echo(json.dumps(document, indent=2))
        return
    plan = Plan(document)
    click.echo(repr(plan))
    for statement in plan.segments["statement"]:
        click.echo(f"\n{statement}")
