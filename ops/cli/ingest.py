"""tapehouse ingest: stores ticks from files and captures, and reports what became of every row."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ops.cli import options
from ops.terminal import echo, text_column
from tapehouse.printable import one_line

if TYPE_CHECKING:
    from ingest.files.options import TimeUnit
    from ingest.imports.file_feed import ImportSummary
    from ingest.imports.row_sources import RowSource
    from tapehouse.settings import Settings


_SHOWN_REASONS = 5
_SHOWN_STEP = 0.001
"""Unpacking tells of smaller ones, too many to draw."""
_NEXT_NAME = re.compile(r",(?=\s*\w+=)")
"""A comma before another NAME=; any other belongs to a column's name."""


def _mapping(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in (pair for value in values for pair in _NEXT_NAME.split(value)):
        name, _, column = (part.strip() for part in pair.partition("="))
        if not (name and column):
            raise click.BadParameter(f"expected NAME=COLUMN,NAME=COLUMN, was {pair!r}")
        if found.setdefault(name, column) != column:
            raise click.BadParameter(f"expected one column for {name}, was {found[name]!r} and {column!r}")
    return found


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
    "--venue", help="Source of the rows: an exchange, or a consolidated tape. Account trades have none."
)
@click.option("--symbol", help="Symbol of every row, if the file has no symbol column.")
@click.option(
    "--kind",
    help="trades, quotes, depth or account_trades  [default: trades; for a capture, every kind in it]",
)
@click.option(
    "--map",
    "mapping",
    callback=_mapping,
    multiple=True,
    metavar="NAME=COLUMN,...",
    help="Columns of the file, such as ts=TIME,price=PX,seq=ID; may be given several times. - leaves one out (id=-). "
    "Common names are recognised without it. date=COLUMN joins times of day with their dates.",
)
@click.option(
    "--time-unit",
    type=click.Choice(["s", "ms", "us", "ns"]),
    help="Unit of times that are numbers  [default: inferred]",
)
@click.option("--naive-as-utc", is_flag=True, help="Read times without a zone as UTC: --timezone UTC.")
@click.option(
    "--timezone",
    metavar="NAME",
    help="Read times without a zone as those of this one, such as America/New_York.",
)
@click.option(
    "--date",
    metavar="YYYY-MM-DD",
    help="The day of a file whose times are those of a day, such as 09:30:00.123 or milliseconds since midnight, in "
    "--timezone  [default: UTC].",
)
@click.option(
    "--number-by",
    type=click.Choice(["id", "time"]),
    help="Number rows by their ids, in whatever order these are, or by their times  [default: by ids that rise with "
    "the times, else by times where there are none]",
)
@click.option("--cold", is_flag=True, help="Write closed days of old history straight to ClickHouse.")
@click.option(
    "--speed",
    callback=_speed,
    default="max",
    show_default=True,
    help="Pace: max, or a multiple of real time such as 1x or 60x.",
)
@click.option(
    "--no-wait",
    is_flag=True,
    help="Return when NATS has the rows, without waiting until they can be queried.",
)
@click.option(
    "--dry-run", is_flag=True, help="Store nothing; show the columns, the first rows and the first bars."
)
@options.home
def command(
    files: tuple[Path, ...],
    venue: str | None,
    symbol: str | None,
    kind: str | None,
    mapping: dict[str, str],
    time_unit: TimeUnit | None,
    naive_as_utc: bool,
    timezone: str | None,
    date: str | None,
    number_by: Literal["id", "time"] | None,
    speed: float | None,
    cold: bool,
    no_wait: bool,
    dry_run: bool,
    home: Path | None,
) -> None:
    """Store ticks or account trades from CSV, Parquet, JSON lines or captures of a socket, plain or gzipped.

    Returns when the rows can be queried. Invalid rows go to quarantine, the others are stored. An interrupted run
    resumes when it is started again; a file that is ingested twice adds nothing. Exit status 1 if all rows of a file
    are invalid.
    """
    import asyncio

    from ingest.accounts.request import VENUE
    from ingest.files.options import UTC, ReadOptions
    from ingest.imports.row_sources import open_row_source
    from ops.cli.preview import print_preview
    from tapehouse.errors import NumberingError, SourceError, UsageError
    from tapehouse.model import ACCOUNT_TRADES, kind_named
    from tapehouse.platform import platform_settings
    from tapehouse.settings import load

    if cold and speed is not None:
        raise UsageError("--cold: cannot be combined with --speed")
    if naive_as_utc and timezone not in (None, UTC):
        raise UsageError("--naive-as-utc: cannot be combined with --timezone of another zone")
    read_options = ReadOptions(mapping, time_unit, UTC if naive_as_utc else timezone, date, number_by)
    chosen = kind_named(kind) if kind else None
    ignored: list[str] = []
    if chosen is ACCOUNT_TRADES:
        given = {"--venue": venue, "--symbol": symbol}
        ignored = [
            f"{name} {value} ignored: account trades have none" for name, value in given.items() if value
        ]
        venue, symbol = VENUE, None
    elif venue is None:
        raise UsageError("--venue: expected the source of the rows, was not given")
    venue = _name("--venue", venue)
    symbol = None if symbol is None else _name("--symbol", symbol)

    settings = load(home) if dry_run else platform_settings(home)

    def ingest(file: Path) -> bool:
        """Whether some rows were good, or there were none."""
        with ExitStack() as opened:
            with _unpacking(file.name) as unpacking:
                source = opened.enter_context(
                    open_row_source(
                        file,
                        chosen,
                        venue,
                        symbol,
                        read_options,
                        sort_folder=settings.home if settings.home.is_dir() else None,
                        unpacking=unpacking,
                    )
                )
            for note in (*ignored, *source.notes):
                echo(f"{file.name}: {note}", err=True)
            if dry_run:
                return print_preview(source)
            ingesting = (
                _ingest_cold(settings, source) if cold else _ingest(settings, source, speed, not no_wait)
            )
            summary = asyncio.run(ingesting)
        _print_summary(file.name, summary)
        return not 0 < summary.rows == summary.quarantined

    status = 0
    for file in files:
        try:
            status = max(status, 0 if ingest(file) else 1)
        except (SourceError, NumberingError, UsageError) as reason:
            # The next file may be sound.
            echo(f"error: {_with_path(file, str(reason))}", err=True)
            status = max(status, reason.exit_status)
    if status:
        sys.exit(status)


def _name(option: str, given: str) -> str:
    """The name that an option gives, as a column of a file would."""
    from tapehouse.errors import UsageError
    from tapehouse.model import NAME_MAX

    name = given.strip()
    if not name:
        raise UsageError(f"{option}: expected a name, was {given!r}")
    if len(name) > NAME_MAX:
        raise UsageError(f"{option}: expected at most {NAME_MAX} characters, was {len(name):,}")
    return name


def _with_path(file: Path, message: str) -> str:
    """An error's message, beginning with the file as the user named it."""
    for known in (f"{file}: ", f"{file.name}: "):
        message = message.removeprefix(known)
    return f"{file}: {message}"


async def _ingest(settings: Settings, source: RowSource, speed: float | None, waits: bool) -> ImportSummary:
    """Ingest one source through the stream."""
    from ingest.imports.file_feed import FileFeed
    from tapehouse.errors import SourceError
    from tapehouse.stream.bus import Bus

    async with Bus.opened(settings, "feed") as bus:
        with _progress(source.name) as progress:
            feed = FileFeed(source, bus, settings, speed=speed, waits=waits, progress=progress)
            try:
                summary = await feed.run()
            except SourceError:
                # The rows before the damage are stored.
                _print_summary(source.name, feed.summary)
                raise
    if summary.late and waits:
        await _merge_late(settings, summary)
    return summary


async def _merge_late(settings: Settings, summary: ImportSummary) -> None:
    """Merge the rows of days that ClickHouse owns into it; what is not merged stays counted as late."""
    from analytics.mirror.jobs import merge_late_once
    from tapehouse.stream.bus import Bus

    async with Bus.opened(settings, "mirror") as bus:
        report = await merge_late_once(settings, bus)
    if not (report.waiting or report.failed):
        summary.late = 0


async def _ingest_cold(settings: Settings, source: RowSource) -> ImportSummary:
    """Ingest one source straight into the cold store."""
    from analytics.mirror.cold_import import ColdImport
    from ingest.imports.cold_feed import ColdFeed
    from ingest.imports.file_feed import ImportSummary
    from tapehouse.stream.bus import Bus

    async with Bus.opened(settings, "feed") as bus, Bus.opened(settings, "mirror") as owner:
        with _progress(source.name) as progress:
            feed = ColdFeed(source, bus, settings, progress)
            done = await ColdImport(settings, owner).run(feed.batches())
            return ImportSummary(
                done.accepted,
                done.duplicate + feed.duplicate,
                done.corrected,
                feed.quarantined,
                notes=source.reading_notes,
                reasons=feed.reasons,
            )


@contextmanager
def _unpacking(name: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal while a file is unpacked; the callback takes the part of it that was read."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (text_column("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task(f"unpacking {one_line(name)}", total=1.0, visible=False)
        shown = 0.0

        def show(fraction: float) -> None:
            nonlocal shown
            if fraction - shown >= _SHOWN_STEP:
                shown = fraction
                bar.update(task, completed=fraction, visible=True)

        yield show


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, float], None]]:
    """A progress bar on a terminal; the callback takes the rows read and the fraction done."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (text_column("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    rows = text_column("{task.fields[rows]:,} rows")
    with Progress(*columns, rows, transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task(one_line(name), total=1.0, rows=0)
        yield lambda rows, fraction: bar.update(task, completed=fraction, rows=rows)


def _print_summary(name: str, summary: ImportSummary) -> None:
    for note in summary.notes:
        echo(f"{name}: {note}", err=True)
    counts = (
        f"{summary.accepted:,} accepted, {summary.duplicate:,} duplicate, {summary.quarantined:,} quarantined"
    )
    if summary.corrected:
        counts += f", {summary.corrected:,} corrected"
    if summary.late:
        echo(
            f"{name}: {summary.late:,} of them are of days that ClickHouse owns: they wait until the mirror merges "
            "them (`tapehouse mirror run`)",
            err=True,
        )
    resumed = " (resumed after an interrupted run)" if summary.resumed else ""
    echo(f"{name}: {summary.rows:,} rows: {counts}{resumed}")
    for reason, rows in summary.reasons.most_common(_SHOWN_REASONS):
        echo(f"{name}: {rows:,} quarantined: {reason}", err=True)
    if summary.quarantined:
        echo("`tapehouse quarantine list` shows the rows.", err=True)
