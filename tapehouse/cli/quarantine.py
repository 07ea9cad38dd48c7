"""tapehouse quarantine: what was refused, why, and a second try."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from ingest.quarantine import Entry
    from ingest.retry import Outcome
    from tapehouse.settings import Settings


@click.group()
def command() -> None:
    """Look at what was refused, and try it again.

    Every refused row is kept with its original bytes, the reason, and where it came from.
    """


@command.command("list")
@click.option("--limit", default=50, show_default=True, help="Entries shown, newest last; 0 for all.")
@options.home
def list_(limit: int, home: Path | None) -> None:
    """List entries: id, when, kind, venue, where, reason."""
    import asyncio

    from tapehouse.clock import SECOND, iso
    from tapehouse.settings import load

    entries = asyncio.run(_entries(load(home)))
    shown = entries[-limit:] if limit else entries
    for entry in shown:
        at = iso(entry.at_ns // SECOND * SECOND)
        click.echo(f"{entry.id}\t{at}\t{entry.kind}\t{entry.venue}\t{entry.where}\t{entry.reason}")
    hidden = f", the last {len(shown):,} shown" if len(shown) < len(entries) else ""
    click.echo(f"{len(entries):,} in quarantine{hidden}", err=True)


@command.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@options.home
def show(ids: tuple[str, ...], home: Path | None) -> None:
    """Show entries whole, as JSON."""
    import asyncio

    from ingest.retry import as_json
    from tapehouse.settings import load

    entries = {entry.id: entry for entry in asyncio.run(_entries(load(home)))}
    for name in ids:
        _expect(name, entries)
        click.echo(as_json(entries[name]))


@command.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option("--all", "everything", is_flag=True, help="Every entry.")
@options.home
def retry(ids: tuple[str, ...], everything: bool, home: Path | None) -> None:
    """Read entries again; those that are rows now are brought in. Exit status 1 when any stays."""
    import asyncio
    import sys

    from tapehouse.errors import UsageError
    from tapehouse.settings import load

    if bool(ids) == everything:
        raise UsageError("retry: expected ids, or --all")
    settings = load(home)
    if ids:
        known = {entry.id for entry in asyncio.run(_entries(settings))}
        for name in ids:
            _expect(name, known)
    outcomes = asyncio.run(_retry(settings, set(ids) if ids else None))
    for outcome in outcomes:
        click.echo(f"{outcome.entry.id}\t{outcome.reason or 'accepted'}")
    stay = sum(outcome.reason is not None for outcome in outcomes)
    click.echo(f"{len(outcomes) - stay:,} accepted, {stay:,} stay", err=True)
    sys.exit(1 if stay else 0)


def _expect(name: str, known: set[str] | dict[str, Entry]) -> None:
    from tapehouse.errors import UsageError

    if name not in known:
        raise UsageError(
            f"quarantine: expected the id of an entry, was {name!r}",
            remedy="See `tapehouse quarantine list`; an id changes when others of its page are taken out.",
        )


async def _entries(settings: Settings) -> list[Entry]:
    from ingest.quarantine import Quarantine
    from tapehouse.bus import Bus

    async with Bus.opened(settings, "monitor") as bus:
        return [entry async for entry in Quarantine(bus).entries()]


async def _retry(settings: Settings, ids: set[str] | None) -> list[Outcome]:
    from ingest.retry import retry as retry_entries
    from tapehouse.bus import Bus

    async with Bus.opened(settings, "feed") as bus:
        return await retry_entries(bus, settings, ids)
