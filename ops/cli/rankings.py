"""tapehouse rankings: live symbols by a measure, as a table or CSV."""

from __future__ import annotations

from pathlib import Path

import click

from ops.cli import options


@click.command()
@click.argument("window", default="24h", type=click.Choice(["1h", "24h", "7d"]))
@click.argument("measure", default="change", type=click.Choice(["change", "volatility", "turnover"]))
@click.option("--limit", default=20, show_default=True, help="Number of symbols.")
@options.home
def command(window: str, measure: str, limit: int, home: Path | None) -> None:
    """Rank live symbols by MEASURE over a rolling WINDOW, highest first; by default by change over 24h."""
    from ops.export.outfile import write_frame
    from tapehouse.client.address import connected

    with connected(None, home) as db:
        write_frame(db.rankings(window, measure, limit=limit))  # type: ignore[arg-type]  # checked by click
