"""tapehouse ingest: files and captures onto the stream, with a word on every row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from ingest.filefeed import Readable, Summary
    from tapehouse.settings import Settings


def _mapping(ctx: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, str]:
    if not value:
        return {}
    pairs = [pair.partition("=") for pair in value.split(",")]
    if any(not (name and column) for name, _, column in pairs):
        raise click.BadParameter(f"expected name=COLUMN,name=COLUMN, was {value!r}")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _speed(ctx: click.Context, parameter: click.Parameter, value: str) -> float | None:
    if value == "max":
        return None
    try:
        speed = float(value.removesuffix("x"))
    except ValueError:
        speed = 0
    if not 0 < speed <= 1_000_000:
        raise click.BadParameter(
            f"expected max, 1x or another multiple of real time such as 60x, was {value!r}"
        )
    return speed


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--venue", help="The source of the rows: an exchange, or a consolidated tape. Account trades have none."
)
@click.option("--symbol", help="Of every row, where the file has no column for it.")
@click.option(
    "--kind", help="trades, quotes, depth or account_trades  [default: trades; of a capture all it holds]"
)
@click.option(
    "--map",
    "mapping",
    callback=_mapping,
    metavar="NAME=COLUMN,...",
    help="Which column of the file is which, such as ts=TIME,price=PX,seq=ID. Usual names are found without.",
)
@click.option("--time-unit", type=click.Choice(["s", "ms", "us", "ns"]), help="Of times given as numbers.")
@click.option("--naive-as-utc", is_flag=True, help="Take times without a zone as UTC.")
@click.option("--continue", "continuing", is_flag=True, help="The file goes on where the stored rows end.")
@click.option("--cold", is_flag=True, help="Straight to the cold store: old history, of closed days.")
@click.option(
    "--speed",
    callback=_speed,
    default="max",
    show_default=True,
    help="max, or a multiple of real time: 1x, 60x.",
)
@options.home
def command(
    files: tuple[Path, ...],
    venue: str | None,
    symbol: str | None,
    kind: str | None,
    mapping: dict[str, str],
    time_unit: str | None,
    naive_as_utc: bool,
    continuing: bool,
    speed: float | None,
    cold: bool,
    home: Path | None,
) -> None:
    """Bring files of ticks or account trades in: CSV, Parquet, JSON lines, captures of a socket, each plain or gzipped.

    Returns when the rows can be queried. Rows that cannot be used go to the quarantine, the others in. A run
    that was cut off goes on where it was when it is started again; a file brought in twice adds nothing.
    """
    import asyncio

    from ingest.accountrequest import VENUE
    from ingest.readable import open_readable
    from tapehouse.errors import UsageError
    from tapehouse.model import ACCOUNT_TRADES, kind_named
    from tapehouse.settings import load

    if cold and (continuing or speed is not None):
        raise UsageError("--cold: cannot be joined with --continue or --speed")
    settings = load(home)
    chosen = kind_named(kind) if kind else None
    unkept: list[str] = []
    if chosen is ACCOUNT_TRADES:
        given = {"--venue": venue, "--symbol": symbol}
        unkept = [
            f"{name} {value} left out: account trades have none" for name, value in given.items() if value
        ]
        venue, symbol = VENUE, None
    elif not venue:
        raise UsageError("--venue: expected the source of the rows, was nothing")
    for file in files:
        with open_readable(
            file, chosen, venue, symbol, mapping, time_unit=time_unit, naive_as_utc=naive_as_utc
        ) as source:
            for note in (*unkept, *source.notes):
                click.echo(f"{file.name}: {note}", err=True)
            bringing = _bring_cold(settings, source) if cold else _bring(settings, source, continuing, speed)
            summary = asyncio.run(bringing)
        _tell(file.name, summary)


async def _bring(settings: Settings, source: Readable, continuing: bool, speed: float | None) -> Summary:
    """Bring one source in."""
    from ingest.filefeed import FileFeed
    from tapehouse.bus import Bus
    from tapehouse.errors import SourceError

    async with Bus.opened(settings, "feed") as bus:
        with _progress(source.name) as progress:
            feed = FileFeed(source, bus, settings, continuing=continuing, speed=speed, progress=progress)
            try:
                return await feed.run()
            except SourceError:
                # The rows before the damage are in.
                _tell(source.name, feed.summary)
                raise


async def _bring_cold(settings: Settings, source: Readable) -> Summary:
    """Bring one source straight to the cold store."""
    from analytics.importing import Import
    from ingest.coldfeed import ColdFeed
    from ingest.filefeed import Summary
    from tapehouse.bus import Bus

    async with Bus.opened(settings, "feed") as bus, Bus.opened(settings, "mirror") as owner:
        with _progress(source.name) as progress:
            feed = ColdFeed(source, bus, progress)
            done = await Import(settings, owner, feed.may_correct).run(feed.batches())
            return Summary(done.accepted, done.duplicate, done.corrected, feed.quarantined)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, float], None]]:
    """A bar of progress on a terminal, told rows read and the fraction done."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    rows = TextColumn("{task.fields[rows]:,} rows")
    with Progress(*columns, rows, transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task(name, total=1.0, rows=0)
        yield lambda rows, fraction: bar.update(task, completed=fraction, rows=rows)


def _tell(name: str, summary: Summary) -> None:
    counts = (
        f"{summary.accepted:,} accepted, {summary.duplicate:,} duplicate, {summary.quarantined:,} quarantined"
    )
    if summary.corrected:
        counts += f", {summary.corrected:,} corrected"
    resumed = " (gone on with after an earlier run was cut off)" if summary.resumed else ""
    click.echo(f"{name}: {summary.rows:,} rows: {counts}{resumed}")
    if summary.quarantined:
        click.echo("See `tapehouse quarantine list` for the reasons.", err=True)
