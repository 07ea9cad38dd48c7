"""tapehouse book: an order book as of a time, as a table or JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ops.cli import options
from ops.terminal import echo, echo_json


@click.command()
@click.argument("symbol")
@click.option("--at", help="The time, inclusive, as for query  [default: now]")
@click.option("--depth", default=10, show_default=True, help="Levels of each side.")
@options.venue
@options.home
def command(symbol: str, at: str | None, depth: int, venue: str | None, home: Path | None) -> None:
    """Show the order book of SYMBOL as of a time: the best levels of both sides, best first; JSON when piped."""
    from itertools import zip_longest

    import polars as pl

    from ops.export.table import print_frame
    from tapehouse.client.address import connected

    with connected(None, home) as db:
        book = db.book(symbol, at, venue=venue, depth=depth)
    if not sys.stdout.isatty():
        echo_json(book)
        return
    levels = [(*bid, *ask) for bid, ask in zip_longest(book["bids"], book["asks"], fillvalue=(None, None))]
    names = ("bid size", "bid", "ask", "ask size")
    rows = [(bid_size, bid, ask, ask_size) for bid, bid_size, ask, ask_size in levels]
    print_frame(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row"))
    broken = ", broken: an update is missing after it" if book["broken"] else ""
    echo(f"{book['symbol']} of {book['venue']}, updated {book['ts_event']}{broken}")
