"""tapehouse timescale: the policies of TimescaleDB as documented and as found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli import options
from ops.terminal import add_row, console, echo, table, text

if TYPE_CHECKING:
    from tapehouse.settings import Timescale
    from tapehouse.stores.timescale import TimescaleClient
    from tapehouse.stores.timescale_policies import PolicyState


@click.group()
def command() -> None:
    """Look after the TimescaleDB server that the setting timescale.dsn names."""


@command.command()
@click.option(
    "--apply", "applies", is_flag=True, help="Apply the schema where it is missing, and mend what differs."
)
@options.home
def check(applies: bool, home: Path | None) -> None:
    """Show each policy as documented beside as found, and the SQL that mends what differs.

    Exit status 0 if nothing differs.
    """
    from tapehouse.settings import load
    from tapehouse.stores.timescale import TimescaleClient, check_server
    from tapehouse.stores.timescale_policies import apply, check_policies, unseen_views

    settings = load(home).timescale
    if not settings.dsn.get_secret_value():
        raise click.UsageError("timescale.dsn: expected a server, was not set; see docs/timescale.md")
    client = TimescaleClient(settings)
    try:
        version = check_server(client)
        if applies:
            _migrate(settings)
        mending = _show(client, check_policies(client), unseen_views(client))
        if mending and applies:
            apply(client, mending)
            echo(f"{len(mending)} statements applied")
            mending = _show(client, check_policies(client), unseen_views(client))
    finally:
        client.close()
    differs = (
        f"{len(mending)} statements mend what differs: --apply runs them" if mending else "nothing differs"
    )
    echo(f"TimescaleDB {version}: {differs}")
    sys.exit(1 if mending else 0)


def _migrate(settings: Timescale) -> None:
    from tapehouse.stores.migrations import migrate, migrations
    from tapehouse.stores.timescale_schema import TimescaleMigrations

    ledger = TimescaleMigrations(settings)
    try:
        for file in migrate(ledger, migrations("timescale")):
            echo(f"{file} applied")
    finally:
        ledger.close()


def _show(client: TimescaleClient, states: list[PolicyState], unseen: list[tuple[str, str]]) -> list[str]:
    """Print the policies and what differs; returns the statements that mend it."""
    shown = table("policy", "documented", "found", "next run", "last")
    for state in states:
        found = state.found
        last = (found.last_result or "") if found else ""
        add_row(
            shown,
            f"{state.policy.action} {state.policy.table}",
            state.documented,
            text(state.found_text, "red" if state.mending else ""),
            found.next_run if found else "",
            text(last.lower(), "red" if last == "Failed" else ""),
        )
    console().print(shown)
    for state in states:
        if state.found and state.found.last_result == "Failed" and state.found.last_error:
            echo(f"{state.policy.action} {state.policy.table} failed: {state.found.last_error}", err=True)
    mending = [statement for state in states for statement in state.mending]
    mending += [statement for _, statement in unseen]
    for statement in mending:
        echo(f"{statement};")
    return mending
