"""tapehouse gaps: what a source had and this system has not."""

from __future__ import annotations

from pathlib import Path

import click

from tapehouse.cli import options


@click.command()
@click.option("--venue", help="Of this source alone.")
@click.option("--symbol", help="Of this symbol alone.")
@click.option("--kind", help="trades, quotes or depth.")
@click.option("--open", "open_only", is_flag=True, help="Only those that are not closed.")
@click.option("--limit", default=50, show_default=True, help="Gaps shown, newest first; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
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
    """List gaps: from and to which time and id, how many rows, why, and whether they were filled in since.

    Where a venue's ids rise by one the count is known. Elsewhere each disconnection is a gap of unknown count.
    """
    import json

    import polars as pl

    from gateway.query import Query
    from gateway.surface import Surface
    from tapehouse.clock import iso
    from tapehouse.model import GAPS
    from tapehouse.settings import load

    with Surface(load(home)) as surface:
        surface.refresh()
        found = surface.read(
            Query.asked("gaps", venue=venue or "", symbols=[symbol] if symbol else [], start=0)
        )
    if kind:
        found = found.filter(pl.col("kind") == kind)
    if open_only:
        found = found.filter(~pl.col("closed"))
    times = [column.name for column in GAPS.columns if column.type == "time"]
    newest = found.with_columns(pl.col(times).cast(pl.Int64)).reverse().head(limit or found.height)
    for gap in newest.iter_rows(named=True):
        if as_json:
            click.echo(json.dumps(gap))
            continue
        count = "unknown" if gap["missing"] is None else f"{gap['missing']:,}"
        click.echo(
            f"{gap['venue']}\t{gap['symbol']}\t{gap['kind']}\t{iso(gap['ts_event'])}\t{iso(gap['ts_end'])}\t"
            f"ids {gap['seq']} to {gap['seq_last']}\tmissing {count}\t"
            f"{'closed' if gap['closed'] else 'open'}\t{gap['reason']}"
        )
    if not as_json:
        click.echo(f"{newest.height:,} gaps" + (" shown" if newest.height < found.height else ""), err=True)
