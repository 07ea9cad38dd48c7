"""tapehouse features: features of bars, as a table or CSV."""

from __future__ import annotations

from pathlib import Path

import click

from ops.cli import options


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SYMBOL... INTERVAL")
@click.option("--start", help="Start, inclusive, as for query.")
@click.option("--end", help="End, exclusive  [default: up to the newest bar]")
@click.option("--last", type=int, help="Only the last N bars of each symbol; --start is optional then.")
@options.venue
@options.home
def command(
    names: tuple[str, ...],
    start: str | None,
    end: str | None,
    last: int | None,
    venue: str | None,
    home: Path | None,
) -> None:
    """Show the features of the bars of SYMBOLs of an INTERVAL, such as 1m: a row a bar, in order of time."""
    from ops.export.outfile import write_frame
    from tapehouse.client.address import connected
    from tapehouse.errors import UsageError

    *symbols, interval = names
    if not symbols:
        raise UsageError(
            f"features: expected symbols and the interval of their bars, was {interval!r} alone",
            remedy="Give both, such as `tapehouse features BTCUSDT 1m`.",
        )
    with connected(None, home) as db:
        write_frame(db.features(symbols, interval, start, end, venue=venue, last=last))
