"""tapehouse catalog: what is stored, as a table or CSV."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ops.cli import options


@click.command()
@click.argument("kind", default="")
@options.venue
@options.home
def command(kind: str, venue: str | None, home: Path | None) -> None:
    """List the stored series: kind, venue, symbol, first and last time, rows. KIND: only trades, quotes or depth.

    Of trades those that count in bars.
    """
    from ops.export.outfile import write_frame
    from tapehouse.client import display
    from tapehouse.client.address import connected

    with connected(None, home) as db:
        found = db.catalog(kind or None, venue=venue)
    write_frame(display.catalog(found) if sys.stdout.isatty() else found)
