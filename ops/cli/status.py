"""tapehouse status: every part's state, for people and for scripts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops.cli import options
from ops.terminal import echo, echo_json
from tapehouse.printable import one_line

if TYPE_CHECKING:
    from ops.stack.view import RunView
    from tapehouse.settings import Settings

_LISTEN_S = 1.5


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.home
def command(as_json: bool, home: Path | None) -> None:
    """Show the parts of the platform in the home folder. Exit status 0 only when every part is ready."""
    import asyncio

    from ops.stack import view
    from tapehouse.settings import load

    settings = load(home)
    run = view.read(settings.home)
    heard, quarantined = asyncio.run(_reports(settings)) if run.pid else ({}, None)
    reports = [heard[subject] for subject in sorted(heard)]
    ready = bool(run.pid and run.parts and all(part.state == "ready" for part in run.parts))
    ready = ready and all(report["state"] == "ready" for report in reports)
    document: dict[str, Any] = {
        "home": str(settings.home),
        "pid": run.pid,
        "ready": ready,
        "parts": [
            {"name": part.name, "state": str(part.state), "pid": part.pid, "address": part.address,
             "restarts": part.restarts, "detail": part.detail}
            for part in run.parts
        ],
        "roles": reports,
        "quarantined": quarantined,
    }  # fmt: skip
    if as_json:
        echo_json(document, indent=2)
    else:
        _show(settings.home, run, heard)
        if quarantined:
            rows = "1 row" if quarantined == 1 else f"{quarantined:,} rows"
            echo(f"{rows} in quarantine: see `tapehouse quarantine list`")
    sys.exit(0 if ready else 1)


async def _reports(settings: Settings) -> tuple[dict[str, dict[str, Any]], int | None]:
    """(the health reports that roles publish within 1.5 s, by subject, the rows in quarantine, None where that is not
    known)."""
    import asyncio
    import contextlib
    import json

    from nats.aio.msg import Msg
    from nats.errors import Error as NatsError
    from nats.js.errors import Error as JetStreamError

    from ingest.quarantine import Quarantine
    from tapehouse.errors import ConnectError
    from tapehouse.stream.bus import Bus

    reports: dict[str, dict[str, Any]] = {}

    async def receive(message: Msg) -> None:
        reports[message.subject] = json.loads(message.data)

    try:
        bus = await Bus.connect(settings, "monitor", timeout=2)
    except ConnectError:
        return {}, None
    quarantined: int | None = None
    try:
        await bus.client.subscribe("health.>", cb=receive)
        await asyncio.sleep(_LISTEN_S)
        # While the platform starts there may be no stream yet.
        with contextlib.suppress(JetStreamError, NatsError):
            quarantined = await Quarantine(bus).rows()
    finally:
        await bus.close()
    return reports, quarantined


def _show(home: Path, run: RunView, reports: dict[str, dict[str, Any]]) -> None:
    """Print the parts, one a line with what their roles report below, in 80 characters where the texts allow it."""
    if not run.parts:
        echo(f"no platform runs in {home}; start it with `tapehouse up`")
        return
    from ops.stack.board_view import reports_of, restarts_text

    echo(str(home))
    echo(_runner(run))
    echo(f"{'part':<16} {'state':<10} {'pid':>7}  address")
    for part in run.parts:
        echo(f"{part.name:<16} {part.state:<10} {part.pid or '':>7}  {part.address}".rstrip())
        if part.restarts or part.detail:
            echo(f"    {'; '.join(filter(None, [restarts_text(part.restarts), one_line(part.detail)]))}")
        own = reports_of(reports, part.health)
        for report in own:
            instance = f"{report['instance']}: " if len(own) > 1 else ""
            described = _described(report, part.address)
            if described != part.state:
                echo(f"    {instance}{described}")
    shown = [report for part in run.parts for report in reports_of(reports, part.health)]
    for report in reports.values():
        if report not in shown:
            name, described = f"{report['role']} {report['instance']}", _described(report)
            echo(f"{name:<16} {report['state']}")
            if described != report["state"]:
                echo(f"    {described}")


def _runner(run: RunView) -> str:
    if run.orphans:
        return f"the runner was killed, {len(run.orphans)} parts go on; `tapehouse down` ends them"
    if run.pid is None:
        return "no runner"
    return f"runner {run.pid}" + (", stopping" if run.stopping else "")


def _described(report: dict[str, Any], address: str = "") -> str:
    """A health report in one line: the state if it is not ready, what it does, numbers of a role that has any."""
    from ops.stack.board_view import skew_text

    found = [] if report["state"] == "ready" else [report["state"]]
    found += [one_line(report["detail"])] if report["detail"] not in ("", address) else []
    if report["rows"]:
        found.append(f"{report['rows']:,} rows since its start, {report['rows_s']:,.0f} rows/s")
    if report["lag_ms"] is not None:
        found.append(f"lag {report['lag_ms']:.1f} ms")
    found.append(skew_text(report))
    return ", ".join(filter(None, found)) or str(report["state"])
