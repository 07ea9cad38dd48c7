"""tapehouse status: every part's state, for people and for scripts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tapehouse.cli import options

if TYPE_CHECKING:
    from tapehouse.settings import Settings

_LISTEN_S = 1.5


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@options.home
def command(as_json: bool, home: Path | None) -> None:
    """Show the parts of the platform in the home folder. Exit status 0 only when every part is ready."""
    import asyncio
    import json

    from tapehouse.settings import load
    from tapehouse.stack import view

    settings = load(home)
    run = view.read(settings.home)
    reports = asyncio.run(_reports(settings)) if run.pid else []
    ready = bool(run.pid and run.parts and all(part.state == "ready" for part in run.parts))
    ready = ready and all(report["state"] == "ready" for report in reports)
    said: dict[str, Any] = {
        "home": str(settings.home),
        "pid": run.pid,
        "ready": ready,
        "parts": [
            {"name": part.name, "state": str(part.state), "pid": part.pid, "address": part.address,
             "restarts": part.restarts, "detail": part.detail}
            for part in run.parts
        ],
        "roles": reports,
    }  # fmt: skip
    if as_json:
        click.echo(json.dumps(said, indent=2))
    else:
        _show(said)
    sys.exit(0 if ready else 1)


async def _reports(settings: Settings) -> list[dict[str, Any]]:
    """What the roles say within a second and a half."""
    import asyncio
    import json

    from nats.aio.msg import Msg

    from tapehouse.bus import Bus
    from tapehouse.errors import ConnectError

    heard: dict[str, dict[str, Any]] = {}

    async def hear(message: Msg) -> None:
        heard[message.subject] = json.loads(message.data)

    try:
        bus = await Bus.connect(settings, "monitor", timeout=2)
    except ConnectError:
        return []
    try:
        await bus.client.subscribe("health.>", cb=hear)
        await asyncio.sleep(_LISTEN_S)
    finally:
        await bus.close()
    return [heard[subject] for subject in sorted(heard)]


def _show(said: dict[str, Any]) -> None:
    if not said["parts"]:
        click.echo(f"nothing runs in {said['home']}; start it with `tapehouse up`")
        return
    from rich.console import Console
    from rich.table import Table

    runner = f"runner {said['pid']}" if said["pid"] else "no runner"
    table = Table(box=None, pad_edge=False)
    for heading in ("part", "state", "pid", "address", "restarts", "detail"):
        table.add_column(heading, overflow="fold")
    for part in said["parts"]:
        values = (part[name] for name in ("name", "state", "pid", "address", "restarts", "detail"))
        table.add_row(*("" if value is None else str(value) for value in values))
    console = Console()
    console.print(f"{said['home']}: {runner}")
    console.print(table)
    for report in said["roles"]:
        lag = "" if report["lag_ms"] is None else f", lag {report['lag_ms']:.1f} ms"
        if report["skew_ms"] is not None:
            lag += f", clock {report['skew_ms']:+,.1f} ms from the venue's, {report['gaps']:,} open gaps"
        console.print(
            f"{report['role']} {report['instance']}: {report['state']} {report['detail']} "
            f"{report['rows']:,} rows, {report['rows_s']:,.0f} rows/s{lag}, {report['quarantined']:,} quarantined"
        )
