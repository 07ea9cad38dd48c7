"""tapehouse quarantine: rejected rows, the reasons, and a retry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli import options
from ops.terminal import echo
from tapehouse.printable import one_line

if TYPE_CHECKING:
    from ingest.imports.retry import RetryOutcome
    from tapehouse.settings import Settings
    from tapehouse.stream.quarantine_pages import QuarantineEntry

_SHOWN_REASONS = 10


@click.group()
def command() -> None:
    """List, show and retry rejected rows.

    Every rejected row is stored with its original bytes, the reason, and its place in the source.
    """


@command.command("list")
@click.option(
    "--limit", default=50, show_default=True, help="Number of entries to show, newest last; 0: all."
)
@options.home
def list_(limit: int, home: Path | None) -> None:
    """List entries: id, time, kind, venue, place in the source, reason. Then the most frequent reasons."""
    import asyncio
    from collections import Counter

    from tapehouse.clock import SECOND, iso
    from tapehouse.platform import platform_settings
    from tapehouse.stream.quarantine_pages import expectation

    entries = asyncio.run(_entries(platform_settings(home)))
    shown = entries[-limit:] if limit else entries
    for entry in shown:
        at = iso(entry.at_ns // SECOND * SECOND)
        texts = (entry.id, at, entry.kind, entry.venue, entry.where, entry.reason)
        echo("\t".join(map(one_line, texts)))
    reasons = Counter(expectation(entry.reason) for entry in entries)
    for reason, count in reasons.most_common(_SHOWN_REASONS):
        echo(f"{count:>9,}  {reason}", err=True)
    if others := reasons.most_common()[_SHOWN_REASONS:]:
        echo(f"{sum(count for _, count in others):>9,}  {len(others):,} other reasons", err=True)
    hidden = f", the last {len(shown):,} shown" if len(shown) < len(entries) else ""
    echo(f"{len(entries):,} in quarantine{hidden}", err=True)
    if shown:
        echo(
            f"`tapehouse quarantine show {shown[-1].id}` shows the last one whole; `retry` stores those valid now.",
            err=True,
        )


@command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@options.home
def show(ids: tuple[str, ...], home: Path | None) -> None:
    """Show complete entries as JSON."""
    import asyncio

    from ingest.imports.retry import as_json
    from tapehouse.platform import platform_settings

    entries = {entry.id: entry for entry in asyncio.run(_entries(platform_settings(home)))}
    for name in ids:
        _expect(name, entries)
        echo(as_json(entries[name]))


@command.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="Retry every entry.")
@options.home
def retry(ids: tuple[str, ...], everything: bool, home: Path | None) -> None:
    """Parse entries again and store those that are valid now. Exit status 1 if any is still rejected."""
    import asyncio
    import sys

    from tapehouse.errors import UsageError
    from tapehouse.platform import platform_settings

    if bool(ids) == everything:
        raise UsageError("retry: expected ids or --all")
    settings = platform_settings(home)
    if ids:
        known = {entry.id for entry in asyncio.run(_entries(settings))}
        for name in ids:
            _expect(name, known)
    outcomes = asyncio.run(_retry(settings, set(ids) if ids else None))
    for outcome in outcomes:
        echo(f"{outcome.entry.id}\t{outcome.reason or 'accepted'}")
    stay = sum(outcome.reason is not None for outcome in outcomes)
    echo(f"{len(outcomes) - stay:,} accepted, {stay:,} still rejected", err=True)
    sys.exit(1 if stay else 0)


def _expect(name: str, known: set[str] | dict[str, QuarantineEntry]) -> None:
    from tapehouse.errors import UsageError

    if name not in known:
        raise UsageError(
            f"quarantine: expected the id of an entry, was {name!r}",
            remedy="See `tapehouse quarantine list`; an id changes when other entries of its message are removed.",
        )


async def _entries(settings: Settings) -> list[QuarantineEntry]:
    from ingest.quarantine import Quarantine
    from tapehouse.stream.bus import Bus

    async with Bus.opened(settings, "monitor") as bus:
        return [entry async for entry in Quarantine(bus).entries()]


async def _retry(settings: Settings, ids: set[str] | None) -> list[RetryOutcome]:
    from ingest.imports.retry import retry_entries
    from tapehouse.stream.bus import Bus

    async with Bus.opened(settings, "feed") as bus:
        return await retry_entries(bus, settings, ids)
