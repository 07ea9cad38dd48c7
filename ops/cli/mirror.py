"""tapehouse mirror: copies closed days to the cold store, compares them, and applies retention."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli import options
from ops.terminal import add_row, console, echo, echo_json, table, text, text_column

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from analytics.mirror.retention import RetentionReport
    from analytics.mirror.session import MirrorProgress
    from tapehouse.settings import Settings
    from tapehouse.stream.bus import Bus

_NO_ROWS = "no rows are stored yet"


@click.group()
def command() -> None:
    """Copy closed days to ClickHouse (the cold store), verify the copies, and apply retention.

    A running platform does this on a schedule; these commands do it now, or show the state.
    """


@command.command()
@click.option("--accept-loss", is_flag=True, help="Also copy days of which the hot store has lost rows.")
@options.home
def run(accept_loss: bool, home: Path | None) -> None:
    """Copy days that changed, merge late ticks, hand over and drop days by the retention settings."""
    from analytics.mirror.jobs import run_once
    from tapehouse.platform import platform_settings

    settings = platform_settings(home)
    done = _with_bus(
        settings, lambda bus, progress: run_once(settings, bus, progress, accepts_loss=accept_loss)
    )
    for entry in done.copies.copied:
        speed = entry.rows / entry.seconds if entry.seconds else 0
        echo(
            f"{entry.day} {entry.kind}: {entry.rows:,} rows proven in {entry.seconds:.1f} s "
            f"({speed:,.0f} rows/s, {entry.bytes:,} bytes moved)"
        )
    for merged in done.late.merged:
        echo(
            f"{merged.entry.day} {merged.entry.kind}: late ticks merged: {merged.accepted:,} new, "
            f"{merged.duplicate:,} known, {merged.corrected:,} corrected"
        )
    for kind, day in done.copies.waiting:
        echo(f"{day} {kind}: still being written; a later run copies it", err=True)
    for line in done.failed:
        echo(f"failed: {line}", err=True)
    echo(str(done))
    sys.exit(1 if done.failed else 0)


@command.command()
@options.home
def verify(home: Path | None) -> None:
    """Compare every closed day in both stores, and repair what differs.

    Exit status 0 if all days that could be compared are equal now.
    """
    from analytics.mirror.jobs import verify_once
    from tapehouse.platform import platform_settings

    settings = platform_settings(home)
    verdict = _with_bus(settings, lambda bus, progress: verify_once(settings, bus, progress))
    for difference in verdict.differing:
        echo(f"differs: {difference}")
    for (kind, day), reason in sorted(verdict.failed.items()):
        echo(f"not copied: {kind} of {day}: {reason}", err=True)
    for (kind, day), reason in sorted(verdict.unknown.items()):
        echo(f"not compared: {kind} of {day}: {reason}", err=True)
    healed = sum(difference.healed for difference in verdict.differing)
    echo(
        f"{len(verdict.equal):,} days equal, {len(verdict.differing):,} differed, {healed:,} healed, "
        f"{len(verdict.unknown):,} not compared"
    )
    sys.exit(0 if verdict.is_good else 1)


@command.command()
@click.option("--rehearse", is_flag=True, help="Only print what would be handed over and dropped.")
@click.option(
    "--hot-days",
    type=click.IntRange(0),
    help="Closed days that the hot store keeps; 0: all  [default: setting]",
)
@click.option(
    "--cold-years", type=click.IntRange(0), help="Years that the cold store keeps; 0: all  [default: setting]"
)
@options.home
def retain(rehearse: bool, hot_days: int | None, cold_years: int | None, home: Path | None) -> None:
    """Hand old days over to the cold store, drop them from the hot store, and drop old years from the cold store.

    A day that is not proven is never dropped.
    """
    from analytics.mirror.retention import Retention
    from analytics.mirror.session import MirrorSession
    from tapehouse.platform import platform_settings

    settings = platform_settings(home)

    async def work(bus: Bus, progress: MirrorProgress) -> RetentionReport:
        async with MirrorSession.leased(settings, bus) as mirror:
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
            echo(f"{day} {kind}: {what}")
    for (kind, day), reason in sorted(done.kept.items()):
        echo(f"{day} {kind}: kept: {reason}", err=True)
    if not (done.handed_over or done.hot_dropped or done.cold_dropped or done.kept):
        echo("no day is old enough")
    sys.exit(1 if done.kept and not rehearse else 0)


@command.command()
@click.option("--kind", help="Only days of this kind.")
@click.option("--limit", default=50, show_default=True, help="Number of days to show, newest first; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@options.home
def status(kind: str | None, limit: int, as_json: bool, home: Path | None) -> None:
    """Show the days of each store: rows, bytes, state, and how long ago the copy was proven.

    States: open (today), hot only (not copied yet), proven, stale (changed since the copy), cold only.
    """
    import asyncio

    from analytics.mirror.listing import as_records, list_days
    from tapehouse.platform import platform_settings
    from tapehouse.stream.bus import Bus

    settings = platform_settings(home)

    async def read() -> list[dict[str, Any]]:
        async with Bus.opened(settings, "monitor") as bus:
            return as_records(await list_days(settings, bus))

    found = [row for row in asyncio.run(read()) if kind in (None, row["kind"])]
    shown = found[:limit] if limit else found
    if as_json:
        for row in shown:
            echo_json(row)
        return
    if not found:
        echo(_NO_ROWS)
        return
    _show(shown)
    if len(shown) < len(found):
        echo(f"{len(found):,} entries, the newest {len(shown):,} shown", err=True)


def _show(found: list[dict[str, Any]]) -> None:
    numbers = ("hot rows", "hot MB", "cold rows", "cold MB", "proven")
    shown = table("day", "kind", "state", *numbers, right=numbers)
    styles = {"proven": "green", "cold only": "cyan", "stale": "red", "hot only": "yellow", "open": "dim"}
    for row in found:
        add_row(
            shown,
            row["day"],
            row["kind"],
            text(row["state"], styles[row["state"]]),
            _count(row["hot_rows"]),
            _megabytes(row["hot_bytes"]),
            _count(row["cold_rows"]),
            _megabytes(row["cold_bytes"]),
            _ago(row["age_s"]),
        )
    console().print(shown)


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


def _with_bus(settings: Settings, work: Callable[[Bus, MirrorProgress], Awaitable[Any]]) -> Any:
    """Run `work` on a bus connected as the mirror, with a progress bar on a terminal."""
    import asyncio

    from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from analytics.mirror.session import MirrorProgress
    from tapehouse import log
    from tapehouse.stream.bus import Bus

    log.configure(quiet=sys.stdout.isatty())

    class _ShownProgress(MirrorProgress):
        def __init__(self, bar: Bar) -> None:
            self._bar = bar
            self._task = bar.add_task("mirror", total=None)
            self._rows = 0

        def start(self, rows: int) -> None:
            self._rows += rows
            self._bar.update(self._task, total=self._rows)

        def advance(self, rows: int) -> None:
            self._bar.advance(self._task, rows)

    async def do() -> Any:
        columns = (
            text_column("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        rows = text_column("{task.completed:,.0f} rows")
        async with Bus.opened(settings, "mirror") as bus:
            with Bar(*columns, rows, transient=True, disable=not sys.stdout.isatty()) as bar:
                return await work(bus, _ShownProgress(bar))

    return asyncio.run(do())
