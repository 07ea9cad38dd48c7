"""tapehouse latest: last trades, as a table or CSV."""

from __future__ import annotations

from pathlib import Path

import click

from ops.cli import options


@click.command()
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@options.venue
@options.home
def command(symbols: tuple[str, ...], venue: str | None, home: Path | None) -> None:
    """Show the last trade of SYMBOLs, by default of all live ones of the venue."""
    from ops.export.outfile import write_frame
    from tapehouse.client.address import connected

    with connected(None, home) as db:
        write_frame(db.latest(symbols, venue=venue))
