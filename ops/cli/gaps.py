"""tapehouse gaps: ids and times of a source that were not received."""

from __future__ import annotations

from pathlib import Path

import click

from ops.cli import options
from ops.terminal import echo, echo_json
from tapehouse.printable import one_line


@click.command()
@click.option("--venue", help="Only gaps of this venue.")
@click.option("--symbol", help="Only gaps of this symbol.")
@click.option("--kind", help="Only gaps of this kind: trades, quotes or depth.")
@click.option("--open", "open_only", is_flag=True, help="Only gaps that are not filled.")
@click.option("--limit", default=50, show_default=True, help="Number of gaps to show, newest first; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@options.home
def command(
    venue: str | None,
    symbol: str | None,
    kind: str | None,
    open_only: bool,
    limit: int,
    as_json: bool,
    home: Path | None,
) -> None:
    """List gaps: their first and last time and id, the number of missing rows, whether they are filled, and why.

    Where a venue's ids rise by one, the number is known. Elsewhere each disconnection is a gap of unknown size.
    """

    import polars as pl

    from gateway.query import Query
    from gateway.surface import QuerySurface
    from tapehouse.clock import iso
    from tapehouse.model import GAPS
    from tapehouse.platform import platform_settings

    with QuerySurface(platform_settings(home)) as surface:
        surface.refresh()
        found = surface.read(
            Query.from_user("gaps", venue=venue or "", symbols=[symbol] if symbol else [], start=0)
        )
    if kind:
        found = found.filter(pl.col("kind") == kind)
    if open_only:
        found = found.filter(~pl.col("closed"))
    times = [column.name for column in GAPS.columns if column.type == "time"]
    newest = found.with_columns(pl.col(times).cast(pl.Int64)).reverse().head(limit or found.height)
    for gap in newest.iter_rows(named=True):
        if as_json:
            echo_json(gap)
            continue
        count = "unknown" if gap["missing"] is None else f"{gap['missing']:,}"
        echo(
            f"{one_line(gap['venue'])}\t{one_line(gap['symbol'])}\t{gap['kind']}\t{iso(gap['ts_event'])}\t{iso(gap['ts_end'])}\t"
            f"ids {gap['seq']} to {gap['seq_last']}\tmissing {count}\t"
            f"{'closed' if gap['closed'] else 'open'}\t{one_line(gap['reason'] or '')}"
        )
    if not as_json:
        echo(f"{newest.height:,} gaps" + (" shown" if newest.height < found.height else ""), err=True)
