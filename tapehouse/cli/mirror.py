"""tapehouse mirror: closed days copied to the cold store, compared, and old ones let go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from analytics.mirror import Progress
    from analytics.retention import Retained
    from tapehouse.bus import Bus
    from tapehouse.settings import Settings

_NO_ROWS = "nothing is stored yet"


@click.group()
def command() -> None:
    """Copy closed days to the cold store, prove them, and let old ones go.

    The platform does all this by itself; these commands do it now, or show how it is.
    """


@command.command()
@click.option(
    "--accept-loss", is_flag=True, help="Copy days, too, that have fewer rows in the hot store than they had."
)
@options.home
def run(accept_loss: bool, home: Path | None) -> None:
    """Copy the days that need it, merge what came late, hand over and drop what is too old."""
    from analytics.schedule import run_once
    from tapehouse.settings import load

    settings = load(home)
    done = _with_bus(
        settings, lambda bus, progress: run_once(settings, bus, progress, accepts_loss=accept_loss)
    )
    for entry in done.copies.copied:
        speed = entry.rows / entry.seconds if entry.seconds else 0
        click.echo(
            f"{entry.day} {entry.kind}: {entry.rows:,} rows proven in {entry.seconds:.1f} s "
            f"({speed:,.0f} rows/s, {entry.bytes:,} bytes moved)"
        )
    for merged in done.late.merged:
        click.echo(
            f"{merged.entry.day} {merged.entry.kind}: late ticks merged: {merged.accepted:,} new, "
            f"{merged.duplicate:,} known, {merged.corrected:,} corrected"
        )
    for kind, day in done.copies.waiting:
        click.echo(f"{day} {kind}: is being written, a later run copies it", err=True)
    for line in done.failed:
        click.echo(f"failed: {line}", err=True)
    click.echo(str(done))
    sys.exit(1 if done.failed else 0)


@command.command()
@options.home
def verify(home: Path | None) -> None:
    """Compare every closed day in both stores, whatever is known of it, and heal what differs.

    Exit status 0 when all that could be compared is equal now.
    """
    from analytics.schedule import verify_once
    from tapehouse.settings import load

    settings = load(home)
    verdict = _with_bus(settings, lambda bus, progress: verify_once(settings, bus, progress))
    for difference in verdict.differing:
        click.echo(f"differs: {difference}")
    for (kind, day), reason in sorted(verdict.failed.items()):
        click.echo(f"not copied: {kind} of {day}: {reason}", err=True)
    for (kind, day), reason in sorted(verdict.unknown.items()):
        click.echo(f"not compared: {kind} of {day}: {reason}", err=True)
    healed = sum(difference.healed for difference in verdict.differing)
    click.echo(
        f"{len(verdict.equal):,} days equal, {len(verdict.differing):,} differed, {healed:,} healed, "
        f"{len(verdict.unknown):,} not compared"
    )
    sys.exit(0 if verdict.is_good else 1)


@command.command()
@click.option("--rehearse", is_flag=True, help="Only print what would go.")
@click.option("--hot-days", type=click.IntRange(0), help="Closed days that the hot store keeps; 0 for all.")
@click.option("--cold-years", type=click.IntRange(0), help="Years that the cold store keeps; 0 for all.")
@options.home
def retain(rehearse: bool, hot_days: int | None, cold_years: int | None, home: Path | None) -> None:
    """Hand old days over to the cold store and let them go from the hot one; let old years go.

    Without numbers as the settings say. Nothing goes that is not proven.
    """
    from analytics.mirror import Mirror
    from analytics.retention import Retention
    from tapehouse.settings import load

    settings = load(home)

    async def work(bus: Bus, progress: Progress) -> Retained:
        async with Mirror.leased(settings, bus) as mirror:
            retention = Retention(mirror, hot_days=hot_days, cold_years=cold_years)
            return await (retention.rehearse() if rehearse else retention.run(progress))

    done = _with_bus(settings, work)
    would = "would be " if rehearse else ""
    for what, keys in (
        (f"{would}handed over to the cold store", done.handed_over),
        (f"{would}dropped from the hot store", done.hot_dropped),
        (f"{would}dropped from the cold store", done.cold_dropped),
    ):
        for kind, day in keys:
            click.echo(f"{day} {kind}: {what}")
    for (kind, day), reason in sorted(done.kept.items()):
        click.echo(f"{day} {kind}: kept: {reason}", err=True)
    if not (done.handed_over or done.hot_dropped or done.cold_dropped or done.kept):
        click.echo("nothing is old enough to go")
    sys.exit(1 if done.kept and not rehearse else 0)


@command.command()
@click.option("--kind", help="Of this kind alone.")
@click.option("--limit", default=50, show_default=True, help="Days shown, newest first; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@options.home
def status(kind: str | None, limit: int, as_json: bool, home: Path | None) -> None:
    """Show the days by store: rows, bytes, state, and how long ago the copy was proven.

    States: open (not closed yet), hot only, proven, stale (to be copied again), cold only.
    """
    import asyncio
    import json

    from analytics.table import known_days, rows
    from tapehouse.bus import Bus
    from tapehouse.settings import load

    settings = load(home)

    async def read() -> list[dict[str, Any]]:
        async with Bus.opened(settings, "monitor") as bus:
            return rows(await known_days(settings, bus))

    found = [row for row in asyncio.run(read()) if kind in (None, row["kind"])]
    shown = found[:limit] if limit else found
    if as_json:
        for row in shown:
            click.echo(json.dumps(row))
        return
    if not found:
        click.echo(_NO_ROWS)
        return
    _show(shown)
    if len(shown) < len(found):
        click.echo(f"{len(found):,} days and kinds, the newest {len(shown):,} shown", err=True)


def _show(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("day", "kind", "state"):
        table.add_column(heading)
    for heading in ("hot rows", "hot MB", "cold rows", "cold MB", "proven"):
        table.add_column(heading, justify="right")
    styles = {"proven": "green", "cold only": "cyan", "stale": "red", "hot only": "yellow", "open": "dim"}
    for row in found:
        table.add_row(
            row["day"],
            row["kind"],
            f"[{styles[row['state']]}]{row['state']}[/]",
            _count(row["hot_rows"]),
            _megabytes(row["hot_bytes"]),
            _count(row["cold_rows"]),
            _megabytes(row["cold_bytes"]),
            _ago(row["age_s"]),
        )
    Console().print(table)


def _count(rows: int) -> str:
    return f"{rows:,}" if rows else ""


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}" if size else ""


def _ago(seconds: int | None) -> str:
    if seconds is None:
        return ""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def _with_bus(settings: Settings, work: Callable[[Bus, Progress], Awaitable[Any]]) -> Any:
    """Do `work` as the mirror, with a bar of progress on a terminal."""
    import asyncio

    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from analytics.mirror import Progress
    from tapehouse import log
    from tapehouse.bus import Bus

    log.configure(quiet=sys.stdout.isatty())

    class Shown(Progress):
        def __init__(self, bar: Bar) -> None:
            self._bar = bar
            self._task = bar.add_task("mirror", total=None)
            self._rows = 0

        def begins(self, rows: int) -> None:
            self._rows += rows
            self._bar.update(self._task, total=self._rows)

        def moved(self, rows: int) -> None:
            self._bar.advance(self._task, rows)

    async def do() -> Any:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        rows = TextColumn("{task.completed:,.0f} rows")
        async with Bus.opened(settings, "mirror") as bus:
            with Bar(*columns, rows, transient=True, disable=not sys.stdout.isatty()) as bar:
                return await work(bus, Shown(bar))

    return asyncio.run(do())
